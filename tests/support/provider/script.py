"""Which behaviour answers which request: steps, each for a number of requests, for a time, or until told otherwise."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError

from tests.support.provider.behaviour import Behaviour
from tests.support.provider.cases import FAULTS

_BEHAVIOUR = TypeAdapter(Behaviour)
_FIELDS = {field.name for field in dataclasses.fields(Behaviour)} - {"fault"}


@dataclass(slots=True)
class Step:
    """A behaviour for `times` requests (None: any number) until `end_time` of the script's clock (None: no end)."""

    name: str
    behaviour: Behaviour
    times: int | None = 1
    end_time: float | None = None


class Script:
    """Steps in order; where none is left, `default` of the provider holds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._steps: deque[Step] = deque()

    def __len__(self) -> int:
        return len(self._steps)

    def add(self, step: Step, *, for_s: float | None = None) -> None:
        """After the steps that are there. `for_s` counts from now."""
        if for_s is not None:
            step.end_time = self._clock() + for_s
        self._steps.append(step)

    def clear(self) -> None:
        """No steps."""
        self._steps.clear()

    def take(self) -> Step | None:
        """The step that answers the next request."""
        while self._steps:
            step = self._steps[0]
            if step.end_time is not None and self._clock() >= step.end_time:
                self._steps.popleft()
                continue
            if step.times is not None:
                step.times -= 1
                if step.times <= 0:
                    self._steps.popleft()
            return step
        return None


def named(name: str, **changes: object) -> Behaviour:
    """The behaviour of a fault of FAULTS, changed. ValueError that says what is allowed."""
    case = FAULTS.get(name)
    if case is None:
        raise ValueError(f"There is no fault {name!r}; there are: {', '.join(sorted(FAULTS))}.")
    if unknown := changes.keys() - _FIELDS:
        raise ValueError(f"A step has no field {min(unknown)!r}; fields are: {', '.join(sorted(_FIELDS))}.")
    if not changes:
        return case.behaviour
    given = {field: getattr(case.behaviour, field) for field in (*_FIELDS, "fault")} | changes
    try:
        return _BEHAVIOUR.validate_python(given)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise ValueError(f"{first['loc'][0] if first['loc'] else 'step'}: {first['msg']}") from None


def steps_of(given: object) -> list[tuple[Step, float | None]]:
    """Steps from JSON: `[{"fault": "rate_limit", "retry_after_s": 2, "times": 3}, {"fault": "none", "times": null}]`.

    `times` is 1 unless it says otherwise, null for any number; `for_s` ends a step after a time (then `times` is null
    unless given). Each with its `for_s`. ValueError that says what is wrong.
    """
    if not isinstance(given, list) or not all(isinstance(step, Mapping) for step in given):
        raise ValueError('A script is a list of steps: [{"fault": "rate_limit", "times": 1}].')
    return [_step(dict(step)) for step in given]


def _step(given: dict[str, Any]) -> tuple[Step, float | None]:
    name = given.pop("fault", "none")
    for_s = given.pop("for_s", None)
    times = given.pop("times", 1 if for_s is None else None)
    if not isinstance(name, str):
        raise ValueError("fault: the name of one.")
    if times is not None and (not isinstance(times, int) or isinstance(times, bool) or times < 1):
        raise ValueError("times: a number from 1, or null.")
    if for_s is not None and not (isinstance(for_s, int | float) and for_s > 0):
        raise ValueError("for_s: seconds, more than 0.")
    return Step(name, named(name, **given), times), for_s


def add_all(script: Script, steps: Iterable[tuple[Step, float | None]]) -> None:
    """Appends steps as `steps_of` gives them."""
    for step, for_s in steps:
        script.add(step, for_s=for_s)

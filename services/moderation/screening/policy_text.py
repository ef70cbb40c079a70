"""YAML to a model, with every fault in one error, each with its place and line."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

MAX_POLICY_CHARS = 1 << 20
_MAX_SHOWN_VALUE_CHARS = 60
# What pydantic calls by its Python name.
_EXPECTED = {"tuple_type": "a list", "model_type": "a mapping", "string_type": "text (quote it)"}

Place = tuple[str | int, ...]
Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong, and where: keys and indices from the top."""

    place: Place
    problem: str


class PolicyError(ValueError):
    """A policy that cannot be used; `faults` has a line for each thing that is wrong with it."""

    def __init__(self, source: str, faults: Iterable[str]) -> None:
        self.source = source
        self.faults = tuple(faults)
        count = len(self.faults)
        super().__init__(
            f"{source}: {count} fault{'s' if count != 1 else ''}; the policy was not taken:\n"
            + "\n".join(f"  - {fault}" for fault in self.faults)
        )


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a YAML text holds, and the line of each place in it."""

    value: dict[str, Any]
    lines: dict[Place, int]

    def in_order(self, faults: Iterable[Fault]) -> list[str]:
        """The faults as a person reads them, in the order of the text."""
        placed = sorted((self._line(fault.place), _written(fault.place), fault.problem) for fault in faults)
        return [f"{where} (line {line}): {problem}" for line, where, problem in placed]

    def _line(self, place: Place) -> int:
        while place not in self.lines and place:
            place = place[:-1]
        return self.lines.get(place, 1)


def _written(place: Place) -> str:
    written = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in place).removeprefix(".")
    return written or "the policy"


def load(text: str, source: str) -> Loaded:
    """Reads YAML without what it offers to surprise: duplicate keys, aliases, tags. Raises PolicyError."""
    if len(text) > MAX_POLICY_CHARS:
        raise PolicyError(source, [f"has {len(text):,} characters, at most {MAX_POLICY_CHARS:,} are allowed"])
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
                line = event.start_mark.line + 1 if event.start_mark else 1
                raise PolicyError(source, [f"line {line}: anchors and aliases are not taken: write the value out"])
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise PolicyError(source, [f"{where}is not YAML: {getattr(error, 'problem', None) or error}"]) from None
    lines: dict[Place, int] = {}
    faults: list[str] = []
    value = _value(root, (), lines, faults)
    if faults:
        raise PolicyError(source, faults)
    if not isinstance(value, dict):
        raise PolicyError(source, ["is empty or no mapping; expected the keys `version` and `rules`"])
    return Loaded(value, lines)


def _value(node: yaml.Node | None, place: Place, lines: dict[Place, int], faults: list[str]) -> Any:
    if node is None:
        return None
    lines[place] = line = node.start_mark.line + 1
    if isinstance(node, yaml.SequenceNode):
        return [_value(child, (*place, index), lines, faults) for index, child in enumerate(node.value)]
    if isinstance(node, yaml.MappingNode):
        mapping: dict[str, Any] = {}
        for key, child in node.value:
            name = str(key.value)
            if name in mapping:
                faults.append(f"{_written((*place, name))} (line {key.start_mark.line + 1}): stands here a second time")
            mapping[name] = _value(child, (*place, name), lines, faults)
        return mapping
    return _scalar(node, place, line, faults)


def _scalar(node: yaml.Node, place: Place, line: int, faults: list[str]) -> Any:
    """Numbers, booleans and nothing as YAML has them; all else, dates too, stays the text that was written."""
    tag = str(node.tag).rpartition(":")[2]
    written = str(node.value)
    if tag == "null":
        return None
    if tag == "bool":
        return written.lower() in ("true", "yes", "on")
    if tag in ("int", "float"):
        try:
            return float(written) if tag == "float" else int(written)
        except ValueError:
            return written
    if tag not in ("str", "timestamp"):
        faults.append(f"{_written(place)} (line {line}): has the tag {node.tag!r}, plain values are taken only")
    return written


def read_model(model: type[Model], loaded: Loaded) -> tuple[Model | None, list[Fault]]:
    """Validates what was loaded: the model, or every fault that pydantic found."""
    try:
        return model.model_validate(loaded.value), []
    except ValidationError as error:
        errors = [(tuple(one["loc"]), dict(one)) for one in error.errors(include_url=False)]
    above = {place[:length] for place, _ in errors for length in range(len(place))}
    # A list whose items are all faulty counts as empty for pydantic: its items say enough.
    return None, [
        Fault(place, _problem(one)) for place, one in errors if not (one["type"] == "too_short" and place in above)
    ]


def _problem(detail: dict[str, Any]) -> str:
    kind = detail["type"]
    if kind == "missing":
        return "is missing"
    if kind == "extra_forbidden":
        return "is no key of a policy"
    if kind in _EXPECTED:
        return f"should be {_EXPECTED[kind]}; it is {_shown(detail['input'])}"
    message = str(detail["msg"])
    return f"{message[:1].lower()}{message[1:]}; it is {_shown(detail['input'])}"


def _shown(value: object) -> str:
    given = repr(value)
    return given if len(given) <= _MAX_SHOWN_VALUE_CHARS else given[:_MAX_SHOWN_VALUE_CHARS] + "…"

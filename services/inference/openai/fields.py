"""Fields of OpenAI's requests: how they are checked, and what is said where one is wrong.

A fault is a MeshError INVALID_FIELD whose metadata names OpenAI's `param`. A rule looks at one field that is not null:
null means not set, as with OpenAI.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import orjson

from services.mesh.errors import FieldViolation, MeshError

Rule = Callable[[str, Any], None]
_KINDS: dict[type, str] = {
    dict: "an object",
    list: "a list",
    str: "a string",
    bool: "true or false",
    int: "a number",
    float: "a number",
    type(None): "null",
}


def parse(data: bytes) -> dict[str, Any]:
    """The object in a body."""
    try:
        body = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise fault("", f"We could not parse the JSON body of the request: {error}.") from None
    if type(body) is not dict:
        raise fault("", f"The body must be a JSON object, but is {kind_of(body)}.")
    return body


def check(body: Mapping[str, Any], rules: Mapping[str, Rule]) -> None:
    """Looks at the fields that are there: fewer than there are rules."""
    for field, value in body.items():
        if value is not None:
            rule = rules.get(field)
            if rule is not None:
                rule(field, value)


def refuse_unknown(body: Mapping[str, Any], known: frozenset[str], route: str) -> None:
    """For routes that pass on what we know alone."""
    if not body.keys() <= known:
        name = min(body.keys() - known)
        raise fault(name, f"Unknown parameter: {name!r}. The route {route!r} passes on what it knows alone.")


def fault(param: str, message: str) -> MeshError:
    """What is wrong with one parameter; "" for the body as a whole."""
    return MeshError(
        "INVALID_FIELD",
        message,
        metadata={"param": param} if param else {},
        violations=[FieldViolation(param or "body", message)],
    )


def kind_of(value: Any) -> str:
    """What a value of JSON is, in words."""
    return _KINDS.get(type(value), "something else")


def wrong_kind(place: str, expected: str, value: Any) -> MeshError:
    """The fault of a field that holds something else than it should."""
    return fault(place, f"`{place}` must be {expected}, but is {kind_of(value)}.")


def of_type(kind: type) -> Rule:
    """A rule: the value is of this type of JSON."""

    def rule(field: str, value: Any) -> None:
        if type(value) is not kind:  # not isinstance: True is an int to Python, and not to OpenAI
            raise wrong_kind(field, _KINDS[kind], value)

    return rule


def number(lowest: float, highest: float) -> Rule:
    """A rule: a number within bounds."""

    def rule(field: str, value: Any) -> None:
        if type(value) is not int and type(value) is not float:
            raise wrong_kind(field, "a number", value)
        _within(field, value, lowest, highest)

    return rule


def whole_number(lowest: int, highest: int) -> Rule:
    """A rule: a whole number within bounds."""

    def rule(field: str, value: Any) -> None:
        if type(value) is not int:
            raise wrong_kind(field, "a whole number", value)
        _within(field, value, lowest, highest)

    return rule


def one_of(*words: str) -> Rule:
    """A rule: one of these words."""

    def rule(field: str, value: Any) -> None:
        if value not in words:
            raise fault(field, f"`{field}` must be {' or '.join(f'`{word}`' for word in words)}.")

    return rule


def _within(field: str, value: float, lowest: float, highest: float) -> None:
    if value < lowest or value > highest:
        raise fault(field, f"`{field}` must be between {lowest:,} and {highest:,}, but is {value}.")

"""What bounds the demo's work on a schema, which anybody may send and which is worked on between other people's calls.

A small schema can ask for much: lists of lists of lists, references that double at each step, repeats of repeats. So
it is looked over first (`Outline`), and everything done for it, over all tries, is paid from one `Budget` before it
is done. The worst schemas found take about 10 ms; 18 were measured on a busy core.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

import orjson

SCHEMA_BYTES_MAX = 32 * 1024
SCHEMA_DEPTH_MOST = 64
SCHEMAS_MOST = 1000  # in a schema, itself one of them
PATTERNS_MOST = 16  # in a schema; compiling one takes up to 0.6 ms
PATTERNS_CHARS_MOST = 4000  # all of them together
VALUES_MOST = 2000  # made for one schema, over all tries; each takes some 3 µs
TEXT_CHARS_MOST = 64 * 1024
STEPS_MOST = 16_000  # each less than 1 µs, most far less
CHECK_DEPTH_MOST = 200  # of rules within rules, as the validator recurses
_ONE = frozenset(("items", "additionalProperties", "contains", "propertyNames", "not", "if", "then", "else"))
_LISTS = frozenset(("allOf", "anyOf", "oneOf", "prefixItems"))
_MAPS = frozenset(("properties", "patternProperties", "dependentSchemas", "$defs", "definitions"))
_HERE = ("not", "if", "then", "else")
_HERE_LISTS = ("allOf", "anyOf", "oneOf")
# Rules whose cost cannot be told from the schema, or that change what a reference means.
_REFUSED = frozenset(
    (
        *("$anchor", "$dynamicAnchor", "$dynamicRef", "$recursiveAnchor", "$recursiveRef", "$vocabulary"),
        *("dependencies", "unevaluatedItems", "unevaluatedProperties"),
    )
)


class NoInstanceError(Exception):
    """The demo finds no instance of the schema; the message says why."""


class BudgetSpentError(NoInstanceError):
    """All that may be done for one schema was done."""

    def __init__(self) -> None:
        super().__init__(
            f"it takes more work than the demo does ({VALUES_MOST:,} values and {TEXT_CHARS_MOST:,} characters at most)"
        )


class Budget:
    """What may still be done for a schema. Each method raises BudgetSpentError where it is more than that."""

    __slots__ = ("_chars", "_steps", "_values")

    def __init__(self) -> None:
        self._values, self._chars, self._steps = VALUES_MOST, TEXT_CHARS_MOST, STEPS_MOST

    def value(self) -> None:
        """One more value."""
        self._values -= 1
        if self._values < 0:
            raise BudgetSpentError

    def text(self, chars: int) -> None:
        """So many more characters."""
        self._chars -= chars
        if self._chars < 0:
            raise BudgetSpentError

    def steps(self, count: int) -> None:
        """So many more small steps."""
        self._steps -= count
        if self._steps < 0:
            raise BudgetSpentError


class Outline:
    """A schema that was looked over: small, flat enough, of known rules; every reference leads to a schema within it.
    NoInstanceError."""

    def __init__(self, schema: Any) -> None:
        try:
            size = len(orjson.dumps(schema))
        except orjson.JSONEncodeError:
            raise NoInstanceError(f"it is nested more than {SCHEMA_DEPTH_MOST} deep") from None
        if size > SCHEMA_BYTES_MAX:
            raise NoInstanceError(f"it has more than {SCHEMA_BYTES_MAX:,} bytes, the most that the demo reads")
        self.root = schema
        self._weights: dict[int, int] = {}
        references = [reference for one in self._schemas() if (reference := self._look_at(one)) is not None]
        self._targets = {reference: self._target(reference) for reference in references}

    def referred(self, reference: str) -> Any:
        """The schema that a reference of this one leads to."""
        return self._targets[reference]

    def weight(self, schema: dict[str, Any]) -> int:
        """What it takes to read a schema's own rules, in steps."""
        return self._weights.get(id(schema)) or 1 + len(schema)

    def pay_for_check(self, budget: Budget, value: Any) -> None:
        """Takes from the budget what a validator does with a value: its time can be exponential in the schema."""
        self._pay(budget, self.root, value, 0)

    def _schemas(self) -> Iterator[dict[str, Any]]:
        schemas = patterns = chars = 0
        waiting: list[tuple[Any, int]] = [(self.root, 0)]
        while waiting:
            one, depth = waiting.pop()
            if isinstance(one, bool):
                continue
            if not isinstance(one, dict):
                raise NoInstanceError("it is not a JSON Schema: one is an object, or true or false")
            schemas += 1
            if schemas > SCHEMAS_MOST:
                raise NoInstanceError(f"it holds more than {SCHEMAS_MOST:,} schemas")
            if depth > SCHEMA_DEPTH_MOST:
                raise NoInstanceError(f"it is nested more than {SCHEMA_DEPTH_MOST} deep")
            for key, value in one.items():
                if key in _ONE:
                    waiting.append((value, depth + 1))
                elif key in _LISTS and isinstance(value, list):
                    waiting += [(each, depth + 1) for each in value]
                elif key in _MAPS and isinstance(value, dict):
                    waiting += [(each, depth + 1) for each in value.values()]
                elif key in _LISTS or key in _MAPS:
                    raise NoInstanceError(f"it is not a JSON Schema: {key!r} is of another type")
                elif key in _REFUSED or (key == "$id" and depth):
                    raise NoInstanceError(f"the demo does not know the rule {key!r}")
            for pattern in (*((one["pattern"],) if "pattern" in one else ()), *one.get("patternProperties", ())):
                patterns += 1
                chars += len(str(pattern))
            if patterns > PATTERNS_MOST or chars > PATTERNS_CHARS_MOST:
                raise NoInstanceError(
                    f"it has more than {PATTERNS_MOST} patterns, or they have more than {PATTERNS_CHARS_MOST:,} "
                    "characters"
                )
            yield one

    def _look_at(self, one: dict[str, Any]) -> str | None:
        """Weighs a schema; its reference."""
        listed = [one[key] for key in ("const", "enum", "required", "dependentRequired") if key in one]
        self._weights[id(one)] = 1 + len(one) + (len(orjson.dumps(listed)) // 16 if listed else 0)
        reference = one.get("$ref")
        if reference is not None and not isinstance(reference, str):
            raise NoInstanceError("it is not a JSON Schema: a reference is a text")
        return reference

    def _target(self, reference: str) -> Any:
        path, _, pointer = reference.partition("#")
        if path:
            raise NoInstanceError(f"it refers to {path[:100]!r}, and nothing is fetched from elsewhere")
        found = self.root
        try:
            for part in unquote(pointer).split("/")[1:] if pointer.startswith("/") else [pointer] if pointer else []:
                key = part.replace("~1", "/").replace("~0", "~")
                found = found[int(key) if isinstance(found, list) and key.isdecimal() else key]
        except (KeyError, IndexError, TypeError, ValueError):
            found = None
        if not isinstance(found, bool) and id(found) not in self._weights:
            raise NoInstanceError(f"it is not a JSON Schema: {reference[:100]!r} leads to none within it")
        return found

    def _pay(self, budget: Budget, schema: Any, value: Any, depth: int) -> None:
        budget.steps(1)
        if not isinstance(schema, dict):
            return
        if depth > CHECK_DEPTH_MOST:
            raise NoInstanceError("its references go round in a circle, or too deep")
        budget.steps(self.weight(schema))
        depth += 1
        if "$ref" in schema:
            self._pay(budget, self._targets[schema["$ref"]], value, depth)
        for key in _HERE_LISTS:
            for one in schema.get(key, ()):
                self._pay(budget, one, value, depth)
        for key in _HERE:
            if key in schema:
                self._pay(budget, schema[key], value, depth)
        for one in schema.get("dependentSchemas", {}).values():
            self._pay(budget, one, value, depth)
        if isinstance(value, str):
            budget.steps(len(value) if "pattern" in schema else len(value) // 64)
        elif isinstance(value, dict):
            self._pay_properties(budget, schema, value, depth)
        elif isinstance(value, list):
            if "uniqueItems" in schema:
                budget.steps(4 * len(value))
            first = schema.get("prefixItems", ())
            for number, item in enumerate(value):
                budget.steps(1)
                if number < len(first):
                    self._pay(budget, first[number], item, depth)
                for key in ("items", "contains"):
                    if key in schema:
                        self._pay(budget, schema[key], item, depth)

    def _pay_properties(self, budget: Budget, schema: dict[str, Any], value: dict[str, Any], depth: int) -> None:
        properties, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
        for name, inner in value.items():
            budget.steps(1 + len(name) // 64)
            if name in properties:
                self._pay(budget, properties[name], inner, depth)
            for one in patterns.values():
                budget.steps(len(name))
                self._pay(budget, one, inner, depth)
            if "additionalProperties" in schema:
                self._pay(budget, schema["additionalProperties"], inner, depth)
            if "propertyNames" in schema:
                self._pay(budget, schema["propertyNames"], name, depth)

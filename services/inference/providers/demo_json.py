"""The demo's JSON: a small instance of a JSON Schema, the same for the same schema every time.

A schema leaves choices (which branch of `anyOf`, whether an optional property is there). They are tried in order until
the instance is valid, as the validator of the `jsonschema-rs` package says, which reads nothing but the schema itself.
How much is done for a schema is bounded: see demo_bounds.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

import orjson
import re2

from services.inference.providers.demo_bounds import TEXT_CHARS_MOST, Budget, BudgetSpentError, NoInstanceError, Outline
from services.inference.providers.demo_patterns import text_like

TRIES_MOST = 64
DEPTH_MOST = 24
RULES_MOST = 1000  # schemas that hold at one place, by references and combinations
OPTIONAL_DEPTH_MOST = 4  # deeper, only what is required is there
ITEMS_MOST = 1000  # of one list; a budget bounds all of them together
EXTREME_STEPS = 150  # a number such as 1e308 by multiples of 1e-308 takes 80 µs
_PATTERN_MEMORY_BYTES = 64 * 1024  # of a compiled pattern: `(a{1000}){1000}` is short
WORD = "demo"
_FORMATS = {
    "date-time": "2030-01-31T12:00:00Z",
    "date": "2030-01-31",
    "time": "12:00:00Z",
    "duration": "P1D",
    "email": "demo@example.com",
    "idn-email": "demo@example.com",
    "hostname": "example.com",
    "idn-hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uri": "https://example.com/",
    "uri-reference": "/demo",
    "iri": "https://example.com/",
    "iri-reference": "/demo",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "json-pointer": "/demo",
    "regex": "demo",
}
_OF_TYPE = {
    "object": ("properties", "required", "patternProperties", "additionalProperties", "minProperties"),
    "array": ("items", "prefixItems", "minItems", "contains", "uniqueItems"),
    "string": ("pattern", "minLength", "maxLength", "format"),
    "number": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
}


def instance(schema: Any) -> Any:
    """A valid instance of a JSON Schema; NoInstanceError."""
    import jsonschema_rs  # read when first needed: most meshes never ask a demo for JSON

    outline, budget = Outline(schema), Budget()
    plain = jsonschema_rs.RegexOptions(  # not the default engine: that one tracks back
        size_limit=_PATTERN_MEMORY_BYTES, dfa_size_limit=_PATTERN_MEMORY_BYTES
    )
    try:
        validator = jsonschema_rs.Draft202012Validator(
            schema, retriever=_nothing_from_elsewhere, pattern_options=plain, validate_formats=False
        )
    except (ValueError, jsonschema_rs.ReferencingError) as error:
        raise NoInstanceError(f"it is not a JSON Schema: {str(error).splitlines()[0][:200]}") from None
    choices: list[tuple[int, int]] = []  # at each place: which one, of how many
    why = "its rules contradict each other, or are too many for a demo"
    patterns: dict[str, Any] = {}
    for _ in range(TRIES_MOST):
        maker = _Maker(outline, budget, patterns, [picked for picked, _ in choices])
        try:
            made = maker.value(schema, 0)
            outline.pay_for_check(budget, made)
            if validator.is_valid(made):
                return made
        except BudgetSpentError:
            raise
        except NoInstanceError as error:
            why = str(error)
        choices = maker.choices
        while choices and choices[-1][0] + 1 == choices[-1][1]:
            choices.pop()
        if not choices:
            break
        choices[-1] = (choices[-1][0] + 1, choices[-1][1])
    raise NoInstanceError(why)


def _nothing_from_elsewhere(uri: str) -> Any:
    raise ValueError(f"it refers to {uri[:100]}, and nothing is fetched from elsewhere")


class _Maker:
    """One try. `choices` are those that it met, with what it took."""

    def __init__(self, outline: Outline, budget: Budget, patterns: dict[str, Any], picks: list[int]) -> None:
        self._outline, self._budget, self._patterns, self._picks = outline, budget, patterns, picks
        self.choices: list[tuple[int, int]] = []

    def value(self, schema: Any, depth: int, number: int = 0) -> Any:
        """An instance. number: of several that should differ, which one, from 0."""
        if depth > DEPTH_MOST:
            raise NoInstanceError(f"it is nested more than {DEPTH_MOST} deep")
        self._budget.value()
        if schema is True:
            return WORD
        if not isinstance(schema, dict):
            raise NoInstanceError("it allows nothing at some place")
        rules = self._plain(schema, depth)
        if "const" in rules:
            return self._given(rules["const"])
        if "enum" in rules:
            values = rules["enum"]
            if not values:
                raise NoInstanceError("an `enum` is empty")
            return self._given(values[(self._pick(len(values)) + number) % len(values)])
        kind = self._type(rules)
        if kind == "object":
            return self._object(rules, depth)
        if kind == "array":
            return self._array(rules, depth)
        if kind == "string":
            return _string(rules, number, self._budget)
        if kind in ("number", "integer"):
            if any(_is_extreme(rules.get(key)) for key in _OF_TYPE["number"]):
                self._budget.steps(EXTREME_STEPS)
            return _number(rules, number, whole=kind == "integer")
        return (number % 2 == 0) if kind == "boolean" else None

    def _given(self, value: Any) -> Any:
        """A value that the schema spells out: as long as it is written."""
        self._budget.text(len(orjson.dumps(value)))
        return value

    def _pick(self, count: int) -> int:
        if count < 2:
            return 0
        place = len(self.choices)
        picked = min(self._picks[place], count - 1) if place < len(self._picks) else 0
        self.choices.append((picked, count))
        return picked

    def _plain(self, schema: Mapping[str, Any], depth: int) -> dict[str, Any]:
        """The schema without references and combinations: those are taken in."""
        rules: dict[str, Any] = {}
        waiting: list[Any] = [schema]
        for _ in range(RULES_MOST):
            if not waiting:
                return rules
            one = waiting.pop()
            self._budget.steps(1)
            if one is True:
                continue
            if not isinstance(one, dict):
                raise NoInstanceError("it allows nothing at some place")
            self._budget.steps(self._outline.weight(one))
            rest = dict(one)
            if "$ref" in rest:
                waiting.append(self._outline.referred(rest.pop("$ref")))
            waiting += rest.pop("allOf", ())
            for key in ("anyOf", "oneOf"):
                branches = rest.pop(key, None)
                if branches:
                    waiting.append(branches[self._pick(len(branches))])
            if "if" in rest:
                condition = rest.pop("if")
                yes, no = rest.pop("then", True), rest.pop("else", True)
                waiting += [no] if self._pick(2) == 0 else [condition, yes]
            _take_in(rules, rest, self._budget)
        raise NoInstanceError(f"its references go round in a circle, or over {RULES_MOST:,} rules hold at one place")

    def _type(self, rules: Mapping[str, Any]) -> str:
        kind = rules.get("type")
        if isinstance(kind, list):
            if not kind:
                raise NoInstanceError("no type is allowed at some place")
            return str(kind[self._pick(len(kind))])
        if kind is None:
            return next((name for name, keys in _OF_TYPE.items() if any(key in rules for key in keys)), "string")
        return str(kind)

    def _object(self, rules: Mapping[str, Any], depth: int) -> dict[str, Any]:
        properties: Mapping[str, Any] = rules.get("properties", {})
        self._budget.steps(len(properties) + len(rules.get("required", ())))
        wanted = dict.fromkeys(rules.get("required", ()))
        optional = [name for name in properties if name not in wanted]
        if optional and depth < OPTIONAL_DEPTH_MOST and self._pick(2) == 0:
            wanted |= dict.fromkeys(optional)
        for name, others in rules.get("dependentRequired", {}).items():
            self._budget.steps(1 + len(others))
            if name in wanted:
                wanted |= dict.fromkeys(others)
        least = rules.get("minProperties", 0)
        number = 0
        while len(wanted) < least and number < ITEMS_MOST:
            self._budget.steps(1)
            wanted.setdefault(_string(rules.get("propertyNames") or {}, number, self._budget))
            number += 1
        most = rules.get("maxProperties")
        if most is not None and len(wanted) > most:
            required = set(rules.get("required", ()))
            wanted = dict.fromkeys(sorted(wanted, key=lambda name: name not in required)[: int(most)])
        self._budget.text(sum(map(len, wanted)))
        return {name: self.value(self._of_property(rules, name), depth + 1) for name in wanted}

    def _of_property(self, rules: Mapping[str, Any], name: str) -> Any:
        found = [
            schema for pattern, schema in rules.get("patternProperties", {}).items() if self._matches(pattern, name)
        ]
        if name in rules.get("properties", {}):
            found.append(rules["properties"][name])
        return _together(found) if found else rules.get("additionalProperties", True)

    def _matches(self, pattern: str, text: str) -> bool:
        """By an engine whose time is linear in the text: both are the caller's."""
        self._budget.steps(1 + len(text))
        if pattern not in self._patterns:
            options = re2.Options()
            options.max_mem, options.log_errors = _PATTERN_MEMORY_BYTES, False
            try:
                self._patterns[pattern] = re2.compile(pattern, options)
            except re2.error:
                self._patterns[pattern] = None
        compiled = self._patterns[pattern]
        return compiled is not None and compiled.search(text) is not None

    def _array(self, rules: Mapping[str, Any], depth: int) -> list[Any]:
        first = list(rules.get("prefixItems", ()))
        self._budget.steps(len(first))
        least = int(rules.get("minItems", 0))
        contains = rules.get("contains")
        if contains is not None:
            least = max(least, int(rules.get("minContains", 1)))
        if least > ITEMS_MOST:
            raise NoInstanceError(f"a list has at least {least} items, and the demo writes at most {ITEMS_MOST}")
        # One item shows more than none, where that leads to an end.
        count = max(least, len(first), 1 if depth < OPTIONAL_DEPTH_MOST and self._pick(2) == 0 else 0)
        count = min(count, int(rules.get("maxItems", count)))
        items = rules.get("items", True)
        schemas = [first[i] if i < len(first) else items for i in range(count)]
        if contains is not None:
            schemas = [_together([one, contains]) for one in schemas]
        differ = rules.get("uniqueItems") is True
        return [self.value(one, depth + 1, i if differ else 0) for i, one in enumerate(schemas)]


def _take_in(rules: dict[str, Any], more: Mapping[str, Any], budget: Budget) -> None:
    """Adds rules to those that hold already."""
    for key, value in more.items():
        if key not in rules:
            rules[key] = value
        elif key in ("properties", "patternProperties"):
            budget.steps(len(rules[key]) + len(value))
            both = dict(rules[key])
            for name, schema in value.items():
                both[name] = _together([both[name], schema]) if name in both else schema
            rules[key] = both
        elif key in ("items", "additionalProperties", "contains", "propertyNames"):
            rules[key] = _together([rules[key], value])
        elif key == "required":
            budget.steps(len(rules[key]) + len(value))
            rules[key] = [*rules[key], *value]
        elif key == "enum":
            budget.steps(len(rules[key]) * len(orjson.dumps(value)) // 8)  # each is held against each
            rules[key] = [one for one in rules[key] if one in value]
        elif key == "type":
            rules[key] = _types(rules[key], value)
        elif key.startswith(("min", "exclusiveMin")):
            rules[key] = max(rules[key], value)
        elif key.startswith(("max", "exclusiveMax")):
            rules[key] = min(rules[key], value)


def _types(one: Any, other: Any) -> list[str]:
    left, right = ([kind] if isinstance(kind, str) else list(kind) for kind in (one, other))
    if "number" in right and "integer" in left and "integer" not in right:
        right.append("integer")
    if "number" in left and "integer" in right and "integer" not in left:
        left.append("integer")
    return [kind for kind in left if kind in right]


def _together(schemas: Iterable[Any]) -> Any:
    return {"allOf": list(schemas)}


def _string(rules: Any, number: int, budget: Budget) -> str:
    if not isinstance(rules, dict):
        rules = {}
    if "const" in rules:
        return _written(rules["const"], budget)
    if rules.get("enum"):
        return _written(rules["enum"][number % len(rules["enum"])], budget)
    least, most = int(rules.get("minLength", 0)), rules.get("maxLength")
    if least > TEXT_CHARS_MOST:
        raise NoInstanceError(f"a text has at least {least:,} characters, more than a demo writes")
    if "pattern" in rules:
        text = text_like(rules["pattern"], least, number, budget)
        if text is None:
            raise NoInstanceError(f"the demo cannot write what matches {str(rules['pattern'])[:100]!r}")
        return text
    if rules.get("format") in _FORMATS:
        return _FORMATS[rules["format"]]
    budget.text(max(least, len(WORD)))
    text = WORD + (f"-{number + 1}" if number else "")
    text += "." * (least - len(text))
    if most is not None and len(text) > most:
        text = str(number + 1)[-int(most) :] if number and most else text[: int(most)]
    return text


def _written(value: Any, budget: Budget) -> str:
    text = str(value)
    budget.text(len(text))
    return text


def _number(rules: Mapping[str, Any], number: int, *, whole: bool) -> int | float:
    step = Decimal(str(rules["multipleOf"])) if rules.get("multipleOf") else Decimal(1)
    if whole and step != step.to_integral_value():
        step = Decimal(step.as_integer_ratio()[0])
    lowest, above = _bound(rules, "minimum", "exclusiveMinimum", max)
    highest, below = _bound(rules, "maximum", "exclusiveMaximum", min)
    most = Decimal(1) if highest is None or highest > 1 else highest
    start = most if lowest is None else lowest
    places = (start / step).to_integral_value(rounding="ROUND_CEILING" if lowest is not None else "ROUND_FLOOR")
    made = places * step
    if lowest is not None and above and made <= lowest:
        made += step
    if lowest is None and highest is not None and below and made >= highest:
        made -= step
    made += step * number if lowest is not None or highest is None else -step * number
    if highest is not None and (made > highest or (below and made == highest)):
        if whole or "multipleOf" in rules or lowest is None:
            raise NoInstanceError("no number lies within some bounds")
        made = (lowest + highest) / 2  # between two numbers that are closer than 1
    if made == made.to_integral_value() and -(2**63) <= made < 2**64:  # as far as JSON's integers are written
        return int(made)
    if not math.isfinite(float(made)):
        raise NoInstanceError("no number lies within some bounds")
    return float(made)


def _is_extreme(value: Any) -> bool:
    """Whether hundreds of digits are to be counted with."""
    return isinstance(value, int | float) and value != 0 and not 1e-30 < abs(value) < 1e30


def _bound(rules: Mapping[str, Any], inclusive: str, exclusive: str, nearer: Any) -> tuple[Decimal | None, bool]:
    """The bound, and whether it is itself outside."""
    found = [
        (Decimal(str(rules[key])), key == exclusive)
        for key in (inclusive, exclusive)
        if isinstance(rules.get(key), int | float) and not isinstance(rules.get(key), bool)
    ]
    if not found:
        return None, False
    bound = nearer(value for value, _ in found)
    return bound, any(outside for value, outside in found if value == bound)

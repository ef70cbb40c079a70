"""What one schema may cost: anybody may send the demo one, and other people's calls wait meanwhile."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.inference.providers import demo_bounds
from services.inference.providers.demo_bounds import (
    SCHEMA_BYTES_MAX,
    TEXT_CHARS_MOST,
    VALUES_MOST,
    Budget,
    BudgetSpentError,
    NoInstanceError,
    Outline,
)
from services.inference.providers.demo_json import instance
from services.inference.providers.demo_patterns import text_like


def lists(depth: int, count: int, inner: Any) -> Any:
    for _ in range(depth):
        inner = {"type": "array", "minItems": count, "items": inner}
    return inner


def chain(key: str, length: int = 30) -> Any:
    """Each of the rules refers to the next one twice."""
    rules: dict[str, Any] = {f"r{i}": {key: [{"$ref": f"#/$defs/r{i + 1}"}] * 2} for i in range(length)}
    return {"$defs": rules | {f"r{length}": {"type": "string"}}, "$ref": "#/$defs/r0"}


def nested(depth: int, key: str) -> Any:
    schema: Any = {}
    for _ in range(depth):
        schema = {key: schema}
    return schema


BIG = {"const": "x" * 30_000}
ATTACKS: dict[str, Any] = {
    "lists of lists": lists(3, 1000, {"type": "integer"}),
    "lists, 20 deep": lists(20, 2, {}),
    "repeats of repeats": {"type": "string", "pattern": "(?:(?:(?:(?:[^b])a){400}){400}){400}"},
    "long texts": lists(1, 1000, {"type": "string", "minLength": 60_000}),
    "large constants": lists(1, 1000, BIG),
    "large choices": lists(1, 1000, {"enum": ["x" * 30_000]}),
    "doubling allOf": chain("allOf"),
    "doubling anyOf": chain("anyOf"),
    "doubling oneOf": chain("oneOf"),
    "required, doubled": {
        "$defs": {"r": {"required": [f"n{i}" for i in range(3000)]}},
        "allOf": [{"$ref": "#/$defs/r"}] * 700,
    },
    "choices against choices": {"allOf": [{"enum": [*range(2500), "a"]}, {"enum": [*range(5000, 7500), "a"]}]},
    "contains": {"type": "array", "contains": {}, "minContains": 10**9},
    "long names": lists(1, 1000, {"type": "object", "required": ["n" * 30_000]}),
    "names to make": lists(1, 1000, {"type": "object", "minProperties": 1000}),
    "unused properties": lists(
        1, 1000, {"type": "object", "maxProperties": 0, "properties": {f"p{i}": True for i in range(1000)}}
    ),
    "a circle that only the check meets": {"anyOf": [{"type": "string"}, {"$ref": "#"}]},
    "tries": {
        "allOf": [{"anyOf": [lists(1, 40, {"type": "string"})] * 4}] * 8 + [{"not": {"type": "array"}}],
    },
    "compiled patterns": {"allOf": [{"pattern": f"(a{{1000}}){{{900 + i}}}"} for i in range(1000)]},
    "one large pattern": {"pattern": "((a{900}){900}){900}"},
    "many rules": {"properties": {f"p{i}": {} for i in range(1500)}},
    "nested rules": nested(100, "not"),
    "nested beyond the writer": nested(900, "items"),
    "references elsewhere": {"$ref": "#/x", "x": {"type": "array", "minItems": "many"}},
    "anchors": {"$defs": {"a": {"$anchor": "it"}}, "$ref": "#it"},
    "sets of characters": {"pattern": "[^a0A\\-_ .,:;/@+!#1bB\u00e9\n]"},
    "half a character": {"pattern": "\\ud800"},
    "hundreds of digits": lists(1, 900, {"type": "number", "multipleOf": 5e-324, "minimum": 1e308}),
    "beyond 64 bits": {"type": "integer", "minimum": 1.7e308, "multipleOf": 1e308},
}


@pytest.mark.parametrize("name", ATTACKS)
def test_a_schema_that_asks_for_too_much_is_refused(name: str) -> None:
    with pytest.raises(NoInstanceError):
        instance(ATTACKS[name])


def test_a_pattern_for_names_is_matched_in_linear_time() -> None:
    # By an engine that tracks back: 2 to the 40th steps.
    name = "a" * 40 + "!"
    schema = {"type": "object", "patternProperties": {"^(a+)+$": {"const": 1}}, "required": [name]}
    assert instance(schema) == {name: "demo"}
    assert instance({"type": "object", "patternProperties": {"^(a+)+$": {"const": 1}}, "required": ["aa"]}) == {"aa": 1}


def test_repeats_of_repeats_are_not_written_out() -> None:
    with pytest.raises(BudgetSpentError):
        text_like("(?:(?:(?:(?!b)a){4000}){4000}){4000}")


def test_the_budget_holds_for_all_tries_together(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    monkeypatch.setattr(Budget, "value", lambda self: made.append(1))
    # No branch will do: each is tried.
    schema = {"anyOf": [lists(1, 10, {"type": "string"})] * 8, "not": {"type": "array"}}
    with pytest.raises(NoInstanceError, match="contradict"):
        instance(schema)
    assert len(made) == 16 * 11  # each twice: whether a list holds more than it must is a choice, too
    monkeypatch.undo()
    monkeypatch.setattr(demo_bounds, "VALUES_MOST", 100)
    with pytest.raises(BudgetSpentError):
        instance(schema)


def test_what_is_within_the_budget_is_made() -> None:
    assert instance(lists(1, 1000, {"type": "integer"})) == [1] * 1000
    assert len(instance({"type": "string", "minLength": 60_000})) == 60_000
    assert instance({"$id": "https://example.com/it", "$ref": "#/$defs/a%20b", "$defs": {"a b": {"const": 1}}}) == 1
    with pytest.raises(BudgetSpentError):
        instance(lists(2, 100, {"type": "integer"}))


def test_the_check_is_paid_for() -> None:
    outline, budget = Outline(chain("oneOf", 8)), Budget()
    outline.pay_for_check(budget, "demo")
    with pytest.raises(BudgetSpentError):
        Outline(chain("oneOf", 20)).pay_for_check(Budget(), "demo")


def size(value: Any) -> tuple[int, int]:
    """Values and characters."""
    if isinstance(value, dict):
        inner = [size(one) for one in value.values()]
        return 1 + sum(one for one, _ in inner), sum(map(len, value)) + sum(chars for _, chars in inner)
    if isinstance(value, list):
        inner = [size(one) for one in value]
        return 1 + sum(one for one, _ in inner), sum(chars for _, chars in inner)
    return 1, len(value) if isinstance(value, str) else 0


NUMBERS = st.one_of(st.integers(-3, 40), st.sampled_from([1000, 4096, 60_000, 10**9, 1e300, 0.5, -1e-300]))
PATTERNS = st.one_of(
    st.text("ab()[]{}^$|*+?\\dws,019-", max_size=12),
    st.sampled_from(["(?:(?:a{4000}){4000}){4000}", "^(a+)+$", "[^a]{1,900}", "(a|b|ab)*c"]),
)
NAMES = st.sampled_from(["a", "b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!", "x" * 500])
REFERENCES = st.sampled_from(["#", "#/$defs/a", "#/$defs/b", "#/properties/a", "#/items", "#/allOf/0", "#/x"])
RULES: dict[str, st.SearchStrategy[Any]] = {
    "type": st.sampled_from(["object", "array", "string", "integer", "number", "boolean", ["array", "object"]]),
    "$ref": REFERENCES,
    "pattern": PATTERNS,
    "const": st.one_of(NUMBERS, NAMES),
    "enum": st.lists(NUMBERS, max_size=4),
    "required": st.lists(NAMES, max_size=3, unique=True),
    "uniqueItems": st.booleans(),
    "multipleOf": NUMBERS,
}
RULES |= dict.fromkeys(("minItems", "maxItems", "minContains", "minLength", "maxLength", "minProperties"), NUMBERS)
RULES |= dict.fromkeys(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "maxProperties"), NUMBERS)


def larger(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    rules: dict[str, st.SearchStrategy[Any]] = dict(RULES)
    rules |= dict.fromkeys(("items", "additionalProperties", "contains", "propertyNames", "not", "if", "then"), inner)
    rules |= {key: st.lists(inner, min_size=1, max_size=4) for key in ("allOf", "anyOf", "oneOf", "prefixItems")}
    rules |= {key: st.dictionaries(st.sampled_from(["a", "b"]), inner) for key in ("$defs", "properties")}
    rules["patternProperties"] = st.dictionaries(PATTERNS, inner, max_size=2)
    return st.fixed_dictionaries({}, optional=rules).flatmap(
        lambda one: st.lists(st.sampled_from(sorted(one) or [""]), max_size=6).map(
            lambda keys: {key: one[key] for key in keys if key in one}
        )
    )


ANY_SCHEMA = st.recursive(st.one_of(st.booleans(), larger(st.booleans())), larger, max_leaves=6)


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(ANY_SCHEMA)
def test_any_schema_ends_within_the_budget(schema: Any) -> None:
    try:
        made = instance(schema)
    except NoInstanceError:
        return
    values, chars = size(made)
    assert values <= VALUES_MOST
    assert chars <= TEXT_CHARS_MOST + SCHEMA_BYTES_MAX
    assert orjson.loads(orjson.dumps(made)) == made

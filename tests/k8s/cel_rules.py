"""Rules in CEL that a CRD has beside its schema (`x-kubernetes-validations`), asked as an API server asks them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import cel


def rule_faults(schema: Any, value: Any, where: str) -> Iterator[tuple[str, bool]]:
    """(what is asked, whether it holds) for each rule that holds of a value and of what is in it, defaults filled in.

    Rules on changes (`oldSelf`) are left out: nothing is changed here.
    """
    fill(schema, value)
    context = cel.Context()
    context.add_function("split", lambda text, by: text.split(by))  # one of Kubernetes' own
    for rule, own in rules(schema, value):
        context.add_variable("self", own)
        yield f"{where}: {rule} of {own}"[:400], cel.evaluate(rule, context) is True


def rules(schema: Any, value: Any) -> Iterator[tuple[str, Any]]:
    """Each rule with the value that it is for."""
    for each in schema.get("x-kubernetes-validations", []):
        if "oldSelf" not in each["rule"]:
            yield each["rule"], value
    if isinstance(value, dict):
        more = schema.get("additionalProperties")
        for key, each in value.items():
            if inner := schema.get("properties", {}).get(key) or (more if isinstance(more, dict) else None):
                yield from rules(inner, each)
    elif isinstance(value, list) and "items" in schema:
        for each in value:
            yield from rules(schema["items"], each)


def fill(schema: Any, value: Any) -> None:
    """Sets the defaults of a schema in a value."""
    if isinstance(value, dict):
        for key, inner in schema.get("properties", {}).items():
            if "default" in inner:
                value.setdefault(key, inner["default"])
            if key in value:
                fill(inner, value[key])
    elif isinstance(value, list) and "items" in schema:
        for each in value:
            fill(schema["items"], each)

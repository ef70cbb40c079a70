"""The reference page, made from the OpenAPI document: `python -m gateway.reference` writes gen/reference.html.

One file without outside parts; its style and its small script are allowed by their hashes (gateway/render.py).
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape

from gateway import openapi
from gateway.examples import BASE_URL, curl
from gateway.settings import EdgeSettings

HERE = Path(__file__).resolve().parent
DEFAULT_OUT = openapi.DEFAULT_OUT.with_name("reference.html")

_REFERENCE = "#/components/schemas/"
# How deep the fields of fields are laid out; deeper ones are named by their type.
_MAX_DEPTH = 3
# What a parameter says beside its schema, and a field in it.
_BESIDE = ("description", "deprecated")
_RANGES = (
    ("minLength", "maxLength", " character"),
    ("minItems", "maxItems", " item"),
    ("minProperties", "maxProperties", " pair"),
    ("minimum", "maximum", ""),
    ("exclusiveMinimum", "exclusiveMaximum", ""),
)


@dataclass(frozen=True, slots=True)
class Row:
    """A field in a table."""

    name: str
    kind: str
    depth: int
    place: str
    required: bool
    deprecated: bool
    limits: tuple[str, ...]
    description: str


@dataclass(frozen=True, slots=True)
class Entry:
    """A method on the page."""

    anchor: str
    verb: str
    path: str
    grpc: str
    summary: str
    description: str
    access: str
    public: bool
    deprecated: bool
    streams: bool
    request: tuple[Row, ...]
    answer: tuple[Row, ...]
    curl: str


def page(document: Mapping[str, Any]) -> str:
    """The page as HTML."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        undefined=jinja2.StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["prose"] = _prose
    sections = [
        {**tag, "entries": [entry for entry in _entries(document) if entry[0] == tag["name"]]}
        for tag in document["tags"]
    ]
    reasons = document["components"]["schemas"]["Status"]["properties"]["details"]["items"]["properties"]["reason"]
    return environment.get_template("reference.html.j2").render(
        info=document["info"],
        sections=sections,
        reasons=[line.partition(": ")[::2] for line in reasons["description"].splitlines()],
        base_url=BASE_URL,
        limits=EdgeSettings.model_fields,
    )


def _entries(document: Mapping[str, Any]) -> Iterator[tuple[str, Entry]]:
    fields = _Fields(document)
    for path, verbs in document["paths"].items():
        for verb, operation in verbs.items():
            content = operation["responses"]["200"].get("content", {})
            streams = "text/event-stream" in content
            yield (
                operation["tags"][0],
                Entry(
                    anchor=operation["operationId"],
                    verb=verb.upper(),
                    path=path,
                    grpc=operation.get("x-grpc-method", ""),
                    summary=operation["summary"],
                    description=operation["description"],
                    access=_access(operation["x-access"]),
                    public=operation["security"][0] == {},
                    deprecated=operation.get("deprecated", False),
                    streams=streams,
                    request=tuple(fields.of_request(operation)),
                    answer=tuple(fields.of_answer(content)),
                    curl=curl(verb.upper(), path, operation),
                ),
            )


@dataclass(frozen=True)
class _Fields:
    """Rows of tables from the document's schemas."""

    document: Mapping[str, Any]

    def of_request(self, operation: Mapping[str, Any]) -> Iterator[Row]:
        for parameter in operation.get("parameters", ()):
            described = {**parameter["schema"], **{key: parameter[key] for key in _BESIDE if key in parameter}}
            yield self._row(parameter["name"], described, 0, parameter["in"], required=parameter["required"])
        for content in operation.get("requestBody", {}).get("content", {}).values():
            yield from self._rows(content["schema"], 0, "body")

    def of_answer(self, content: Mapping[str, Any]) -> Iterator[Row]:
        for kind, media in content.items():
            schema = media["schema"]
            if kind == "text/event-stream":
                data = schema["properties"]["data"]
                schema = data.get("anyOf", [data])[-1]
            schema = schema.get("contentSchema", schema)
            schema = schema.get("anyOf", [schema])[0]  # of the lines of a file, the usual one
            yield from self._rows(schema, 0, "event" if kind == "text/event-stream" else "")
            return

    def _rows(self, schema: Mapping[str, Any], depth: int, place: str) -> Iterator[Row]:
        schema = self._resolved(schema)
        required = schema.get("required", ())
        for name, field in schema.get("properties", {}).items():
            yield self._row(name, field, depth, place, required=name in required)
            inner = self._resolved(field.get("items", field))
            if depth + 1 < _MAX_DEPTH and "properties" in inner:
                yield from self._rows(inner, depth + 1, place)

    def _row(self, name: str, field: Mapping[str, Any], depth: int, place: str, *, required: bool) -> Row:
        return Row(
            name=name,
            kind=self._kind(field),
            depth=depth,
            place=place,
            required=required,
            deprecated=field.get("deprecated", False),
            limits=tuple(self._limits(field)),
            description=field.get("description", ""),
        )

    def _kind(self, field: Mapping[str, Any]) -> str:
        if "items" in field:
            return f"list of {self._kind(field['items'])}"
        if "$ref" in field:
            resolved = self._resolved(field)
            return "enum" if "enum" in resolved else field["$ref"].removeprefix(_REFERENCE).rpartition(".")[2]
        if "const" in field:
            return json.dumps(field["const"])
        if "oneOf" in field:
            return " or ".join(dict.fromkeys(self._kind(each) for each in field["oneOf"]))
        kind = field.get("type", "any")
        kinds = [kind] if isinstance(kind, str) else kind
        formatted = field.get("format")
        return f"{' or '.join(kinds)}" + (f" ({formatted})" if formatted else "")

    def _limits(self, field: Mapping[str, Any]) -> Iterator[str]:
        bounds = {**field, **field.get("x-range", {})}
        for low, high, unit in _RANGES:
            if words := _range(bounds.get(low), bounds.get(high), unit, exclusive=low.startswith("exclusive")):
                yield words
        if field.get("uniqueItems"):
            yield "no item twice"
        if field.get("readOnly"):
            yield "set by us"
        if enum := field.get("enum", self._resolved(field).get("enum")):
            yield " · ".join(f"`{value}`" for value in enum if value is not None)
        if "items" in field:
            yield from (
                f"each {limit}" if not limit.startswith("`") else limit for limit in self._limits(field["items"])
            )

    def _resolved(self, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        if "$ref" not in schema:
            return schema
        found: Mapping[str, Any] = self.document["components"]["schemas"][schema["$ref"].removeprefix(_REFERENCE)]
        return found


def _range(low: float | None, high: float | None, unit: str, *, exclusive: bool) -> str:
    """`10 to 256 characters`."""
    if unit and not low:
        low = None  # no length is less than 0
    unit += "s" if unit and (high or low) != 1 else ""
    if low is not None and high is not None:
        return f"{_number(low)}{unit}" if low == high else f"{_number(low)} to {_number(high)}{unit}"
    if high is not None:
        return f"{'less than' if exclusive else 'at most'} {_number(high)}{unit}"
    if low is not None:
        return f"{'more than' if exclusive else 'at least'} {_number(low)}{unit}"
    return ""


def _number(value: float) -> str:
    return f"{value:,.15g}"


def _access(access: Mapping[str, Any]) -> str:
    parts = [access["audience"]]
    if access["roles"]:
        parts.append("role " + " or ".join(access["roles"]))
    if access["scopes"] and access["audience"] != "anyone":
        parts.append("scope " + ", ".join(access["scopes"]))
    return " · ".join(parts)


def _prose(text: str) -> Markup:
    """Comments use backquotes for code, and nothing else of Markdown."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))  # noqa: S704  (escaped above)


def main() -> int:
    """Writes the OpenAPI document and, from it, the page."""
    openapi.main()
    DEFAULT_OUT.write_text(page(json.loads(openapi.DEFAULT_OUT.read_text())))
    return 0


if __name__ == "__main__":
    sys.exit(main())

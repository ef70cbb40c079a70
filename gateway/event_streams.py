"""Streams of server-sent events, as OpenAPI 3.1 can tell of them."""

from __future__ import annotations

from typing import Any


def event_stream(message: dict[str, Any], description: str, *, named: bool = False, last: str = "") -> dict[str, Any]:
    """Content of a stream whose events carry `message` as JSON in `data`; `named`: each has an `event` too; `last`: a
    word that stands in the last one instead.

    OpenAPI 3.1 has no word for the items of a stream (3.2 has `itemSchema`): here, as tools read it, the schema is
    that of one event.
    """
    name = {"event": {"type": "string", "description": "What kind of event it is."}} if named else {}
    json_text = {"contentMediaType": "application/json", "contentSchema": message}
    data = {"type": "string", **({"anyOf": [{"const": last}, json_text]} if last else json_text)}
    schema = {
        "type": "object",
        "description": description,
        "properties": {**name, "data": data},
        "required": [*name, "data"],
    }
    return {"text/event-stream": {"schema": schema}}

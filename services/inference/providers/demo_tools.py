"""What the demo is asked for beside text: JSON of a form, or a call of a tool."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from services.inference.providers.base import ToolUse
from services.inference.providers.demo_bounds import NoInstanceError
from services.inference.providers.demo_json import instance
from services.mesh.errors import MeshError

_NOTE = "This is a demo answer: no model was called. It is as short as JSON can be."


def json_wanted(body: Mapping[str, Any]) -> str | None:
    """JSON of the form that the body asks for; None: it asks for text. MeshError INVALID_FIELD for a schema that the
    demo finds no instance of."""
    asked = body.get("response_format") or {}
    kind = asked.get("type")
    if kind == "json_object":
        return _text({"note": _NOTE})
    if kind == "json_schema":
        schema = asked["json_schema"].get("schema")
        return _text(_made({} if schema is None else schema, "response_format"))
    return None


def tool_wanted(body: Mapping[str, Any]) -> ToolUse | None:
    """The call of a tool that the body insists on; None: it leaves the choice, and the demo calls none."""
    tools = {one["function"]["name"]: one["function"] for one in body.get("tools") or () if "function" in one}
    choice = body.get("tool_choice")
    if isinstance(choice, dict) and choice.get("type") == "allowed_tools":
        allowed = choice.get("allowed_tools") or {}
        names = [(one.get("function") or {}).get("name") for one in allowed.get("tools") or ()]
        tools = {name: tools[name] for name in names if name in tools}
        choice = allowed.get("mode")
    if choice == "required":
        function = next(iter(tools.values()), None)
    elif isinstance(choice, dict):
        name = (choice.get("function") or {}).get("name")
        function = tools.get(name)
    else:
        return None
    if function is None:
        raise MeshError(
            "INVALID_FIELD",
            "`tool_choice` asks for a tool that `tools` does not have.",
            metadata={"param": "tool_choice"},
        )
    arguments = _made(function.get("parameters") or {"type": "object"}, "tools")
    return ToolUse(function["name"], _text(arguments))


def _made(schema: Any, param: str) -> Any:
    try:
        return instance(schema)
    except NoInstanceError as error:
        raise MeshError(
            "INVALID_FIELD",
            f"The demo cannot answer in the form of this schema: {error}. Simplify it, or ask another model.",
            metadata={"param": param},
        ) from None


def _text(value: Any) -> str:
    return orjson.dumps(value).decode()

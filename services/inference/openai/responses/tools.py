"""Tools of a Responses request. Those that OpenAI runs itself (web search, files, computers, …) are not here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from services.inference.openai.fields import fault, of_type, wrong_kind

MODES = ("none", "auto", "required")
_RULES = (
    ("name", of_type(str)),
    ("parameters", of_type(dict)),
    ("description", of_type(str)),
    ("strict", of_type(bool)),
)


def tools_of(given: Sequence[Any]) -> list[dict[str, Any]]:
    """The functions that a request offers, each with all fields that an answer says."""
    return [_tool(f"tools[{i}]", tool) for i, tool in enumerate(given)]


def tool_choice_of(given: Any, tools: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], str | dict[str, Any] | None]:
    """The tools to offer, and chat completions' `tool_choice`. Of allowed tools the others are not offered at all,
    which every upstream understands."""
    if given is None:
        return tools, None
    if isinstance(given, str):
        if given not in MODES:
            raise fault("tool_choice", f"`tool_choice` must be {', '.join(MODES)}, or an object.")
        if given == "required" and not tools:
            raise fault("tool_choice", "`tool_choice` is `required`, but `tools` is empty.")
        return tools, given
    kind = given.get("type") if isinstance(given, dict) else None
    if kind == "function":
        name = _named("tool_choice", given, tools)
        return tools, {"type": "function", "function": {"name": name}}
    if kind == "allowed_tools":
        mode, allowed = given.get("mode"), given.get("tools")
        if mode not in ("auto", "required"):
            raise fault("tool_choice.mode", "`tool_choice.mode` must be `auto` or `required`.")
        if not isinstance(allowed, list) or not allowed:
            raise fault("tool_choice.tools", "`tool_choice.tools` must be a list of at least one tool.")
        names = {_named(f"tool_choice.tools[{i}]", one, tools) for i, one in enumerate(allowed)}
        return [tool for tool in tools if tool["name"] in names], mode
    raise fault("tool_choice", f"`tool_choice` must be {', '.join(MODES)}, a function, or allowed tools.")


def _tool(place: str, tool: Any) -> dict[str, Any]:
    if not isinstance(tool, dict):
        raise wrong_kind(place, "an object", tool)
    kind = tool.get("type")
    if kind != "function":
        named = f", not {kind[:64]!r}" if isinstance(kind, str) else ""
        raise fault(
            f"{place}.type",
            f"`{place}.type` must be `function`{named}: tools that OpenAI runs itself are not offered here.",
        )
    for field, rule in _RULES:
        value = tool.get(field)
        if value is not None or field == "name":
            rule(f"{place}.{field}", value)
    if not tool["name"]:
        raise fault(f"{place}.name", f"`{place}.name` must not be empty.")
    return {"type": "function", **{field: tool.get(field) for field in ("name", "description", "parameters", "strict")}}


def _named(place: str, one: Any, tools: list[dict[str, Any]]) -> str:
    name = one.get("name") if isinstance(one, dict) else None
    if not isinstance(name, str) or all(tool["name"] != name for tool in tools):
        raise fault(f"{place}.name", f"`{place}.name` must be the name of a function in `tools`.")
    return name

"""What must hold of a chat completions request for us to carry it; the rest is the upstream's to judge."""

from __future__ import annotations

from typing import Any

from services.inference.openai.fields import Rule, fault, kind_of, of_type, whole_number, wrong_kind
from services.inference.openai.sampling import MAX_TOKENS, SAMPLING

ROLES = frozenset({"system", "developer", "user", "assistant", "tool", "function"})
_SAYS_SOMETHING = frozenset({"system", "developer", "user"})  # roles whose content may not be null


def _messages(field: str, value: Any) -> None:
    if type(value) is not list:
        raise wrong_kind(field, "a list", value)
    if not value:
        raise fault(field, f"`{field}` must hold at least one message.")
    for i, message in enumerate(value):
        if type(message) is not dict:
            raise wrong_kind(f"{field}[{i}]", "an object", message)
        role, content = message.get("role"), message.get("content")
        if type(role) is not str or role not in ROLES:
            raise fault(f"{field}[{i}].role", f"`{field}[{i}].role` must be one of {', '.join(sorted(ROLES))}.")
        if type(content) is str:
            continue
        if content is None:
            if role in _SAYS_SOMETHING:
                raise fault(f"{field}[{i}].content", f"`{field}[{i}].content` is missing.")
        elif type(content) is list:
            _parts(f"{field}[{i}].content", content)
        else:
            raise wrong_kind(f"{field}[{i}].content", "a string or a list of parts", content)


def _parts(place: str, parts: list[Any]) -> None:
    for k, part in enumerate(parts):
        if type(part) is not dict:
            raise wrong_kind(f"{place}[{k}]", "an object", part)
        kind = part.get("type")
        if type(kind) is not str:
            raise wrong_kind(f"{place}[{k}].type", "a string", kind)
        if kind == "text" and type(part.get("text")) is not str:
            raise wrong_kind(f"{place}[{k}].text", "a string", part.get("text"))


def _tools(field: str, value: Any) -> None:
    if type(value) is not list:
        raise wrong_kind(field, "a list", value)
    for i, tool in enumerate(value):
        if type(tool) is not dict:
            raise wrong_kind(f"{field}[{i}]", "an object", tool)
        if type(tool.get("type")) is not str:
            raise wrong_kind(f"{field}[{i}].type", "a string", tool.get("type"))
        if tool["type"] == "function":
            _function(f"{field}[{i}].function", tool.get("function"))


def _functions(field: str, value: Any) -> None:
    """What `tools` replaced."""
    if type(value) is not list:
        raise wrong_kind(field, "a list", value)
    for i, function in enumerate(value):
        _function(f"{field}[{i}]", function)


def _function(place: str, function: Any) -> None:
    if type(function) is not dict:
        raise wrong_kind(place, "an object", function)
    name, parameters = function.get("name"), function.get("parameters")
    if type(name) is not str or not name:
        raise fault(f"{place}.name", f"`{place}.name` must be a string that is not empty.")
    if parameters is not None and type(parameters) is not dict:
        raise wrong_kind(f"{place}.parameters", "an object", parameters)


def _choice(field: str, value: Any) -> None:
    if type(value) is not str and type(value) is not dict:
        raise wrong_kind(field, "a string or an object", value)


def _response_format(field: str, value: Any) -> None:
    if type(value) is not dict:
        raise wrong_kind(field, "an object", value)
    kind = value.get("type")
    if type(kind) is not str:
        raise wrong_kind(f"{field}.type", "a string", kind)
    if kind == "json_schema":
        wanted = value.get("json_schema")
        if type(wanted) is not dict:
            raise wrong_kind(f"{field}.json_schema", "an object", wanted)
        name, schema = wanted.get("name"), wanted.get("schema")
        if type(name) is not str or not name:
            raise fault(
                f"{field}.json_schema.name",
                f"`{field}.json_schema.name` must be a string that is not empty, but is {kind_of(name)}.",
            )
        if schema is not None and type(schema) is not dict:
            raise wrong_kind(f"{field}.json_schema.schema", "an object", schema)


def _stream_options(field: str, value: Any) -> None:
    if type(value) is not dict:
        raise wrong_kind(field, "an object", value)
    wanted = value.get("include_usage")
    if wanted is not None and type(wanted) is not bool:
        raise wrong_kind(f"{field}.include_usage", "true or false", wanted)


RULES: dict[str, Rule] = {
    **SAMPLING,
    "messages": _messages,
    "n": whole_number(1, 128),
    "max_tokens": whole_number(1, MAX_TOKENS),
    "max_completion_tokens": whole_number(1, MAX_TOKENS),
    "stream_options": _stream_options,
    "logprobs": of_type(bool),
    "tools": _tools,
    "tool_choice": _choice,
    "functions": _functions,
    "function_call": _choice,
    "response_format": _response_format,
}

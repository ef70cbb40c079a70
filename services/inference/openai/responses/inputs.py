"""Items of a Responses request as messages of chat completions. What is wrong names its place: `input[2].content[0]`.

| item | message |
|---|---|
| message | the same role (developer: system), its parts as chat completions have them |
| function_call | a tool call of the assistant's message before it, or of one of its own |
| function_call_output | a message of the role tool |
| reasoning | none: chat completions have no place for what a model thought before |
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from services.inference.openai.fields import fault, kind_of, wrong_kind

# Models that know developers take system messages for theirs; the others know no developers.
ROLES = {"user": "user", "assistant": "assistant", "system": "system", "developer": "system"}
_STORED = "Nothing is stored here; send the thing itself"


def messages_of(body: dict[str, Any]) -> list[dict[str, Any]]:
    """The conversation that a body carries: its instructions and its input."""
    messages: list[dict[str, Any]] = []
    instructions = body.get("instructions")
    if instructions:
        messages.append({"role": "system", "content": instructions})
    given = body.get("input")
    if given is None:
        raise fault("input", "Missing required parameter: `input`.")
    if isinstance(given, str):
        messages.append({"role": "user", "content": given})
        return messages
    if not isinstance(given, list):
        raise wrong_kind("input", "a string or a list of items", given)
    if not given:
        raise fault("input", "`input` must hold at least one item.")
    for i, item in enumerate(given):
        place = f"input[{i}]"
        if not isinstance(item, dict):
            raise wrong_kind(place, "an object", item)
        kind = item.get("type", "message")
        take = _ITEMS.get(kind) if isinstance(kind, str) else None
        if take is None:
            raise fault(
                f"{place}.type",
                f"`{place}.type` must be one of {', '.join(_ITEMS)}; items of other tools and of stored responses "
                "are not taken here.",
            )
        take(place, item, messages)
    return messages


def _message(place: str, item: dict[str, Any], messages: list[dict[str, Any]]) -> None:
    role = item.get("role")
    if not isinstance(role, str) or role not in ROLES:
        raise fault(f"{place}.role", f"`{place}.role` must be one of {', '.join(ROLES)}.")
    content = item.get("content")
    if not isinstance(content, str | list):
        raise wrong_kind(f"{place}.content", "a string or a list of parts", content)
    if not isinstance(content, str):
        content = _content(f"{place}.content", content, joined=role == "assistant")
    messages.append({"role": ROLES[role], "content": content})


def _function_call(place: str, item: dict[str, Any], messages: list[dict[str, Any]]) -> None:
    call = {
        "id": _text(place, item, "call_id"),
        "type": "function",
        "function": {"name": _text(place, item, "name"), "arguments": _text(place, item, "arguments", empty=True)},
    }
    if messages and messages[-1]["role"] == "assistant":
        messages[-1].setdefault("tool_calls", []).append(call)
    else:
        messages.append({"role": "assistant", "content": None, "tool_calls": [call]})


def _function_call_output(place: str, item: dict[str, Any], messages: list[dict[str, Any]]) -> None:
    output = item.get("output")
    if isinstance(output, list):
        output = _content(f"{place}.output", output, joined=True)
    elif not isinstance(output, str):
        raise wrong_kind(f"{place}.output", "a string or a list of parts", output)
    messages.append({"role": "tool", "tool_call_id": _text(place, item, "call_id"), "content": output})


def _reasoning(_place: str, _item: dict[str, Any], _messages: list[dict[str, Any]]) -> None:
    return


_ITEMS: dict[str, Callable[[str, dict[str, Any], list[dict[str, Any]]], None]] = {
    "message": _message,
    "function_call": _function_call,
    "function_call_output": _function_call_output,
    "reasoning": _reasoning,
}


def _content(place: str, given: list[Any], *, joined: bool) -> str | list[dict[str, Any]]:
    """Parts as chat completions have them; one text alone, or all where they may be `joined`, as a string, which
    every upstream takes."""
    parts: list[dict[str, Any]] = []
    for i, part in enumerate(given):
        where = f"{place}[{i}]"
        kind = part.get("type") if isinstance(part, dict) else None
        make = _PARTS.get(kind) if isinstance(kind, str) else None
        if make is None:
            raise fault(f"{where}.type", f"`{where}` must be a part of the type {', '.join(_PARTS)}.")
        parts.append(make(where, part))
    if (joined or len(parts) == 1) and all(part["type"] == "text" for part in parts):
        return "".join([part["text"] for part in parts])
    return parts


def _text_part(place: str, part: dict[str, Any]) -> dict[str, Any]:
    return {"type": "text", "text": _text(place, part, "text", empty=True)}


def _refusal(place: str, part: dict[str, Any]) -> dict[str, Any]:
    return {"type": "refusal", "refusal": _text(place, part, "refusal", empty=True)}


def _image(place: str, part: dict[str, Any]) -> dict[str, Any]:
    if part.get("file_id"):
        raise fault(f"{place}.file_id", f"{_STORED} as `image_url`: an https: or data: URL.")
    image: dict[str, Any] = {"url": _text(place, part, "image_url")}
    if part.get("detail"):
        image["detail"] = _text(place, part, "detail")
    return {"type": "image_url", "image_url": image}


def _file(place: str, part: dict[str, Any]) -> dict[str, Any]:
    for field in ("file_id", "file_url"):
        if part.get(field):
            raise fault(f"{place}.{field}", f"{_STORED} as `file_data`: a data: URL.")
    file = {"file_data": _text(place, part, "file_data")}
    if part.get("filename"):
        file["filename"] = _text(place, part, "filename")
    return {"type": "file", "file": file}


def _audio(place: str, part: dict[str, Any]) -> dict[str, Any]:
    audio = part.get("input_audio")
    if not isinstance(audio, dict):
        raise wrong_kind(f"{place}.input_audio", "an object", audio)
    return {"type": "input_audio", "input_audio": audio}


_PARTS: dict[str, Callable[[str, dict[str, Any]], dict[str, Any]]] = {
    "input_text": _text_part,
    "output_text": _text_part,
    "refusal": _refusal,
    "input_image": _image,
    "input_file": _file,
    "input_audio": _audio,
}


def _text(place: str, of: dict[str, Any], field: str, *, empty: bool = False) -> str:
    value = of.get(field)
    if not isinstance(value, str) or not (value or empty):
        what = "null" if value is None else "empty" if value == "" else kind_of(value)
        raise fault(f"{place}.{field}", f"`{place}.{field}` must be a string, but is {what}.")
    return value

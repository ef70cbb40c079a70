"""Chat completions requests: read from bytes and checked as far as we must know them; the rest is the upstream's.

A fault is a MeshError INVALID_FIELD whose metadata names OpenAI's `param`.
"""

from __future__ import annotations

from typing import Any

import orjson

from services.inference.catalog import OfferedModel
from services.inference.providers.base import OpenAiCall
from services.inference.providers.openai_shapes import text_of_content
from services.inference.usage import utf8_bytes
from services.mesh.errors import FieldViolation, MeshError

ROLES = frozenset({"system", "developer", "user", "assistant", "tool", "function"})
MAX_STOP_TEXTS = 4
# (field, types, lowest, highest); None among the types is not needed: null means not set, as with OpenAI.
_NUMBERS: tuple[tuple[str, tuple[type, ...], float, float], ...] = (
    ("temperature", (int, float), 0, 2),
    ("top_p", (int, float), 0, 1),
    ("presence_penalty", (int, float), -2, 2),
    ("frequency_penalty", (int, float), -2, 2),
    ("n", (int,), 1, 128),
    ("max_tokens", (int,), 1, 1_000_000_000),
    ("max_completion_tokens", (int,), 1, 1_000_000_000),
    ("top_logprobs", (int,), 0, 20),
    ("seed", (int,), -(2**63), 2**63 - 1),
)
_TYPES: tuple[tuple[str, type, str], ...] = (
    ("model", str, "a string"),
    ("stream", bool, "true or false"),
    ("stream_options", dict, "an object"),
    ("logprobs", bool, "true or false"),
    ("tools", list, "a list"),
    ("response_format", dict, "an object"),
    ("user", str, "a string"),
)


def read(data: bytes) -> dict[str, Any]:
    """The body of a chat completions request."""
    try:
        body = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise fault("", f"We could not parse the JSON body of the request: {error}.") from None
    if not isinstance(body, dict):
        raise fault("", f"The body must be a JSON object, but is {_kind(body)}.")
    for field, kind, expected in _TYPES:
        value = body.get(field)
        if value is not None and not isinstance(value, kind):
            raise fault(field, f"`{field}` must be {expected}, but is {_kind(value)}.")
    for field, kinds, lowest, highest in _NUMBERS:
        _check_number(body, field, kinds, lowest, highest)
    if body.get("stream_options") is not None and not body.get("stream"):
        raise fault("stream_options", "`stream_options` is only allowed where `stream` is true.")
    _check_stop(body.get("stop"))
    _check_messages(body.get("messages"))
    return body


def call_of(body: dict[str, Any], model: OfferedModel) -> OpenAiCall:
    """The call of a provider, with the model's cap on the answer: set where the caller set none, and where theirs is
    higher."""
    cap: int | None = model.max_output_tokens
    for field in ("max_completion_tokens", "max_tokens"):
        asked = body.get(field)
        if asked is not None:
            cap = None
            if asked > model.max_output_tokens:
                body = {**body, field: model.max_output_tokens}
    return OpenAiCall(body=body, model=model.name, upstream_model=model.upstream_model, output_cap=cap)


def message_bytes(body: dict[str, Any]) -> list[int]:
    """UTF-8 bytes of the text of each message, for estimates."""
    return [utf8_bytes(text_of_content(message.get("content"))) for message in body["messages"]]


def fault(param: str, message: str) -> MeshError:
    """What is wrong with one parameter; "" for the body as a whole."""
    return MeshError(
        "INVALID_FIELD",
        message,
        metadata={"param": param} if param else {},
        violations=[FieldViolation(param or "body", message)],
    )


def _check_number(body: dict[str, Any], field: str, kinds: tuple[type, ...], lowest: float, highest: float) -> None:
    value: Any = body.get(field)
    if value is None:
        return
    if type(value) not in kinds:  # not isinstance: True is an int to Python, and not to OpenAI
        expected = "a whole number" if kinds == (int,) else "a number"
        raise fault(field, f"`{field}` must be {expected}, but is {_kind(value)}.")
    if value < lowest or value > highest:
        raise fault(field, f"`{field}` must be between {lowest:,} and {highest:,}, but is {value}.")


def _check_stop(stop: Any) -> None:
    if stop is None or isinstance(stop, str):
        return
    if not isinstance(stop, list) or not all(isinstance(one, str) for one in stop):
        raise fault("stop", "`stop` must be a string or a list of strings.")
    if len(stop) > MAX_STOP_TEXTS:
        raise fault("stop", f"`stop` may hold at most {MAX_STOP_TEXTS} texts, but holds {len(stop)}.")


def _check_messages(messages: Any) -> None:
    if messages is None:
        raise fault("messages", "Missing required parameter: `messages`.")
    if not isinstance(messages, list):
        raise fault("messages", f"`messages` must be a list, but is {_kind(messages)}.")
    if not messages:
        raise fault("messages", "`messages` must hold at least one message.")
    for i, message in enumerate(messages):
        if not isinstance(message, dict):
            raise fault(f"messages[{i}]", f"`messages[{i}]` must be an object, but is {_kind(message)}.")
        role, content = message.get("role"), message.get("content")
        if not isinstance(role, str) or role not in ROLES:
            raise fault(f"messages[{i}].role", f"`messages[{i}].role` must be one of {', '.join(sorted(ROLES))}.")
        if content is not None and not isinstance(content, str | list):
            raise fault(
                f"messages[{i}].content",
                f"`messages[{i}].content` must be a string or a list of parts, but is {_kind(content)}.",
            )
        if content is None and role in {"system", "developer", "user"}:
            raise fault(f"messages[{i}].content", f"`messages[{i}].content` is missing.")


def _kind(value: Any) -> str:
    names: dict[type, str] = {
        dict: "an object",
        list: "a list",
        str: "a string",
        bool: "true or false",
        int: "a number",
        float: "a number",
        type(None): "null",
    }
    return names.get(type(value), "something else")

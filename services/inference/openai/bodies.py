"""Chat completions requests: read from bytes and checked as far as we must know them; the rest is the upstream's.

A fault is a MeshError INVALID_FIELD whose metadata names OpenAI's `param`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from services.inference.catalog import Catalog
from services.inference.engine.call import CacheControl, ModelCall
from services.inference.sizes import PART_TOKENS_MAX
from services.inference.usage import BYTES_PER_TOKEN, TOKENS_PER_MESSAGE, estimate_tokens, utf8_bytes
from services.mesh.call import current
from services.mesh.errors import FieldViolation, MeshError
from services.mesh.ids import uuid7

ROLES = frozenset({"system", "developer", "user", "assistant", "tool", "function"})
MAX_STOP_TEXTS = 4
# OpenAI's own bounds on `metadata`, values shorter: they are columns of a bill.
MAX_TAGS, MAX_TAG_KEY_CHARS, MAX_TAG_CHARS = 16, 64, 256
_DEFAULT_CONTROL = CacheControl()
# What OpenAI's chat completions take; a route may refuse what is not among it.
KNOWN = frozenset(
    {
        *(
            "audio",
            "frequency_penalty",
            "function_call",
            "functions",
            "logit_bias",
            "logprobs",
            "max_completion_tokens",
        ),
        *("max_tokens", "messages", "metadata", "modalities", "model", "n", "parallel_tool_calls", "prediction"),
        *("presence_penalty", "prompt_cache_key", "prompt_cache_retention", "reasoning_effort", "response_format"),
        *("safety_identifier", "seed", "service_tier", "stop", "store", "stream", "stream_options", "temperature"),
        *("tool_choice", "tools", "top_logprobs", "top_p", "user", "verbosity", "web_search_options"),
    }
)
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
        raise fault("", f"The body must be a JSON object, but is {kind_of(body)}.")
    for field, kind, expected in _TYPES:
        value = body.get(field)
        if value is not None and not isinstance(value, kind):
            raise fault(field, f"`{field}` must be {expected}, but is {kind_of(value)}.")
    for field, kinds, lowest, highest in _NUMBERS:
        check_number(body, field, kinds, lowest, highest)
    if body.get("stream_options") is not None and not body.get("stream"):
        raise fault("stream_options", "`stream_options` is only allowed where `stream` is true.")
    _check_stop(body.get("stop"))
    _check_messages(body.get("messages"))
    return body


def call_of(body: dict[str, Any], raw_bytes: int, catalog: Catalog, surface: int) -> ModelCall:
    """The call that a checked body asks for. `raw_bytes`: of the body as it came."""
    call = current()
    route = catalog.route(body.get("model") or "")
    if route.refuses_unknown and not body.keys() <= KNOWN:
        name = min(body.keys() - KNOWN)
        raise fault(name, f"Unknown parameter: {name!r}. The route {route.name!r} passes on what it knows alone.")
    asked = body.get("max_completion_tokens") or body.get("max_tokens")
    most = route.output_tokens_max
    options = body.get("stream_options")
    streamed = bool(body.get("stream"))
    estimate, over = _sizes(body["messages"])
    return ModelCall(
        surface=surface,
        caller=call.caller,
        request_id=call.request_id,
        record_id=uuid7(),
        route=route,
        body=body if "metadata" not in body else {key: body[key] for key in body if key != "metadata"},
        streamed=streamed,
        wants_usage=streamed and isinstance(options, dict) and bool(options.get("include_usage")),
        output_cap=min(asked, most) if asked else most,
        # Every token is at least a byte of what came; but an image behind a link is more than its address.
        input_tokens_max=raw_bytes + over,
        input_tokens_estimate=estimate,
        tags=tags_of(body.get("metadata")),
        cache=cache_control(call.metadata),
        deadline=call.deadline,
        choices=body.get("n") or 1,
    )


def cache_control(metadata: Mapping[str, str | bytes]) -> CacheControl:
    """What the caller's `cache-control` header lets our cache do: `no-store` goes around it, `no-cache` asks anew and
    stores, `max-age` bounds how long the answer may be stored. What else it says is not for us."""
    header = metadata.get("cache-control")
    if not header or not isinstance(header, str):
        return _DEFAULT_CONTROL
    words = [word.strip().lower() for word in header.split(",")]
    ttl_s = 0
    for word in words:
        if word.startswith("max-age="):
            value = word[8:]
            if not value.isdigit() or len(value) > 9:
                raise fault("cache-control", "The header `cache-control` has a `max-age` that is no number of seconds.")
            ttl_s = int(value)
    bypass = "no-store" in words
    return CacheControl(
        bypass=bypass, refresh=not bypass and ("no-cache" in words or "max-age=0" in words), ttl_s=ttl_s
    )


def tags_of(metadata: Any) -> dict[str, str]:
    """OpenAI's `metadata`: tags of the call, for us alone."""
    if metadata is None:
        return {}
    if not isinstance(metadata, dict):
        raise fault("metadata", f"`metadata` must be an object, but is {kind_of(metadata)}.")
    if len(metadata) > MAX_TAGS:
        raise fault("metadata", f"`metadata` may hold at most {MAX_TAGS} pairs, but holds {len(metadata)}.")
    for key, value in metadata.items():
        if not isinstance(value, str) or len(value) > MAX_TAG_CHARS or not 0 < len(key) <= MAX_TAG_KEY_CHARS:
            raise fault(
                "metadata",
                f"`metadata` must have keys of 1 to {MAX_TAG_KEY_CHARS} characters and texts of at most "
                f"{MAX_TAG_CHARS} as values; {key[:MAX_TAG_KEY_CHARS]!r} has not.",
            )
    return metadata


def _sizes(messages: list[dict[str, Any]]) -> tuple[int, int]:
    """Tokens of the conversation as we estimate them, and how many more than their bytes its parts may take."""
    size = over = 0
    for message in messages:
        content = message.get("content")
        if type(content) is str:
            size += utf8_bytes(content)
        elif content is not None:
            for part in content:
                text = part.get("text") if isinstance(part, dict) else None
                if isinstance(text, str):
                    size += utf8_bytes(text)
                else:
                    over += PART_TOKENS_MAX
        size += TOKENS_PER_MESSAGE * BYTES_PER_TOKEN
    return estimate_tokens(size), over


def fault(param: str, message: str) -> MeshError:
    """What is wrong with one parameter; "" for the body as a whole."""
    return MeshError(
        "INVALID_FIELD",
        message,
        metadata={"param": param} if param else {},
        violations=[FieldViolation(param or "body", message)],
    )


def check_number(body: dict[str, Any], field: str, kinds: tuple[type, ...], lowest: float, highest: float) -> None:
    value: Any = body.get(field)
    if value is None:
        return
    if type(value) not in kinds:  # not isinstance: True is an int to Python, and not to OpenAI
        expected = "a whole number" if kinds == (int,) else "a number"
        raise fault(field, f"`{field}` must be {expected}, but is {kind_of(value)}.")
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
        raise fault("messages", f"`messages` must be a list, but is {kind_of(messages)}.")
    if not messages:
        raise fault("messages", "`messages` must hold at least one message.")
    for i, message in enumerate(messages):
        if not isinstance(message, dict):
            raise fault(f"messages[{i}]", f"`messages[{i}]` must be an object, but is {kind_of(message)}.")
        role, content = message.get("role"), message.get("content")
        if not isinstance(role, str) or role not in ROLES:
            raise fault(f"messages[{i}].role", f"`messages[{i}].role` must be one of {', '.join(sorted(ROLES))}.")
        if content is not None and not isinstance(content, str | list):
            raise fault(
                f"messages[{i}].content",
                f"`messages[{i}].content` must be a string or a list of parts, but is {kind_of(content)}.",
            )
        if content is None and role in {"system", "developer", "user"}:
            raise fault(f"messages[{i}].content", f"`messages[{i}].content` is missing.")


def kind_of(value: Any) -> str:
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

"""Chat completions requests: read from bytes and checked as far as we must know them; the rest is the upstream's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from services.inference.catalog import Catalog
from services.inference.engine.call import CacheControl, ModelCall
from services.inference.openai.chat_rules import RULES
from services.inference.openai.fields import check, fault, parse, refuse_unknown
from services.inference.sizes import chat_sizes
from services.mesh.call import current
from services.mesh.ids import uuid7

_DEFAULT_CONTROL = CacheControl()
# What OpenAI's chat completions take; a route may refuse what is not among it.
KNOWN = frozenset(
    {
        *("audio", "frequency_penalty", "function_call", "functions", "logit_bias", "logprobs"),
        *("max_completion_tokens", "max_tokens", "messages", "metadata", "modalities", "model", "moderation", "n"),
        *("parallel_tool_calls", "prediction", "presence_penalty", "prompt_cache_key", "prompt_cache_options"),
        *("prompt_cache_retention", "reasoning_effort", "response_format", "safety_identifier", "seed"),
        *("service_tier", "stop", "store", "stream", "stream_options", "temperature", "tool_choice", "tools"),
        *("top_logprobs", "top_p", "user", "verbosity", "web_search_options"),
    }
)


def read(data: bytes) -> dict[str, Any]:
    """The body of a chat completions request."""
    body = parse(data)
    check(body, RULES)
    if body.get("messages") is None:
        raise fault("messages", "Missing required parameter: `messages`.")
    if body.get("stream_options") is not None and not body.get("stream"):
        raise fault("stream_options", "`stream_options` is only allowed where `stream` is true.")
    return body


def call_of(body: dict[str, Any], raw_bytes: int, catalog: Catalog, surface: int) -> ModelCall:
    """The call that a checked body asks for. `raw_bytes`: of the body as it came."""
    call = current()
    get = body.get
    route = catalog.route_for(get("model") or "", call.caller, embeds=False)
    if route.refuses_unknown:
        refuse_unknown(body, KNOWN, route.name)
    cap = route.output_tokens_max
    # Two names of one thing: where both are there, the smaller holds.
    for asked in (get("max_completion_tokens"), get("max_tokens")):
        if asked is not None and asked < cap:
            cap = asked
    streamed = get("stream") is True
    estimate, over = chat_sizes(body)
    tags = get("metadata")
    return ModelCall(
        surface=surface,
        caller=call.caller,
        request_id=call.request_id,
        record_id=uuid7(),
        route=route,
        body=body if "metadata" not in body else {key: body[key] for key in body if key != "metadata"},
        streamed=streamed,
        wants_usage=streamed and bool((get("stream_options") or {}).get("include_usage")),
        output_cap=cap,
        # Every token is at least a byte of what came; but an image behind a link is more than its address.
        input_tokens_max=raw_bytes + over,
        input_tokens_estimate=estimate,
        tags=tags or {},
        cache=cache_control(call.metadata),
        deadline=call.deadline,
        choices=get("n") or 1,
        restartable=False,
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
            if not (value.isascii() and value.isdigit()) or len(value) > 9:
                raise fault("cache-control", "The header `cache-control` has a `max-age` that is no number of seconds.")
            ttl_s = int(value)
    bypass = "no-store" in words
    return CacheControl(
        bypass=bypass, refresh=not bypass and ("no-cache" in words or "max-age=0" in words), ttl_s=ttl_s
    )

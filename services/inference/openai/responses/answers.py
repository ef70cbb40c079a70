"""The Response object: what was asked, said back, and the answer of chat completions as items."""

from __future__ import annotations

from typing import Any

import orjson

from services.inference.engine.call import ModelCall
from services.inference.openai.content import text_in
from services.inference.openai.responses.requests import Asked
from services.inference.providers.openai_chunks import MAX_TOKENS, usage_of

# Why an answer is no whole one, by the finish reason of chat completions; others end it well.
INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}


def head_of(asked: Asked, call: ModelCall, created_s: int) -> dict[str, Any]:
    """A Response that has begun. What nobody asked for stays null: the upstream's default is the upstream's."""
    body = asked.body
    reasoning = body.get("reasoning") or {}
    text = body.get("text") or {}
    return {
        "id": f"resp_{base_id(call)}",
        "object": "response",
        "created_at": created_s,
        "status": "in_progress",
        "background": False,
        "completed_at": None,
        "error": None,
        "incomplete_details": None,
        "instructions": body.get("instructions"),
        "max_output_tokens": body.get("max_output_tokens"),
        "max_tool_calls": body.get("max_tool_calls"),
        "metadata": dict(call.tags),
        "model": call.answer_model,
        "output": [],
        "parallel_tool_calls": body.get("parallel_tool_calls") is not False,
        "previous_response_id": None,
        "prompt_cache_key": body.get("prompt_cache_key"),
        "reasoning": {"effort": reasoning.get("effort"), "summary": None},
        "safety_identifier": body.get("safety_identifier"),
        "service_tier": body.get("service_tier"),
        "store": False,
        "temperature": body.get("temperature"),
        "text": {**text, "format": text.get("format") or {"type": "text"}},
        "tool_choice": body.get("tool_choice") or "auto",
        "tools": asked.tools,
        "top_logprobs": body.get("top_logprobs") or 0,
        "top_p": body.get("top_p"),
        "truncation": "disabled",
        "usage": None,
        "user": body.get("user"),
    }


def base_id(call: ModelCall) -> str:
    """What the ids of an answer are made of: its receipt's."""
    return call.record_id.replace("-", "")


def answer(asked: Asked, call: ModelCall, data: bytes, created_s: int, now_s: int) -> bytes:
    """The Response for a whole answer of chat completions. Times since the epoch: of the request, and now."""
    parsed = orjson.loads(data)
    choice = parsed["choices"][0]
    reason = str(choice.get("finish_reason"))
    response = head_of(asked, call, created_s)
    if isinstance(parsed.get("model"), str):
        response["model"] = parsed["model"]
    finish(response, _items(choice, call, reason), reason, usage_object(parsed.get("usage"), call), now_s)
    return orjson.dumps(response)


def finish(
    response: dict[str, Any], items: list[dict[str, Any]], reason: str, usage: dict[str, Any], now_s: int
) -> None:
    """The answer has ended, for a finish reason of chat completions."""
    response["output"] = items
    response["usage"] = usage
    if reason in INCOMPLETE:
        response["status"] = "incomplete"
        response["incomplete_details"] = {"reason": INCOMPLETE[reason]}
    else:
        response["status"] = "completed"
        response["completed_at"] = now_s


def _items(choice: dict[str, Any], call: ModelCall, reason: str) -> list[dict[str, Any]]:
    message = choice["message"]
    base = base_id(call)
    items: list[dict[str, Any]] = []
    # What was cut is the last thing that the model wrote.
    cut = "incomplete" if reason in INCOMPLETE else "completed"
    thought = message.get("reasoning_content") or message.get("reasoning")
    if thought and isinstance(thought, str):
        items.append(reasoning_item(f"rs_{base}", thought, "completed"))
    called = message.get("tool_calls")
    calls = [one for one in called if isinstance(one, dict)] if isinstance(called, list) else []
    parts: list[dict[str, Any]] = []
    if text := text_in(message.get("content")):
        parts.append(text_part(text, logprobs_of(choice.get("logprobs"))))
    if message.get("refusal") and isinstance(message["refusal"], str):
        parts.append(refusal_part(message["refusal"]))
    if parts or not calls:
        items.append(message_item(f"msg_{base}", parts or [text_part("", [])], "completed" if calls else cut))
    for i, one in enumerate(calls):
        function = one.get("function")
        function = function if isinstance(function, dict) else {}
        items.append(
            call_item(
                f"fc_{base}_{i}",
                one.get("id") or f"call_{base}_{i}",
                str(function.get("name") or ""),
                _arguments(function.get("arguments")),
                cut if i == len(calls) - 1 else "completed",
            )
        )
    return items


def _arguments(given: Any) -> str:
    if isinstance(given, str):
        return given
    return "" if given is None else orjson.dumps(given).decode()  # some upstreams parse them


# Items and parts


def message_item(item_id: str, parts: list[dict[str, Any]], status: str) -> dict[str, Any]:
    """What the model says."""
    return {"id": item_id, "type": "message", "status": status, "role": "assistant", "content": parts}


def reasoning_item(item_id: str, text: str, status: str) -> dict[str, Any]:
    """What it thinks aloud."""
    parts = [{"type": "reasoning_text", "text": text}] if text else []
    return {"id": item_id, "type": "reasoning", "status": status, "summary": [], "content": parts}


def call_item(item_id: str, call_id: str, name: str, arguments: str, status: str) -> dict[str, Any]:
    """A function that it calls."""
    return {
        "id": item_id,
        "type": "function_call",
        "status": status,
        "call_id": call_id,
        "name": name,
        "arguments": arguments,
    }


def text_part(text: str, logprobs: list[dict[str, Any]]) -> dict[str, Any]:
    """A part of a message."""
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": logprobs}


def refusal_part(text: str) -> dict[str, Any]:
    """A part of a message."""
    return {"type": "refusal", "refusal": text}


def logprobs_of(given: Any) -> list[dict[str, Any]]:
    """Log probabilities of a choice of chat completions."""
    content = given.get("content") if isinstance(given, dict) else None
    if not isinstance(content, list):
        return []
    made = []
    for one in content:
        if _is_one(one):
            top = one.get("top_logprobs")
            likeliest = [_logprob(other) for other in top if _is_one(other)] if isinstance(top, list) else []
            made.append({**_logprob(one), "top_logprobs": likeliest})
    return made


def _is_one(given: Any) -> bool:
    return isinstance(given, dict) and isinstance(given.get("token"), str)


def _logprob(one: dict[str, Any]) -> dict[str, Any]:
    known = one.get("bytes")
    utf8 = known if isinstance(known, list) else list(one["token"].encode("utf-8", "replace"))
    return {"token": one["token"], "logprob": one.get("logprob"), "bytes": utf8}


def usage_object(reported: Any, call: ModelCall) -> dict[str, Any]:
    """Tokens as the provider counted them, with its details; as we did where it did not."""
    counted = usage_of(reported)
    usage = counted or call.usage
    told = reported if counted is not None else {}
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {
            "cached_tokens": _detail(told, "prompt_tokens_details", "cached_tokens"),
            "cache_write_tokens": _detail(told, "prompt_tokens_details", "cache_write_tokens"),
        },
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": _detail(told, "completion_tokens_details", "reasoning_tokens")},
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }


def _detail(usage: dict[str, Any], group: str, field: str) -> int:
    details = usage.get(group)
    value = details.get(field) if isinstance(details, dict) else None
    return value if type(value) is int and 0 <= value <= MAX_TOKENS else 0

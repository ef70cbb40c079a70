"""OpenAI's chunks as messages of Generate: what arrived in one read comes in one delta for each candidate."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from promptmesh.inference.v1 import inference_pb2 as pb

from services.inference.cleaning import clean
from services.inference.openai.content import text_in

FINISH_REASONS = {
    "stop": pb.FINISH_REASON_STOP,
    "length": pb.FINISH_REASON_LENGTH,
    "content_filter": pb.FINISH_REASON_CONTENT_FILTER,
    "tool_calls": pb.FINISH_REASON_TOOL_CALLS,
    "function_call": pb.FINISH_REASON_TOOL_CALLS,
}
MAX_INDEX = 1024  # of a candidate or a tool call, which a provider decides


def deltas(chunks: Iterable[dict[str, Any]]) -> list[pb.GenerateDelta]:
    """One for each candidate that the chunks add to, in order of their first chunk."""
    by_candidate: dict[int, pb.GenerateDelta] = {}
    texts: dict[int, list[str]] = {}
    for chunk in chunks:
        for choice in chunk.get("choices") or ():
            index = choice.get("index") or 0
            if not 0 <= index <= MAX_INDEX:
                continue
            delta = choice.get("delta")
            if not isinstance(delta, dict):
                continue
            made = by_candidate.get(index)
            if made is None:
                made = by_candidate[index] = pb.GenerateDelta(candidate=index)
                texts[index] = []
            content = delta.get("content")
            if type(content) is str:
                texts[index].append(content)
            elif content is not None:
                texts[index].append(text_in(content))
            if len(delta) > 1 or content is None:
                _more(delta, made)
            logprobs = choice.get("logprobs")
            if logprobs:
                _logprobs(logprobs, made)
    for index, made in by_candidate.items():
        made.text = clean("".join(texts[index]))
    return [made for made in by_candidate.values() if _says_something(made)]


def finish_reasons(of: Mapping[int, str]) -> list[pb.FinishReason.ValueType]:
    """Why each candidate ended, in their order."""
    return [FINISH_REASONS.get(of[index], pb.FINISH_REASON_UNSPECIFIED) for index in sorted(of)]


def _more(delta: dict[str, Any], made: pb.GenerateDelta) -> None:
    reasoning = delta.get("reasoning_content") or delta.get("reasoning")
    if isinstance(reasoning, str):
        made.reasoning += clean(reasoning)
    refusal = delta.get("refusal")
    if isinstance(refusal, str):
        made.refusal += clean(refusal)
    calls = delta.get("tool_calls")
    if isinstance(calls, list):
        for call in calls:
            if isinstance(call, dict):
                _tool_call(call, made)


def _tool_call(call: dict[str, Any], made: pb.GenerateDelta) -> None:
    function = call.get("function")
    if not isinstance(function, dict):
        function = {}
    index = call.get("index")
    made.tool_calls.add(
        index=index if isinstance(index, int) and 0 <= index <= MAX_INDEX else 0,
        id=_text(call.get("id")),
        name=_text(function.get("name")),
        arguments=_text(function.get("arguments")),
    )


def _logprobs(logprobs: Any, made: pb.GenerateDelta) -> None:
    content = logprobs.get("content") if isinstance(logprobs, dict) else None
    if not isinstance(content, list):
        return
    for one in content:
        if isinstance(one, dict):
            entry = made.logprobs.add(token=_text(one.get("token")), logprob=_number(one.get("logprob")))
            likeliest = one.get("top_logprobs")
            for top in likeliest if isinstance(likeliest, list) else ():
                if isinstance(top, dict):
                    entry.top.add(token=_text(top.get("token")), logprob=_number(top.get("logprob")))


def _says_something(delta: pb.GenerateDelta) -> bool:
    return bool(delta.text or delta.tool_calls or delta.reasoning or delta.refusal or delta.logprobs)


def _text(value: Any) -> str:
    return clean(value) if isinstance(value, str) else ""


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else 0.0

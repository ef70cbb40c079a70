"""What every answer says of itself in its headers: the receipt in short.

Sent as initial metadata, headers are a batch of their own and cost 70 of a call's 340 µs (grpc.aio, measured). Answers
in OpenAI's shape are one message, or few, whose content type goes out with the first: so there they travel as a
parameter of it, `application/json; promptmesh="name=value|name=value"`, and the edge makes headers of it
(`gateway/lua/responses.lua`, docs/decisions/0010).
"""

from __future__ import annotations

from math import ceil

from promptmesh.inference.v1 import receipt_pb2 as pb

from services.inference.engine.call import ModelCall
from services.inference.limits.reservation import UNLIMITED, Remaining

Headers = tuple[tuple[str, str], ...]
_CACHE_WORDS: dict[int, str] = {
    pb.CACHE_DECISION_BYPASS: "bypass",
    pb.CACHE_DECISION_MISS: "miss",
    pb.CACHE_DECISION_HIT: "hit",
    pb.CACHE_DECISION_JOINED: "joined",
    pb.CACHE_DECISION_REFRESH: "refresh",
}


def content_type(kind: str, call: ModelCall) -> str:
    """A content type that carries the headers of a call to the edge."""
    said = "|".join([f"{name}={value}" for name, value in headers_of(call)])
    return f'{kind}; promptmesh="{said}"'


def headers_of(call: ModelCall) -> Headers:
    """Of a call whose answer begins, or is whole. Names and values are visible ASCII without `|` and `"`."""
    headers = [
        ("x-promptmesh-record-id", call.record_id),
        ("x-promptmesh-model", call.answer_model),
        ("x-promptmesh-provider", call.answer_provider),
        ("x-promptmesh-attempts", str(len(call.info.attempts))),
        ("x-promptmesh-config-version", str(call.route.version)),
    ]
    if call.decision:
        headers.append(("x-promptmesh-cache", _CACHE_WORDS[call.decision]))
    if call.cost_nanos is not None:
        headers.append(("x-promptmesh-cost-nanos", str(call.cost_nanos)))
    if call.remaining is not None:
        _tell_remaining(call.remaining(), headers)
    return tuple(headers)


def _tell_remaining(left: Remaining, headers: list[tuple[str, str]]) -> None:
    """Under the names that OpenAI's clients know; resets as whole seconds."""
    if left is UNLIMITED:
        return
    if left.requests_limit is not None:
        headers.append(("x-ratelimit-limit-requests", str(left.requests_limit)))
        headers.append(("x-ratelimit-remaining-requests", str(left.requests_remaining)))
        headers.append(("x-ratelimit-reset-requests", f"{ceil(left.requests_reset_s or 0)}s"))
    if left.tokens_limit is not None:
        headers.append(("x-ratelimit-limit-tokens", str(left.tokens_limit)))
        headers.append(("x-ratelimit-remaining-tokens", str(left.tokens_remaining)))
        headers.append(("x-ratelimit-reset-tokens", f"{ceil(left.tokens_reset_s or 0)}s"))
    if left.budget_remaining_nanos is not None:
        headers.append(("x-promptmesh-budget-remaining-nanos", str(left.budget_remaining_nanos)))

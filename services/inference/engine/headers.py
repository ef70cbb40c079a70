"""What every answer says of itself in its headers: the receipt in short.

Sent as initial metadata, headers are a batch of their own and cost 70 of a call's 340 microseconds (grpc.aio, measured).
Answers in OpenAI's shape are one message, or few, whose content type goes out with the first: so there they travel as a
parameter of it, `application/json; promptmesh="name=value|name=value"`, and the edge makes headers of it
(`gateway/lua/responses.lua`, docs/decisions/0010).
"""

from __future__ import annotations

from promptmesh.inference.v1 import receipt_pb2 as pb

from services.inference.engine.call import ModelCall

Headers = tuple[tuple[str, str], ...]
_CACHE_WORDS = {
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
        headers += call.remaining()
    return tuple(headers)

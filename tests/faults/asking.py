"""One call of a route by each surface, and what its caller gets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc
import orjson
from google.api import httpbody_pb2
from promptmesh.inference.v1 import inference_pb2 as pb

from services.inference.openai.errors import STATUS_KEY
from services.mesh.errors import error_of
from tests.faults.table import (
    BROKEN,
    CREDENTIAL,
    LIMITED,
    OVERFLOW,
    REFUSED,
    REJECTED,
    REVOKED,
    TIMEOUT,
    UNAVAILABLE,
    UNKNOWN_MODEL,
    Surface,
)
from tests.faults.world import PATIENCE_S, World, credential

PROMPT = "Say hello."
MESSAGES = [{"role": "user", "content": PROMPT}]
# OpenAI's status and code of a reason.
SHAPES: dict[str, tuple[int, str | None]] = {
    LIMITED: (429, "rate_limit_exceeded"),
    UNAVAILABLE: (503, "provider_unavailable"),
    CREDENTIAL: (502, "provider_credential_refused"),
    BROKEN: (502, "provider_answer_broken"),
    TIMEOUT: (504, "provider_timeout"),
    REJECTED: (400, None),
    REFUSED: (400, "content_policy_violation"),
    OVERFLOW: (400, "context_length_exceeded"),
    UNKNOWN_MODEL: (404, "model_not_found"),
    REVOKED: (401, "invalid_api_key"),
}
_REASONS = {shape: reason for reason, shape in SHAPES.items()}
_STATUSES = {code: status for status, code in SHAPES.values()}


@dataclass(slots=True)
class Got:
    """What a caller got. `reason`: of its failure, "" where it was told of a whole answer. `texts`: what it was shown,
    a new text after each restart; `vectors`: how many it got. `model`: as the answer names it."""

    reason: str = ""
    status: int = 200  # HTTP's, as OpenAI's callers see it; 0: of gRPC, where the reason says it
    texts: list[str] = field(default_factory=list)
    vectors: int = 0
    model: str = ""

    @property
    def shown(self) -> list[str]:
        """The texts that are not empty, without the space around them, which a stream says and an answer may not."""
        return [text.strip() for text in self.texts if text]


@dataclass(slots=True)
class Caller:
    """Who calls: with which key (none: the standing one), how long they wait, and whether they were shown something."""

    secret: str = ""
    patience_s: float = PATIENCE_S
    shown: asyncio.Event = field(default_factory=asyncio.Event)

    def options(self, world: World) -> dict[str, Any]:
        """Of a call of a stub."""
        metadata = credential(self.secret) if self.secret else world.metadata
        return {"metadata": metadata, "timeout": self.patience_s}


async def ask(world: World, surface: Surface, route: str, caller: Caller | None = None) -> Got:
    """Calls the route and reads what comes to its end. AioRpcError where the caller's own deadline passes.

    Cancelling it is leaving."""
    caller = caller or Caller()
    match surface:
        case Surface.CHAT | Surface.CHAT_STREAM:
            body = {"model": route, "messages": MESSAGES, "stream": surface.streamed}
            call, read = _post(world.openai.ChatCompletions, body, caller.options(world)), _chat
        case Surface.RESPONSES | Surface.RESPONSES_STREAM:
            body = {"model": route, "input": PROMPT, "stream": surface.streamed}
            call, read = _post(world.openai.Responses, body, caller.options(world)), _responses
        case Surface.EMBEDDINGS:
            body = {"model": route, "input": PROMPT}
            call, read = _post(world.openai.Embeddings, body, caller.options(world)), _embeddings
        case Surface.EMBED:
            call = world.inference.Embed(pb.EmbedRequest(model=route, inputs=[PROMPT]), **caller.options(world))
        case Surface.GENERATE:
            message = pb.Message(role=pb.MESSAGE_ROLE_USER, content=PROMPT)
            request = pb.GenerateRequest(model=route, messages=[message])
            call = world.inference.Generate(request, **caller.options(world))
    try:
        if surface is Surface.EMBED:
            return _embedded(await call)
        if surface is Surface.GENERATE:
            return _told([event async for event in _watched(call, caller)])
        return await _openai(call, read, caller)
    except grpc.aio.AioRpcError as error:
        if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED and error_of(error).reason != TIMEOUT:
            raise
        return Got(error_of(error).reason, status=0)
    finally:
        call.cancel()


def _post(method: Any, body: dict[str, Any], options: dict[str, Any]) -> Any:
    return method(httpbody_pb2.HttpBody(content_type="application/json", data=orjson.dumps(body)), **options)


async def _watched(call: Any, caller: Caller) -> AsyncIterator[Any]:
    async for message in call:
        yield message
        if not isinstance(message, pb.GenerateResponse) or message.WhichOneof("event") == "delta":
            caller.shown.set()


async def _openai(call: Any, read: Any, caller: Caller) -> Got:
    """The status of OpenAI's methods stands in initial metadata, and everything else in what they stream."""
    status = int(dict(await call.initial_metadata() or ()).get(STATUS_KEY, "200"))
    got = Got(status=status)
    raw, kind = b"", ""
    async for part in _watched(call, caller):
        raw += part.data
        kind = part.content_type.partition(";")[0]
    if status != 200:
        got.reason = _reason(orjson.loads(raw), status)
    elif kind == "text/event-stream":
        events = [event for event in raw.split(b"\n\n") if event and not event.startswith(b":")]
        read(got, [_data(event) for event in events])
    else:
        read(got, orjson.loads(raw))
    return got


def _data(event: bytes) -> Any:
    data = event[event.index(b"data: ") + 6 :]
    return data.decode() if data == b"[DONE]" else orjson.loads(data)


def _reason(body: dict[str, Any], status: int) -> str:
    """The reason of an error in OpenAI's shape: of its code, with which the status must agree."""
    code = body["error"]["code"]
    assert _STATUSES[code] == status, f"{status} with the code {code}"
    return _REASONS[status, code]


def _reason_of_code(code: str | None) -> str:
    return _REASONS[_STATUSES[code], code]


def _chat(got: Got, said: Any) -> None:
    if isinstance(said, dict):
        got.texts = [said["choices"][0]["message"]["content"] or ""]
        assert said["choices"][0]["finish_reason"]
        got.model = said["model"]
        return
    last = said.pop()
    if last == "[DONE]":
        assert any(chunk["choices"] and chunk["choices"][0]["finish_reason"] for chunk in said)
    else:
        got.reason = _reason_of_code(last["error"]["code"])
    chunks = [chunk for chunk in said if chunk["choices"]]
    got.texts = ["".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks)]
    got.model = "".join({chunk["model"] for chunk in chunks})


def _responses(got: Got, said: Any) -> None:
    if isinstance(said, dict):
        assert said["status"] in ("completed", "incomplete")
        got.texts, got.model = [_output_text(said)], said["model"]
        return
    kinds = [event["type"] for event in said]
    assert kinds[0] == "response.created"
    got.texts = ["".join(event["delta"] for event in said if event["type"] == "response.output_text.delta")]
    got.model = said[0]["response"]["model"]
    if kinds[-1] in ("response.completed", "response.incomplete"):
        assert _output_text(said[-1]["response"]) == got.texts[0]
    else:
        assert not {"response.completed", "response.incomplete"} & set(kinds)
        got.reason = _reason_of_code(next(event["code"] for event in said if event["type"] == "error"))


def _output_text(response: dict[str, Any]) -> str:
    items = [item for item in response["output"] if item["type"] == "message"]
    return "".join(part.get("text", "") for item in items for part in item["content"])


def _embeddings(got: Got, said: Any) -> None:
    got.vectors, got.model = len(said["data"]), said["model"]


def _embedded(answer: pb.EmbedResponse) -> Got:
    assert all(vector.values for vector in answer.embeddings)
    return Got(vectors=len(answer.embeddings), model=answer.model)


def _told(events: Sequence[pb.GenerateResponse]) -> Got:
    got = Got()
    kinds = [event.WhichOneof("event") for event in events]
    assert kinds[0] == "started"
    assert kinds[-2] == "usage"
    for event, kind in zip(events, kinds, strict=True):
        if kind == "started":
            assert event.started.restarted is bool(got.texts)
            got.texts.append("")
            got.model = event.started.model
        elif kind == "delta":
            got.texts[-1] += event.delta.text
    if kinds[-1] == "error":
        got.reason = events[-1].error.reason
    else:
        assert kinds[-1] == "done"
        assert events[-1].done.finish_reason
    return got

"""One call of a route by each surface, and what its caller gets."""

from __future__ import annotations

from collections.abc import Sequence
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
    TIMEOUT,
    UNAVAILABLE,
    UNKNOWN_MODEL,
    Surface,
)
from tests.faults.world import PATIENCE_S, World

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


async def ask(world: World, surface: Surface, route: str) -> Got:
    """Calls the route and reads what comes to its end."""
    match surface:
        case Surface.CHAT | Surface.CHAT_STREAM:
            body = {"model": route, "messages": MESSAGES, "stream": surface.streamed}
            return await _openai(world.openai.ChatCompletions, world, body, _chat)
        case Surface.RESPONSES | Surface.RESPONSES_STREAM:
            body = {"model": route, "input": PROMPT, "stream": surface.streamed}
            return await _openai(world.openai.Responses, world, body, _responses)
        case Surface.EMBEDDINGS:
            return await _openai(world.openai.Embeddings, world, {"model": route, "input": PROMPT}, _embeddings)
        case Surface.EMBED:
            return await _embed(world, route)
        case Surface.GENERATE:
            return await _generate(world, route)


async def _openai(method: Any, world: World, body: dict[str, Any], read: Any) -> Got:
    """Calls a method of OpenAI's; its status stands in initial metadata, and everything else in what it streams."""
    request = httpbody_pb2.HttpBody(content_type="application/json", data=orjson.dumps(body))
    call = method(request, metadata=world.metadata, timeout=PATIENCE_S)
    status = int(dict(await call.initial_metadata() or ()).get(STATUS_KEY, "200"))
    got = Got(status=status)
    raw, kind = b"", ""
    async for part in call:
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


async def _embed(world: World, route: str) -> Got:
    request = pb.EmbedRequest(model=route, inputs=[PROMPT])
    try:
        answer = await world.inference.Embed(request, metadata=world.metadata, timeout=PATIENCE_S)
    except grpc.aio.AioRpcError as error:
        return Got(error_of(error).reason, status=0)
    assert all(vector.values for vector in answer.embeddings)
    return Got(vectors=len(answer.embeddings), model=answer.model)


async def _generate(world: World, route: str) -> Got:
    message = pb.Message(role=pb.MESSAGE_ROLE_USER, content=PROMPT)
    call = world.inference.Generate(
        pb.GenerateRequest(model=route, messages=[message]), metadata=world.metadata, timeout=PATIENCE_S
    )
    try:
        return _told([event async for event in call])
    except grpc.aio.AioRpcError as error:
        return Got(error_of(error).reason, status=0)


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

"""Calls, and a provider that answers when it is told to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any, cast

import orjson
from promptmesh.inference.v1 import receipt_pb2 as pb

from services.inference.cache.answers import AnswerCache
from services.inference.cache.flights import Produce
from services.inference.cache.ticket import Ticket
from services.inference.engine.call import AnswerInfo, AttemptRecord, CacheControl, ModelCall
from services.inference.providers.base import Part, Provider, TokenUsage
from services.inference.routing.route import CachePolicy, Route, Target
from services.mesh.call import Caller, CallerKind
from services.mesh.errors import MeshError

WAIT_S = 20.0
POLICY = CachePolicy(ttl_s=60.0, entry_bytes_max=64 * 1024)
DONE = b"data: [DONE]\n\n"


class _Named:
    name = "mock"


TARGET = Target("house", cast(Provider, _Named()), "mock-small", 8192, 1024, None)


def model_call(
    prompt: str = "Say hello.",
    *,
    org_id: str = "org-1",
    service: str = "",
    streamed: bool = True,
    version: int = 1,
    route: str = "house",
    surface: int = pb.SURFACE_CHAT_COMPLETIONS,
    cache: CacheControl | None = None,
    body: Mapping[str, Any] | None = None,
    **options: Any,
) -> ModelCall:
    return ModelCall(
        surface=surface,
        caller=Caller(CallerKind.API_KEY, org_id=org_id, service=service),
        request_id="request",
        record_id="record",
        route=Route(route, (TARGET,), version, cache=POLICY),
        body={"model": "house", "messages": [{"role": "user", "content": prompt}]} if body is None else body,
        streamed=streamed,
        cache=cache or CacheControl(),
        **options,
    )


def stream_parts(tokens: int = 5, text: str = "tok") -> list[Part]:
    parts = []
    for number in range(tokens):
        chunk = {"id": "chatcmpl-1", "created": 7, "choices": [{"index": 0, "delta": {"content": f"{text}{number} "}}]}
        parts.append(Part(b"data: " + orjson.dumps(chunk) + b"\n\n", [chunk]))
    parts.append(Part(DONE, []))
    return parts


class Upstream:
    """What `produce` calls. `gate`: is waited for before each part but the first `free`."""

    def __init__(
        self,
        parts: list[Part] | None = None,
        *,
        finish: str = "stop",
        error: Exception | None = None,
        free: int | None = None,
        restart_at: int | None = None,
        pause: bool = False,
    ) -> None:
        self.parts = stream_parts() if parts is None else parts
        self.finish, self.error, self.free, self.restart_at = finish, error, free, restart_at
        self.pause = pause  # lets others run before each part
        self.gate = asyncio.Event()
        self.calls = self.whole = self.aborted = self.given = 0

    def let(self, parts: int) -> None:
        """Lets it go on up to `parts`."""
        self.free = parts
        self.gate.set()
        self.gate.clear()

    @property
    def data(self) -> bytes:
        return b"".join(part.data for part in self.parts)

    @property
    def produce(self) -> Produce:
        return self._answer

    async def _answer(self, info: AnswerInfo) -> AsyncGenerator[Part, None]:
        self.calls += 1
        over = False
        try:
            info.target = TARGET
            info.attempts.append(AttemptRecord(TARGET, 0.0, info.record))
            for number, part in enumerate(self.parts):
                if self.free is not None and number >= self.free:
                    await self.gate.wait()
                if self.pause:
                    await asyncio.sleep(0)
                if number == self.restart_at:
                    info.restarted = True
                self.given += 1
                yield part
            if self.free is not None:
                await self.gate.wait()
            if self.error is not None:
                raise self.error
            if self.finish:
                info.record.finish_reasons[0] = self.finish
            info.record.usage = TokenUsage(3, 5)
            over = True
            self.whole += 1
        finally:
            if not over:
                self.aborted += 1


def body_upstream(data: bytes = b'{"id":"chatcmpl-1"}', **options: Any) -> Upstream:
    return Upstream([Part(data, [])], **options)


async def read(ticket: Ticket) -> bytes:
    async with asyncio.timeout(WAIT_S), aclosing(ticket.parts) as parts:
        return b"".join([part.data async for part in parts])


async def until(condition: Any, what: str = "it") -> None:
    """Lets others run until the condition holds."""
    async with asyncio.timeout(WAIT_S):
        while not condition():
            await asyncio.sleep(0.001)


BYPASS, MISS, HIT = pb.CACHE_DECISION_BYPASS, pb.CACHE_DECISION_MISS, pb.CACHE_DECISION_HIT
JOINED, REFRESH = pb.CACHE_DECISION_JOINED, pb.CACHE_DECISION_REFRESH
BROKEN = MeshError("PROVIDER_ANSWER_BROKEN", "It broke.", metadata={"provider": "mock"}, retry_after_s=2.0)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


async def ask(cache: AnswerCache, upstream: Upstream, call: ModelCall | None = None) -> tuple[int, bytes]:
    ticket = await cache.open(call or model_call(), POLICY, upstream.produce)
    return ticket.decision, await read(ticket)

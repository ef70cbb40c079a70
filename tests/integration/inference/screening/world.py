"""The engine with a provider and a moderation service, all on real sockets."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from promptmesh.inference.v1 import receipt_pb2
from promptmesh.moderation.v1 import moderation_pb2 as pb
from promptmesh.moderation.v1 import moderation_pb2_grpc as pb_grpc

from services.inference.catalog import Offers
from services.inference.config import parse
from services.inference.engine.call import ModelCall
from services.inference.engine.parts import EngineParts
from services.inference.ledger.settings import LedgerOptions
from services.inference.providers.http import Client, Timeouts
from services.inference.screening.options import ScreeningOptions
from services.mesh.access.service_tokens import ServiceTokens
from services.mesh.call import Caller, CallerKind
from services.mesh.client import channel
from services.mesh.database import Database
from services.mesh.errors import MeshError
from services.mesh.ids import uuid7
from services.mesh.redis import Redis
from tests.integration.inference.ledger.world import until_stored
from tests.integration.inference.moderation import ToyModeration
from tests.integration.inference.running_parts import running_parts
from tests.support.provider import MisbehavingProvider
from tests.unit.inference.screening.streams import FORBIDDEN

BUDGET_NANOS = 10**9
WAIT_MS = 300
MODELS = """
providers:
  - {{name: mock, kind: openai, base_url: "{base_url}"}}
models:
  - name: plain
    provider: mock
    upstream_model: mock-small
    max_output_tokens: 1000
    price: {{input_per_million_usd: 1.5, output_per_million_usd: 2}}
    on_leave: drain
  - {{name: vectors, provider: mock, upstream_model: mock-vectors, embeds: true, price: {{input_per_million_usd: 1}}}}
defaults: {{moderation: {{input: true, output: true, mask: true, restore: true}}}}
routes:
  - {{name: guarded, targets: [{{model: plain}}]}}
  - {{name: kept, targets: [{{model: plain}}], cache: {{ttl_s: 60}}}}
  - {{name: masked, targets: [{{model: plain}}], moderation: {{mask: true}}}}
  - {{name: open, targets: [{{model: plain}}], moderation: {{}}}}
limits:
  org: {{usd_per_day: 1}}
"""


class Guard(ToyModeration):
    """Screens both ways, and holds callers to the contract. `hangs`: answers when it is set."""

    def __init__(self) -> None:
        super().__init__()
        self.cleared: list[str] = []
        self.surfaces: set[int] = set()
        self.away_from: int | None = None  # number of a call
        self.calls = 0
        self.hangs: asyncio.Event | None = None

    async def BatchScreen(self, request: pb.BatchScreenRequest, context: Any) -> pb.BatchScreenResponse:
        self.calls += 1
        self.asked.set()
        if self.hangs is not None:
            await self.hangs.wait()
        if self.away or (self.away_from is not None and self.calls > self.away_from):
            await context.abort(grpc.StatusCode.UNAVAILABLE, "told to be away")
        texts = [one.text for one in request.requests]
        if not (
            0 < len(texts) <= 64 and all(0 < len(text) <= 32_768 for text in texts) and sum(map(len, texts)) <= 131_072
        ):
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "beyond the contract")
        self.surfaces |= {one.surface for one in request.requests}
        self.batches.append(texts)
        self.cleared += [text for text in texts if FORBIDDEN not in text]
        finding = pb.Finding(rule="test.rule", category=pb.CATEGORY_SPAM, verdict=pb.VERDICT_REJECT)
        return pb.BatchScreenResponse(
            screenings=[
                pb.Screening(verdict=pb.VERDICT_REJECT, findings=[finding], policy_version="1")
                if FORBIDDEN in text
                else pb.Screening(verdict=pb.VERDICT_ALLOW, policy_version="1")
                for text in texts
            ]
        )


@contextlib.asynccontextmanager
async def running_guard() -> AsyncIterator[Guard]:
    """On a free port, called as the mesh calls it: with retries and deadlines."""
    guard = Guard()
    server = grpc.aio.server()
    pb_grpc.add_ModerationServiceServicer_to_server(guard, server)
    guard.port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with channel(f"127.0.0.1:{guard.port}", ServiceTokens("inference", b"x" * 32)) as opened:
        guard.stub = pb_grpc.ModerationServiceStub(opened)
        yield guard
    await server.stop(None)


@dataclass
class World:
    """One process, and callers of it."""

    parts: EngineParts
    database: Database
    guard: Guard
    upstream: MisbehavingProvider
    org_id: str = field(default_factory=uuid7)

    def call(self, model: str, *contents: Any, streamed: bool = True, **body: Any) -> ModelCall:
        messages = [{"role": "user", "content": content} for content in contents]
        embeds = model == "vectors"
        route = self.parts._offers.catalog.route(model)
        size = sum(len(str(content)) for content in contents)
        return ModelCall(
            surface=receipt_pb2.SURFACE_EMBEDDINGS if embeds else receipt_pb2.SURFACE_CHAT_COMPLETIONS,
            caller=Caller(CallerKind.API_KEY, user_id=uuid7(), org_id=self.org_id, api_key_id=uuid7()),
            request_id=uuid7(),
            record_id=uuid7(),
            route=route,
            body={"input": list(contents)} if embeds else {"messages": messages, **body},
            streamed=streamed,
            output_cap=route.output_tokens_max,
            input_tokens_max=size + 4,
            input_tokens_estimate=size // 4 + 1,
            choices=body.get("n", 1),
        )

    async def ask(self, call: ModelCall, into: bytearray | None = None) -> bytes:
        """The answer's bytes; `into` holds those that came before an error too."""
        if not call.streamed:
            return await self.parts.engine.complete(call)
        got = bytearray() if into is None else into
        async with aclosing(self.parts.engine.stream(call)) as parts:
            async for part in parts:
                got += part.data
        return bytes(got)

    async def refused(self, call: ModelCall, into: bytearray | None = None) -> MeshError:
        try:
            await self.ask(call, into)
        except MeshError as error:
            return error
        raise AssertionError("the call was answered")

    async def record(self, call: ModelCall) -> Any:
        """Its row in the ledger."""
        return (await until_stored(self.database, [call.record_id]))[call.record_id]

    async def budget_nanos(self) -> int:
        """What is left of the organisation's day, as a call finds it."""
        call = self.call("open", "hi")
        await self.ask(call)
        assert call.remaining is not None
        left = call.remaining().budget_remaining_nanos
        assert left is not None
        assert call.cost_nanos is not None
        return left + call.cost_nanos


@contextlib.asynccontextmanager
async def running_world(
    client: Client, upstream: MisbehavingProvider, database: Database, redis: Redis, worker_dir: Path, **options: Any
) -> AsyncIterator[World]:
    """`options`: of EngineParts."""
    offers = Offers(client, {}, Timeouts(connect_s=2, first_token_s=5, idle_s=20, total_s=30), 0)
    offers.configure(3, parse(MODELS.format(base_url=upstream.base_url)))
    async with running_guard() as guard:
        options = {
            "moderation": guard.stub,
            "screening_options": ScreeningOptions(wait_ms=WAIT_MS, flush_ms=20),
            "ledger_options": LedgerOptions(sync_ms=1, flush_ms=5),
            **options,
        }
        async with running_parts(offers, database, redis, worker_dir, **options) as parts:
            yield World(parts, database, guard, upstream)

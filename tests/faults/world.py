"""The inference service whole, behind the kit's real pipeline and real gRPC, with providers that do as they are told.

PostgreSQL, Redis and the providers' sockets are real. One world serves the tests of a module: each applies a version of
the configuration of its own, with targets that nobody called before, so that no test inherits breakers or cooldowns.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import orjson
from promptmesh.inference.v1 import inference_pb2_grpc, openai_pb2_grpc

from services.inference.catalog import Offers
from services.inference.config.parts import Config
from services.inference.engine.parts import EngineParts
from services.inference.ledger.settings import LedgerOptions
from services.inference.openai.errors import render
from services.inference.openai.service import OpenAi
from services.inference.providers.http import HttpClient, Timeouts
from services.inference.typed.service import Inference
from services.mesh.access.control import AccessControl
from services.mesh.access.service_tokens import ServiceTokens
from services.mesh.database import Database
from services.mesh.paging import PageTokens
from services.mesh.redis import Redis
from services.mesh.server import Server
from tests.faults.keys import PEPPER, Keys
from tests.support.provider import MisbehavingProvider, ProviderServer, running_server

# Nothing that is meant to answer is ever too slow, however busy the machine is.
PATIENT = {"connect_s": 60.0, "first_token_s": 60.0, "idle_s": 60.0, "total_s": 60.0}
PATIENCE_S = 60.0
CALLS_MAX = 10_000
# Not run here: it forgives timeouts while the loop stands still, which on a busy machine it may at any time.
NOT_RUN = frozenset({"stalls of the loop"})
_versions = itertools.count(1)


def credential(secret: str) -> tuple[tuple[str, str], ...]:
    """Metadata that carries a key."""
    return (("authorization", f"Bearer {secret}"),)


@dataclass(slots=True)
class World:
    """See the module."""

    server: ProviderServer
    client: HttpClient
    offers: Offers
    parts: EngineParts
    database: Database
    identities: Keys
    channel: grpc.aio.Channel
    inference: Any = field(init=False)
    openai: Any = field(init=False)

    def __post_init__(self) -> None:
        self.inference = inference_pb2_grpc.InferenceServiceStub(self.channel)
        self.openai = openai_pb2_grpc.OpenAiServiceStub(self.channel)

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """Of a caller who may call models."""
        return credential(self.identities.standing)

    def provider(self, name: str) -> MisbehavingProvider:
        """One of the providers."""
        return self.server.provider(name)

    def entry(self, name: str, **timeouts: float) -> dict[str, Any]:
        """A provider's entry in a configuration."""
        return {
            "name": name,
            "kind": "openai",
            "base_url": self.provider(name).base_url,
            "timeouts": {**PATIENT, **timeouts},
        }

    def configure(self, config: Mapping[str, Any]) -> int:
        """The next version of the configuration; its number."""
        version = next(_versions)
        self.offers.configure(version, Config.model_validate(config))
        return version

    async def fresh(self) -> None:
        """Returns when no connection to a provider is kept for the next call: it will get a fresh one."""
        for connection in list(self.server.connections):
            connection.drop(reset=False)
        async with asyncio.timeout(PATIENCE_S):
            while self.client.pool.idle:
                await asyncio.sleep(0.001)

    async def receipts(self, routes: Sequence[str], each: int = 1) -> dict[str, list[dict[str, Any]]]:
        """What the ledger has in PostgreSQL of the calls of these routes, oldest first, once it is `each` of each."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                found: dict[str, list[dict[str, Any]]] = {route: [] for route in routes}
                async with self.database.connection() as conn:
                    for row in await conn.fetch("SELECT * FROM requests WHERE route = ANY($1) ORDER BY id", routes):
                        found[row["route"]].append({**row, "attempts": orjson.loads(row["attempts"])})
                if all(len(rows) >= each for rows in found.values()):
                    return found
                await asyncio.sleep(0.01)

    async def settled(self) -> None:
        """Returns when nothing is under way any more: upstream, in the books, in what limits count."""
        for provider in self.server.providers.values():
            await provider.until(lambda record: record.running == 0)
        async with asyncio.timeout(PATIENCE_S):
            while self._held():
                await asyncio.sleep(0.005)

    def _held(self) -> bool:
        busy = any(one.in_flight for one in self.parts.health.snapshot())
        return busy or bool(self.parts.engine._concurrency._running) or bool(self.parts.ledger._journal.open)


@contextlib.asynccontextmanager
async def running_world(database: Database, redis: Redis, worker_dir: Path) -> AsyncIterator[World]:
    """Everything on free ports."""
    client = HttpClient(connections_max=1024)
    offers = Offers(client, {}, Timeouts(**PATIENT), 0)
    identities = Keys()
    access = AccessControl(identities, ServiceTokens("inference", PEPPER), PEPPER)
    follower = asyncio.create_task(access.follower.run())
    server = Server(access)
    async with contextlib.AsyncExitStack() as stack:
        providers = await stack.enter_async_context(running_server())
        stack.push_async_callback(client.close)
        parts = await stack.enter_async_context(_running_parts(offers, database, redis, worker_dir))
        server.add(
            inference_pb2_grpc.add_InferenceServiceServicer_to_server,
            Inference(offers, parts.engine, PageTokens(PEPPER), access),
        )
        server.add(
            openai_pb2_grpc.add_OpenAiServiceServicer_to_server,
            OpenAi(offers, parts.engine, access),
            render_error=render,
        )
        port = await server.start()
        await access.ready.wait()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield World(providers, client, offers, parts, database, identities, channel)
        await server.stop()
    follower.cancel()
    await asyncio.wait([follower])
    await access.close()


@contextlib.asynccontextmanager
async def _running_parts(
    offers: Offers, database: Database, redis: Redis, worker_dir: Path
) -> AsyncIterator[EngineParts]:
    parts = EngineParts(
        offers,
        database,
        redis,
        redis,
        worker="inference-0",
        worker_dir=worker_dir,
        org_calls_max=CALLS_MAX,
        ledger_options=LedgerOptions(flush_ms=5),
    )
    await parts.start()
    tasks = [asyncio.ensure_future(run()) for name, run in parts.background if name not in NOT_RUN]
    try:
        yield parts
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        await parts.close()

"""A mesh with four replicas of inference, a provider in a process of its own, and the books of both.

The mesh is the real one: its supervisor, PostgreSQL, Redis, auth and edge. Of inference it runs one replica; the other
three are processes that the tests start in the same environment, each with a folder of its own beside that of the
first. (`workers=4` would start four of every service: 31 s of two cores, and nothing of it is asked here.)
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg
import grpc
import psutil
from promptmesh.inference.v1 import inference_pb2_grpc, limits_pb2, limits_pb2_grpc, receipt_pb2

from services.local.testing import LocalMesh, send_signal
from tests.integration.support.service_process import ServiceProcess, start_service
from tests.mesh.client import PATIENCE_S, Client, eventually
from tests.mesh.people import Person, log_in, register
from tests.support.provider import RemoteProviders

REPLICAS = 4
OUTPUT_TOKENS = 20  # of each answer: as many as the call reserves
OUTPUT_NANOS = 1_000  # a token: 1 dollar a million
CALL_NANOS = OUTPUT_TOKENS * OUTPUT_NANOS
#: Each has its provider of the same name, and its record.
MODELS = ("race", "killed", "holders", "streams", "gone", "screened")
CACHED_ROUTE = "kept"  # of `gone`
SCREENED_ROUTE = "screened-on-the-way"  # of `screened`
EDGE_WIDE_OPEN = {
    "rate_per_second": 10_000,
    "rate_burst": 20_000,
    "credential_rate_per_second": 10_000,
    "credential_rate_burst": 20_000,
}
_numbers = itertools.count(1)


def models_yaml(providers: RemoteProviders) -> str:
    """Only answers cost something, so that what a call reserves is what it costs."""
    lines = ["providers:"]
    for name in MODELS:
        lines += [f"  - name: {name}", "    kind: openai", f"    base_url: {providers.base_url(name)}"]
    lines += ["models:"]
    for name in MODELS:
        lines += [f"  - name: {name}", f"    provider: {name}", "    upstream_model: mock-small"]
        lines += ["    max_output_tokens: 1024"]
        lines += ['    price: {input_per_million_usd: "0", output_per_million_usd: "1"}']
    lines += ["routes:", f"  - name: {CACHED_ROUTE}", "    targets: [{model: gone}]", "    cache: {ttl_s: 300}"]
    lines += [f"  - name: {SCREENED_ROUTE}", "    targets: [{model: screened}]", "    moderation: {input: true}"]
    return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class Replica:
    """One process of inference. The first is asked through the edge, as the supervisor runs it."""

    name: str
    channel: grpc.aio.Channel

    @property
    def stub(self) -> Any:
        """Of its typed API."""
        return inference_pb2_grpc.InferenceServiceStub(self.channel)


@dataclass(frozen=True)
class Tenant:
    """An organisation with one person and their key."""

    person: Person
    org_id: str
    key: str

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """Of a gRPC call."""
        return (("authorization", f"Bearer {self.key}"),)


@dataclass(frozen=True)
class Books:
    """What the ledger holds of organisations: rows by outcome, sums of rows, and sums by hour, which must agree."""

    outcomes: Mapping[int, int]
    asked: int  # rows of calls for which a provider was asked
    input_tokens: int
    output_tokens: int
    nanos: int

    @property
    def ok(self) -> int:
        """Calls that were answered."""
        return self.outcomes.get(receipt_pb2.OUTCOME_OK, 0)

    @property
    def lost(self) -> int:
        """Calls whose process died."""
        return self.outcomes.get(receipt_pb2.OUTCOME_LOST, 0)

    @property
    def rows(self) -> int:
        """All."""
        return sum(self.outcomes.values())


@dataclass
class Gateway:
    """All of it."""

    mesh: LocalMesh
    client: Client
    admin: Person
    providers: RemoteProviders
    replicas: Sequence[Replica]
    redis_url: str
    database_url: str  # of the superuser

    async def tenant(self, limits: Mapping[str, int] | None = None) -> Tenant:
        """A new organisation; `limits` in the contract's JSON names, known to every replica when it returns."""
        person = await register(self.client, f"tenant-{next(_numbers)}")
        org_id = str((await person.ask("GET", "/api/v1/users/me")).ok()["orgId"])
        tenant = Tenant(person, org_id, await person.api_key("inference:invoke"))
        if limits:
            path = f"/api/v1/limits/LIMIT_KIND_ORG/{org_id}"
            (await self.admin.ask("PUT", path, {name: str(value) for name, value in limits.items()})).ok()
            for replica in range(len(self.replicas)):
                await eventually("a replica knows the limits", partial(self._knows, replica, tenant, len(limits)))
        return tenant

    async def remaining(self, tenant: Tenant, replica: int = 0) -> dict[str, int]:
        """Name of a limit → what is left of it, as a replica knows."""
        stub = limits_pb2_grpc.LimitServiceStub(self.replicas[replica].channel)
        said = await stub.GetRemaining(limits_pb2.GetRemainingRequest(), metadata=tenant.metadata, timeout=PATIENCE_S)
        return {one.limit: one.remaining for one in said.remaining}

    async def books(self, *tenants: Tenant) -> Books:
        """What PostgreSQL holds of them now. Rows and sums by hour are read in one snapshot, and must agree."""
        conn = await asyncpg.connect(self.database_url)
        try:
            async with conn.transaction(isolation="repeatable_read", readonly=True):
                orgs = [one.org_id for one in tenants]
                rows = await conn.fetch(_ROWS, orgs)
                hourly = await conn.fetchrow(_HOURLY, orgs)
        finally:
            await conn.close()
        books = Books(
            {row["outcome"]: row["calls"] for row in rows},
            *(sum(int(row[name]) for row in rows) for name in ("asked", "input_tokens", "output_tokens", "nanos")),
        )
        assert hourly is not None
        summed = tuple(int(value) for value in hourly)
        assert summed == (books.rows, books.input_tokens, books.output_tokens, books.nanos), (summed, books)
        return books

    async def record(self, name: str, requests_min: int = 0) -> dict[str, Any]:
        """The provider's own count, once nothing is under way there; `total`: of usage in whole answers."""
        record = await self.providers.record(name, requests_min=requests_min, running_max=0, calls=False)
        return record | {"total": record["reported_whole"][""]}

    async def agree(self, name: str, *tenants: Tenant) -> Books:
        """Waits until the ledger says what the provider counted: calls, tokens of both kinds, and their price."""

        async def same() -> Books | None:
            total = (await self.record(name))["total"]
            books = await self.books(*tenants)
            counted = (total["answers"], total["prompt_tokens"], total["completion_tokens"])
            said = (books.asked, books.input_tokens, books.output_tokens)
            seen.append(f"provider {counted}, ledger {said} and {books.nanos} nanos")
            return books if counted == said and books.nanos == counted[2] * OUTPUT_NANOS else None

        seen: list[str] = []
        try:
            found: Books = await eventually("the ledger says what the provider counted", same, timeout_s=PATIENCE_S / 2)
        except AssertionError as error:
            raise AssertionError(f"{error}: {seen[-1]}") from None
        return found

    async def whole(self, before: Mapping[str, int]) -> None:
        """Waits until these processes (name → id before) were started again and everything serves."""

        async def ready() -> bool:
            processes = await asyncio.to_thread(self.mesh.processes)
            again = all(processes[name]["pid"] != pid for name, pid in before.items())
            serving = all(one["ready"] for one in processes.values())
            return again and serving and (await self.client.ask("GET", "/healthz")).status == 200

        await eventually(f"{', '.join(before)} serve again", ready)

    @contextlib.asynccontextmanager
    async def without(self, *names: str) -> AsyncIterator[None]:
        """Kills processes, which stay dead until the end of the block; afterwards waits until the mesh is whole."""
        status = await asyncio.to_thread(self.mesh.status)
        victims = {one["name"]: one["pid"] for one in status["processes"] if one["name"] in names}
        assert set(victims) == set(names)
        children = [child for pid in victims.values() for child in psutil.Process(pid).children(recursive=True)]
        send_signal(status["pid"], signal.SIGSTOP)  # whoever would start them again
        try:
            for pid in victims.values():
                send_signal(pid, signal.SIGKILL)
            # PostgreSQL's backends serve on until they notice.
            await asyncio.to_thread(psutil.wait_procs, children, timeout=PATIENCE_S)
            yield
        finally:
            send_signal(status["pid"], signal.SIGCONT)
            await self.whole(victims)

    @contextlib.asynccontextmanager
    async def frozen(self, *names: str) -> AsyncIterator[None]:
        """Processes that stand still until the end of the block: they take connections, and answer nothing."""
        processes = await asyncio.to_thread(self.mesh.processes)
        for name in names:
            send_signal(processes[name]["pid"], signal.SIGSTOP)
        try:
            yield
        finally:
            for name in names:
                send_signal(processes[name]["pid"], signal.SIGCONT)

    async def _knows(self, replica: int, tenant: Tenant, limits: int) -> bool:
        return len(await self.remaining(tenant, replica)) == limits


@contextlib.asynccontextmanager
async def running_gateway(
    mesh: LocalMesh, client: Client, providers: RemoteProviders, folder: Path
) -> AsyncIterator[Gateway]:
    """Starts the other replicas beside the mesh, and ends them."""
    first = (await asyncio.to_thread(mesh.processes))["inference-0"]["pid"]
    environment = await asyncio.to_thread(psutil.Process(first).environ)
    database_url = await asyncio.to_thread(mesh.database_url)
    started = await asyncio.gather(
        *(asyncio.to_thread(_start, environment, mesh.data, folder, f"inference-{n}") for n in range(1, REPLICAS))
    )
    try:
        async with contextlib.AsyncExitStack() as channels:
            places = [f"127.0.0.1:{mesh.edge_port}", *(one.target for one in started)]
            replicas = [
                Replica(f"inference-{n}", await channels.enter_async_context(grpc.aio.insecure_channel(place)))
                for n, place in enumerate(places)
            ]
            admin = await log_in(client, mesh.admin_email, mesh.admin_password)
            yield Gateway(mesh, client, admin, providers, replicas, environment["PROMPTMESH_REDIS_URL"], database_url)
    finally:
        await asyncio.gather(*(asyncio.to_thread(one.stop) for one in started))


def _start(environment: Mapping[str, str], data: Path, folder: Path, worker: str) -> ServiceProcess:
    home = data / "workers" / worker
    home.mkdir(mode=0o700)
    own = {
        "PROMPTMESH_WORKER": worker,
        "PROMPTMESH_WORKER_DIR": str(home),
        "PROMPTMESH_LISTEN": "127.0.0.1:0",
        "PROMPTMESH_HTTP_LISTEN": "127.0.0.1:0",
        "PROMPTMESH_METRICS_LISTEN": "127.0.0.1:0",
    }
    return start_service("inference", dict(environment) | own, folder)


_ROWS = """
SELECT outcome, count(*) AS calls, count(*) FILTER (WHERE attempts <> '[]') AS asked,
       sum(input_tokens) AS input_tokens, sum(output_tokens) AS output_tokens, sum(cost_nanos) AS nanos
FROM inference.requests WHERE org_id = ANY($1::uuid[]) GROUP BY outcome
"""
_HOURLY = """
SELECT coalesce(sum(requests), 0), coalesce(sum(input_tokens), 0), coalesce(sum(output_tokens), 0),
       coalesce(sum(cost_nanos), 0)
FROM inference.usage_hourly WHERE org_id = ANY($1::uuid[])
"""

"""`python -m bench.soak [streams]`: streams that are cancelled at random moments, round after round, and what is left.

Callers leave as they do in life: an HTTP client closes its connection, a gRPC client cancels, a deadline passes; before
the first word, in the middle, or when all was said; through the edge and directly. After each round nothing may be
left: no request at the provider, no slot held, no record open in the journal. Memory is told after each round.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import psutil
from promptmesh.inference.v1 import inference_pb2, inference_pb2_grpc, limits_pb2, limits_pb2_grpc
from redis.asyncio import Redis

from bench.harness import EDGE_WIDE_OPEN, row
from services.inference.ledger import lines, segments
from services.local.testing import LocalMesh, local_mesh
from tests.support.provider import RemoteProviders, provider_process

MODEL = "streams"
STREAMS = 10_000
ROUND = 1_000
AT_ONCE = 100
SLOTS = 1_000  # a limit that holds nobody back, and counts who is there
TOKENS = 40
FIRST_TOKEN_S, PACE_S = 0.05, 0.01
#: Some leave before the first word, some after the last.
LEAVES_AFTER_MOST_S = FIRST_TOKEN_S + 1.3 * TOKENS * PACE_S
SETTLE_TIMEOUT_S = 30.0
POLL_S = 0.1
BEHAVIOUR = {"tokens": TOKENS, "latency_s": 0.0, "first_token_s": FIRST_TOKEN_S, "pace_s": PACE_S}
MIB = 1024 * 1024
_MESSAGE = "Count."
_CHAT = {"model": MODEL, "messages": [{"role": "user", "content": _MESSAGE}], "stream": True}
_REST = {"model": MODEL, "messages": [{"role": "MESSAGE_ROLE_USER", "content": _MESSAGE}]}
_GENERATE = inference_pb2.GenerateRequest(
    model=MODEL, messages=[inference_pb2.Message(role=inference_pb2.MESSAGE_ROLE_USER, content=_MESSAGE)]
)


@dataclass
class Left:
    """What is there after a round; all but memory must be nothing."""

    upstream: int  # requests under way at the provider
    slots: int  # of the limit on calls at once, as the process and Redis count them
    leased: int
    open_records: int  # in the journal
    rss_bytes: int = 0

    @property
    def nothing(self) -> bool:
        """Whether nothing is left."""
        return not (self.upstream or self.slots or self.leased or self.open_records)


@dataclass
class Soak:
    """Streams of one caller, whose organisation `org_id` has the limit of SLOTS calls at once."""

    url: str  # of the edge
    edge: grpc.aio.Channel
    direct: grpc.aio.Channel  # the process whose memory is watched
    process: psutil.Process
    worker_dir: Path
    redis: Redis
    providers: RemoteProviders
    org_id: str
    key: str
    http: aiohttp.ClientSession
    rng: random.Random
    ended: Counter[str] = field(default_factory=Counter)  # how streams ended, by how they were asked for

    @property
    def _ways(self) -> tuple[tuple[str, Callable[[float], Awaitable[str]]], ...]:
        return (
            ("chat, connection closed", lambda after_s: self._http("/v1/chat/completions", _CHAT, after_s)),
            ("generate over REST, connection closed", lambda after_s: self._http("/api/v1/generate", _REST, after_s)),
            ("generate, cancelled", lambda after_s: self._cancelled(self.edge, after_s)),
            ("generate, deadline", lambda after_s: self._deadline(self.edge, after_s)),
            ("generate, cancelled directly", lambda after_s: self._cancelled(self.direct, after_s)),
            ("generate, deadline directly", lambda after_s: self._deadline(self.direct, after_s)),
        )

    async def round(self, streams: int) -> None:
        """So many streams, AT_ONCE at a time, each left at a random moment."""
        numbers = iter(range(streams))
        ways = self._ways

        async def caller() -> None:
            for number in numbers:
                name, ask = ways[number % len(ways)]
                self.ended[f"{name}: {await ask(self.rng.uniform(0, LEAVES_AFTER_MOST_S))}"] += 1

        async with asyncio.TaskGroup() as tasks:
            for _ in range(min(AT_ONCE, streams)):
                tasks.create_task(caller())

    async def settled(self) -> Left:
        """What is left once nothing is, or when the time for that is over."""
        loop = asyncio.get_running_loop()
        end_time = loop.time() + SETTLE_TIMEOUT_S
        while True:
            left = await self.left()
            if left.nothing or loop.time() > end_time:
                left.rss_bytes = self.process.memory_info().rss
                return left
            await asyncio.sleep(POLL_S)

    async def left(self) -> Left:
        """What is there now."""
        record = await self.providers.record(MODEL, calls=False)
        said = await limits_pb2_grpc.LimitServiceStub(self.direct).GetRemaining(
            limits_pb2.GetRemainingRequest(), metadata=self._credential
        )
        slots = sum(one.limit_value - one.remaining for one in said.remaining if one.limit == "concurrent_requests")
        leased = await self._leased()
        return Left(record["running"], slots, leased, await asyncio.to_thread(open_records, self.worker_dir))

    async def _leased(self) -> int:
        """Slots that Redis has leased to processes."""
        fields: Any = await self.redis.hgetall(f"limits:{{{self.org_id}}}:3:{self.org_id}:c")
        # A process's field is "<generation> <settled> <leased> …".
        return sum(int(value.split()[2]) for value in fields.values() if value.count(b" ") == 5)

    @property
    def _credential(self) -> tuple[tuple[str, str], ...]:
        return (("authorization", f"Bearer {self.key}"),)

    async def _http(self, path: str, body: dict[str, Any], after_s: float) -> str:
        headers = {"authorization": f"Bearer {self.key}"}
        try:
            async with asyncio.timeout(after_s):
                async with self.http.post(self.url + path, json=body, headers=headers) as answer:
                    if answer.status != 200:
                        return str(answer.status)
                    async for _ in answer.content.iter_any():
                        pass
        except TimeoutError:
            return "left"
        return "whole"

    def _generate(self, channel: grpc.aio.Channel, timeout_s: float | None) -> Any:
        stub = inference_pb2_grpc.InferenceServiceStub(channel)
        return stub.Generate(_GENERATE, metadata=self._credential, timeout=timeout_s)

    async def _cancelled(self, channel: grpc.aio.Channel, after_s: float) -> str:
        stream = self._generate(channel, None)
        reading = asyncio.create_task(_to_its_end(stream))
        timer = asyncio.get_running_loop().call_later(after_s, stream.cancel)
        try:
            await asyncio.wait([reading])
        finally:
            timer.cancel()
            stream.cancel()
        if reading.cancelled():
            return "left"
        reading.result()
        return "whole"

    async def _deadline(self, channel: grpc.aio.Channel, after_s: float) -> str:
        try:
            async for _ in self._generate(channel, after_s):
                pass
        except grpc.aio.AioRpcError as error:
            return "left" if error.code() == grpc.StatusCode.DEADLINE_EXCEEDED else error.code().name
        return "whole"


async def _to_its_end(stream: Any) -> None:
    async for _ in stream:
        pass


def open_records(worker_dir: Path) -> int:
    """Calls of which the journals of a worker say that they began, and not that they ended."""
    begun: set[str] = set()
    for folder in (worker_dir / "ledger").iterdir():
        for _, path in segments.found(folder) if folder.is_dir() else ():
            with contextlib.suppress(FileNotFoundError):  # all of it is stored
                for fields, _ in lines.read_lines(path):
                    if fields is not None and fields[0] == "b":
                        begun.add(fields[1])
                    elif fields is not None and fields[0] in ("f", "r", "e"):
                        begun.discard(fields[1])
    return len(begun)


def models_yaml(base_url: str) -> str:
    """The model of the streams."""
    return f"""
providers:
  - name: {MODEL}
    kind: openai
    base_url: {base_url}
models:
  - name: {MODEL}
    provider: {MODEL}
    upstream_model: mock-small
    max_output_tokens: 256
    price: {{input_per_million_usd: "0", output_per_million_usd: "1"}}
"""


@contextlib.asynccontextmanager
async def running_soak(
    mesh: LocalMesh, providers: RemoteProviders, org_id: str, key: str, seed: int = 1
) -> AsyncIterator[Soak]:
    """Against the process `inference-0` of a mesh, whose model MODEL is of the provider of that name."""
    process = (await asyncio.to_thread(mesh.processes))["inference-0"]
    watched = psutil.Process(process["pid"])
    redis = Redis.from_url(watched.environ()["PROMPTMESH_REDIS_URL"])
    connector = aiohttp.TCPConnector(limit=0)
    await providers.set_default(MODEL, **BEHAVIOUR)
    async with (
        grpc.aio.insecure_channel(f"127.0.0.1:{mesh.edge_port}") as edge,
        grpc.aio.insecure_channel(f"127.0.0.1:{process['port']}") as direct,
        aiohttp.ClientSession(connector=connector) as http,
        redis,
    ):
        yield Soak(
            mesh.url,
            edge,
            direct,
            watched,
            mesh.data / "workers" / "inference-0",
            redis,
            providers,
            org_id,
            key,
            http,
            random.Random(seed),
        )


async def _main(streams: int) -> None:
    async with provider_process(keep=0) as providers:
        with local_mesh(models_yaml=models_yaml(providers.base_url(MODEL)), edge=EDGE_WIDE_OPEN) as mesh:
            _, token = mesh.register("soak")
            org_id = mesh.call("GET", "/api/v1/users/me", token=token).body["orgId"]
            key = mesh.api_key(token, "inference:invoke")
            path = f"/api/v1/limits/LIMIT_KIND_ORG/{org_id}"
            mesh.call("PUT", path, {"concurrentRequests": str(SLOTS)}, token=mesh.admin_token())
            async with running_soak(mesh, providers, org_id, key) as soak:
                await _rounds(soak, streams)


async def _rounds(soak: Soak, streams: int) -> None:
    row("before", f"{soak.process.memory_info().rss / MIB:.1f} MiB")
    for done in range(ROUND, streams + 1, ROUND):
        await soak.round(ROUND)
        left = await soak.settled()
        row(f"after {done:,} streams", f"{left.rss_bytes / MIB:.1f} MiB", "nothing left" if left.nothing else str(left))
    for how, count in sorted(soak.ended.items()):
        row(how, f"{count:,}")
    record = await soak.providers.record(MODEL, calls=False)
    row("requests that the provider saw", f"{record['requests']:,}", f"{record['aborted']:,} aborted")


if __name__ == "__main__":
    asyncio.run(_main(int(sys.argv[1]) if len(sys.argv) > 1 else STREAMS))

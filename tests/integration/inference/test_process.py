"""The whole process: `python -m services.inference` consumes events, writes examples, and survives being killed between
any two durable steps."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from promptmesh.events.v1.events_pb2 import Envelope
from promptmesh.events.v1.events_pb2_grpc import add_EventSourceServiceServicer_to_server
from promptmesh.inference.v1.events_pb2 import EXAMPLE_OUTCOME_READY, ExampleFinished

from services.inference.examples.budget import AFTER_RESERVE
from services.inference.examples.finisher import AFTER_FINISH, BEFORE_FINISH
from services.inference.examples.requests import AFTER_ACCEPT
from services.inference.examples.table import AFTER_CLAIM
from services.local.database_urls import with_user
from services.mesh.database import Database
from services.mesh.database.provision import role_of
from services.mesh.database.setup import set_up
from services.mesh.events import EventSource, NewEvent, Outbox, Relay, connect_streams
from services.mesh.failpoints import declared
from services.mesh.ids import uuid7
from tests.integration.inference.conftest import SECRET
from tests.integration.inference.examples_world import ORG, models, requested, until
from tests.integration.inference.moderation import ToyModeration
from tests.support.provider import MisbehavingProvider

ROOT = Path(__file__).parents[3]
OURS = [AFTER_ACCEPT.name, AFTER_CLAIM.name, AFTER_RESERVE.name, BEFORE_FINISH.name, AFTER_FINISH.name]
KEY = base64.urlsafe_b64encode(b"k" * 32).decode()


@dataclass
class Machine:
    """A producer of events, and what a process of inference needs in its environment."""

    prompts: Database
    inference: Database
    outbox: Outbox
    environment: dict[str, str]
    failpoints: Path
    models_file: Path

    def arm(self, *names: str) -> None:
        for name in names:
            (self.failpoints / f"inference:{name}").touch()

    @contextlib.asynccontextmanager
    async def process(self) -> AsyncIterator[asyncio.subprocess.Process]:
        with (self.failpoints.parent / "log").open("ab") as log:
            running = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "services.inference", env=self.environment, cwd=ROOT, stderr=log
            )
        try:
            yield running
        finally:
            with contextlib.suppress(ProcessLookupError):
                running.terminate()
            await running.wait()

    async def publish(self, post_id: str) -> None:
        async with self.prompts.transaction() as conn:
            await self.outbox.append(conn, [NewEvent(ORG, post_id, 1, requested(post_id))])

    async def finished(self) -> list[ExampleFinished]:
        async with self.inference.connection() as conn:
            rows = await conn.fetch("SELECT envelope FROM outbox ORDER BY id")
        return [ExampleFinished.FromString(Envelope.FromString(row[0]).payload) for row in rows]

    async def until_finished(self, count: int) -> None:
        async def reached() -> bool:
            return len(await self.finished()) >= count

        await until(reached, 40)


@pytest.fixture
async def machine(
    database_url: str,
    redis_url: str,
    database: Database,
    inference_url: str,
    moderation: ToyModeration,
    upstream: MisbehavingProvider,
    tmp_path: Path,
) -> AsyncIterator[Machine]:
    prompts_url = with_user(database_url, role_of("prompts"), SECRET)
    await set_up({"prompts": prompts_url}, database_url, ("prompts",))
    prompts = await Database.open(prompts_url, schema="prompts")
    streams = connect_streams(redis_url)
    outbox = Outbox("prompts", 4)
    relay = asyncio.create_task(Relay(prompts, outbox, streams).run())
    replayer = grpc.aio.server()
    add_EventSourceServiceServicer_to_server(EventSource(prompts), replayer)
    replay_port = replayer.add_insecure_port("127.0.0.1:0")
    await replayer.start()
    failpoints = tmp_path / "failpoints"
    failpoints.mkdir()
    models_file = tmp_path / "models.yaml"
    models_file.write_text(models(upstream.base_url, price="1", cap="100"))
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "gen")]),
        "PROMPTMESH_WORKER": "inference-0",
        "PROMPTMESH_DATABASE_URL": inference_url,
        "PROMPTMESH_REDIS_URL": redis_url,
        "PROMPTMESH_MESH_SECRET": KEY,
        "PROMPTMESH_KEY_PEPPER": KEY,
        "PROMPTMESH_AUTH_TARGET": "127.0.0.1:1",
        "PROMPTMESH_PROMPTS_TARGET": f"127.0.0.1:{replay_port}",
        "PROMPTMESH_MODERATION_TARGET": f"127.0.0.1:{moderation.port}",
        "PROMPTMESH_FAILPOINTS_DIR": str(failpoints),
        "PROMPTMESH_MODELS_FILE": str(models_file),
        "PROMPTMESH_EXAMPLE_SWEEP_S": "0.1",
        "PROMPTMESH_DRAIN_S": "0.2",
    }
    yield Machine(prompts, database, outbox, environment, failpoints, models_file)
    relay.cancel()
    await asyncio.wait([relay])
    await replayer.stop(None)
    await streams.aclose()
    await prompts.close()


async def test_every_failpoint_of_ours_is_tested_here() -> None:
    mine = {one.name for one in declared() if one.module.startswith("services.inference.examples.")}
    assert mine == set(OURS)


@pytest.mark.parametrize("failpoint", OURS)
async def test_killed_between_two_durable_steps(
    machine: Machine, upstream: MisbehavingProvider, failpoint: str
) -> None:
    # Rows are claimed only where they were left behind, or did not fit in.
    armed = [failpoint] if failpoint != AFTER_CLAIM.name else [AFTER_ACCEPT.name, AFTER_CLAIM.name]
    machine.arm(*armed)
    posts = [uuid7() for _ in range(5)]
    for post in posts:
        await machine.publish(post)
    for _ in armed:
        async with machine.process() as process:
            assert await process.wait() == -signal.SIGKILL
    assert not [name for name in armed if not (machine.failpoints / f"inference:{name}.hit").exists()]
    async with machine.process():
        await machine.until_finished(5)
    finished = await machine.finished()
    assert sorted(one.post_id for one in finished) == sorted(posts)
    assert {one.outcome for one in finished} == {EXAMPLE_OUTCOME_READY}


async def test_it_drains_and_ends_well(machine: Machine) -> None:
    async with machine.process() as process:
        await machine.publish(uuid7())
        await machine.until_finished(1)
        process.terminate()
        assert await process.wait() == 0
    async with machine.inference.connection() as conn:
        assert await conn.fetchval("SELECT count(*) FROM example_workers") == 0


async def test_a_wrong_models_file_ends_it_with_78_and_every_fault(machine: Machine) -> None:
    machine.models_file.write_text("models:\n  - {name: 'a b', provider: x}\n  - 5\n")
    async with machine.process() as process:
        assert await process.wait() == 78
    said = (machine.failpoints.parent / "log").read_text()
    assert "models[0].name (line 2)" in said
    assert "models[1] (line 3)" in said

"""Processes killed with SIGKILL: each call is accounted for once; one that had not ended, at its reservation."""

from __future__ import annotations

import asyncio
import random
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from promptmesh.inference.v1 import receipt_pb2 as pb

from services.inference.ledger.record import CallRecord
from services.mesh.database import Database
from services.mesh.errors import MeshError
from tests.integration.inference.ledger.world import rows, running, sums, until_stored

ROOT = Path(__file__).resolve().parents[4]
LOST = {"requests": 1, "failures": 1, "input_tokens": 100, "output_tokens": 50, "cost_nanos": 900}
ENDED = {"requests": 1, "failures": 0, "input_tokens": 90, "output_tokens": 20, "cost_nanos": 400}


class Victim:
    """A process with a ledger (worker.py)."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.begun: list[str] = []
        self.finished: list[str] = []

    async def read(self, lines: int | None = None) -> None:
        """Reads what it says: so many lines, or until it waits or ends."""
        assert self.process.stdout is not None
        while lines is None or lines > 0:
            line = (await self.process.stdout.readline()).decode()
            if not line.endswith("\n") or line == "waiting\n":
                return
            kind, record_id = line.split()
            (self.begun if kind == "b" else self.finished).append(record_id)
            if lines is not None:
                lines -= 1

    async def kill(self) -> None:
        """As sudden as it gets; what it had said by then is read."""
        self.process.send_signal(signal.SIGKILL)
        await self.read()
        await self.process.wait()


Start = Callable[..., Awaitable[Victim]]


@pytest.fixture
async def start(inference_url: str, tmp_path: Path) -> Any:
    victims: list[Victim] = []
    (tmp_path / "failpoints").mkdir()

    async def begin(mode: str, worker: str = "inference-0") -> Victim:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.integration.inference.ledger.worker", inference_url),
            *(str(tmp_path / worker), mode, str(tmp_path / "failpoints")),
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
        )
        victims.append(Victim(process))
        return victims[-1]

    yield begin
    for victim in victims:
        if victim.process.returncode is None:
            await victim.kill()


async def check(database: Database, victims: Sequence[Victim]) -> None:
    """Every call once: those that ended as they ended, the others at their reservation."""
    found = await rows(database)
    begun = {record_id for one in victims for record_id in one.begun}
    finished = {record_id for one in victims for record_id in one.finished}
    # It is killed between a line in the journal and the word about it at most once a life.
    assert len(found.keys() - begun) <= len(victims)
    assert begun <= found.keys()
    for record_id in finished:
        assert found[record_id]["outcome"] == pb.OUTCOME_OK
        assert found[record_id]["cost_nanos"] == 400
    unsaid = 0
    for row in found.values():
        if row["outcome"] == pb.OUTCOME_LOST:
            assert (row["input_tokens"], row["output_tokens"], row["cost_nanos"]) == (100, 50, 900)
            assert row["basis"] == pb.BASIS_ESTIMATED
        elif row["id"] not in finished:
            unsaid += 1
    assert unsaid <= len(victims)
    lost = sum(row["outcome"] == pb.OUTCOME_LOST for row in found.values())
    expected = {name: LOST[name] * lost + ENDED[name] * (len(found) - lost) for name in LOST}
    for table in ("usage_hourly", "usage_tags_hourly"):
        summed = await sums(database, table)
        assert {name: summed[name] for name in expected} == expected
        assert summed["estimated_requests"] == lost


def folders(tmp_path: Path) -> list[Path]:
    return list(tmp_path.glob("*/ledger/*/lock"))


async def test_killed_between_begin_and_finish_a_call_is_lost_at_its_reservation(
    start: Start, database: Database, tmp_path: Path
) -> None:
    victim = await start("begin")
    await victim.read()
    await victim.kill()
    told: list[CallRecord] = []

    async def on_recovered(_incarnation: str, records: Sequence[CallRecord]) -> None:
        told.extend(records)

    async with running(database, tmp_path / "inference-0", on_recovered=on_recovered):
        assert len(await rows(database)) == 10
    await check(database, [victim])
    assert {one.record_id for one in told} == set(victim.begun)
    assert told[0].limit_subjects == [f"org:{told[0].org_id}", f"key:{told[0].api_key_id}"]
    assert not folders(tmp_path)


async def test_killed_between_finish_and_flush_a_call_is_exact(
    start: Start, database: Database, tmp_path: Path
) -> None:
    victim = await start("finish")
    await victim.read()
    await victim.kill()
    assert not await rows(database)
    async with running(database, tmp_path / "inference-0"):
        pass
    assert len(victim.finished) == 10
    await check(database, [victim])
    assert not folders(tmp_path)


@pytest.mark.parametrize("place", ["ledger.after_begin", "ledger.after_finish", "ledger.after_flush"])
async def test_killed_at_each_place_nothing_is_twice_and_nothing_missing(
    start: Start, database: Database, tmp_path: Path, place: str
) -> None:
    victims = []
    for _ in range(2):
        victim = await start("storm")
        await victim.read(200)
        armed = tmp_path / "failpoints" / f"inference:{place}"
        armed.touch()
        await victim.read()
        assert await victim.process.wait() == -signal.SIGKILL
        victims.append(victim)
    async with running(database, tmp_path / "inference-0"):
        pass
    await check(database, victims)
    assert not folders(tmp_path)


async def test_killed_before_a_journal_is_removed_it_is_accounted_for_once(
    start: Start, database: Database, tmp_path: Path
) -> None:
    first = await start("storm")
    await first.read(100)
    await first.kill()
    (tmp_path / "failpoints" / "inference:ledger.before_removal").touch()
    second = await start("storm")
    await second.read()
    assert await second.process.wait() == -signal.SIGKILL
    async with running(database, tmp_path / "inference-0"):
        pass
    await check(database, [first, second])
    assert not folders(tmp_path)


async def test_killed_again_and_again_at_any_moment(start: Start, database: Database, tmp_path: Path) -> None:
    draw = random.Random(7)
    victims = []
    for _ in range(5):
        victim = await start("storm")
        await victim.read(draw.randrange(50, 3000))
        await victim.kill()
        victims.append(victim)
    async with running(database, tmp_path / "inference-0"):
        pass
    await check(database, victims)
    assert not folders(tmp_path)


async def test_the_journal_of_a_worker_that_never_comes_back_is_adopted_by_another(
    start: Start, database: Database, tmp_path: Path
) -> None:
    victim, alive = await start("finish", "inference-1"), await start("begin", "inference-2")
    await victim.read()
    await alive.read()
    await victim.kill()
    async with running(database, tmp_path / "inference-0", adopt_s=0.2):
        await until_stored(database, victim.begun)
        await check(database, [victim])
    # Of one that lives nothing is touched.
    assert len(folders(tmp_path)) == 1
    await alive.kill()


async def test_a_journal_stays_until_reservations_are_settled_too(
    start: Start, database: Database, tmp_path: Path
) -> None:
    victim = await start("begin")
    await victim.read()
    await victim.kill()
    (left,) = folders(tmp_path)
    told: list[str] = []

    async def on_recovered(_incarnation: str, records: Sequence[CallRecord]) -> None:
        told.extend(one.record_id for one in records)
        if len(told) == 10:
            raise MeshError("DEPENDENCY_UNAVAILABLE", "Redis is away.")

    async with running(database, tmp_path / "inference-0", on_recovered=on_recovered):
        async with asyncio.timeout(30):
            while len(told) < 20 or left.exists():  # it goes after the last was told of
                await asyncio.sleep(0.01)
    assert set(told) == set(victim.begun)
    await check(database, [victim])
    assert not folders(tmp_path)

"""Warnings of limits: each level once for its window, whoever sees it, with its event in the same transaction."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
from promptmesh.auth.v1 import plans_pb2
from promptmesh.events.v1.events_pb2 import Envelope
from promptmesh.inference.v1.events_pb2 import LimitWarning

from services.inference.limits import ORG, Limits
from services.inference.limits.plans import PlanLimits
from services.inference.limits.script import Script
from services.inference.limits.warnings import WarningWriter, Watermarks
from services.local.database_urls import with_user
from services.mesh import redis as mesh_redis
from services.mesh.database import Database
from services.mesh.database.provision import role_of
from services.mesh.database.setup import set_up
from services.mesh.errors import MeshError
from services.mesh.events import Outbox
from services.mesh.plans import Plans
from tests.integration.inference.limits.conftest import CALLER, OP_TIMEOUT_S, OPTIONS, Sums
from tests.integration.inference.limits.conftest import ORG as ORG_ID

SECRET = "secret-of-a-test"
CALLERS = 200
MIDNIGHT_MARGIN_S = 60


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    url = with_user(database_url, role_of("inference"), SECRET)
    await set_up({"inference": url}, database_url, ("inference",))
    opened = await Database.open(url, schema="inference")
    yield opened
    await opened.close()


async def warnings_of(database: Database) -> list[LimitWarning]:
    """The events in the log, decoded."""
    async with database.connection() as conn:
        rows = await conn.fetch("SELECT envelope FROM outbox ORDER BY id")
    return [LimitWarning.FromString(Envelope.FromString(bytes(row["envelope"])).payload) for row in rows]


def planned(**org: int) -> Plans:
    plans = Plans()
    plan = plans_pb2.Plan(name="small", org=plans_pb2.PlanLimits(**org))
    plans.apply(plans_pb2.Plans(version=1, plans=[plan], default_plan="small"))
    return plans


class Replica:
    """Limits under plans, and what it noticed."""

    def __init__(self, url: str, plans: Plans) -> None:
        self.redis = mesh_redis.open(url, OP_TIMEOUT_S)
        self.marks = Watermarks()
        self.limits = Limits(
            self.redis,
            Sums(),
            options=OPTIONS,
            script=Script(self.redis),
            plan_of=PlanLimits(plans).of,
            marks=self.marks,
        )
        plans.on_change(self.limits.replan)
        self._task = asyncio.create_task(self.limits.run())

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])
        await self.limits.close()
        await self.redis.aclose()


@pytest.fixture(autouse=True)
async def one_day() -> None:
    """No test here goes on beyond the midnight (UTC) at which Redis begins to count anew."""
    now = datetime.now(UTC)
    left_s = 86_400 - (now - now.replace(hour=0, minute=0, second=0, microsecond=0)).total_seconds()
    if left_s < MIDNIGHT_MARGIN_S:
        await asyncio.sleep(left_s + 1)


@pytest.fixture
async def replicas(redis_url: str) -> AsyncIterator[list[Replica]]:
    plans = planned(requests_per_day=50)
    made = [Replica(redis_url, plans) for _ in range(3)]
    yield made
    for one in made:
        await one.close()


async def test_of_many_callers_exactly_so_many_pass_and_each_level_is_told_once(
    replicas: list[Replica], database: Database
) -> None:
    passed = 0
    errors: list[MeshError] = []

    async def call(number: int) -> None:
        nonlocal passed
        while True:
            try:
                reservation = await replicas[number % 3].limits.reserve(CALLER, tokens=1, nanos=1)
            except MeshError as error:
                errors.append(error)
                if error.metadata["state"] == "spent":
                    return
                await asyncio.sleep(0.01)
                continue
            passed += 1
            reservation.settle(tokens=1, nanos=1)
            return

    await asyncio.gather(*map(call, range(CALLERS)))
    assert passed == 50
    assert {one.reason for one in errors} == {"LIMIT_REACHED"}
    assert all(one.retry_after_s and one.quota[0].subject == f"org:{ORG_ID}" for one in errors)

    writers = [WarningWriter(database, Outbox("inference", 2), one.marks) for one in replicas]
    async with asyncio.timeout(20):
        while not any(level.percent == 100 for one in replicas for level in one.marks.queue):
            await asyncio.sleep(0.01)
    await asyncio.gather(*(writer.write() for writer in writers))
    await replicas[0].limits.left(CALLER)  # the next look, of whoever is the first again
    for writer in writers:
        await writer.write()
    told = await warnings_of(database)
    assert len({one.percent for one in told}) == len(told)
    assert {one.percent for one in told} >= {100}
    for one in told:
        assert (one.kind, one.subject_id, one.org_id) == (ORG, ORG_ID, ORG_ID)
        assert (one.limit, one.limit_value) == ("requests_per_day", 50)
        assert one.used * 100 >= one.percent * 50
        assert one.end_time.seconds - one.begin_time.seconds == 86_400


async def test_both_levels_come_one_after_the_other_and_not_again(replicas: list[Replica], database: Database) -> None:
    replica, other, _ = replicas
    writers = [WarningWriter(database, Outbox("inference", 2), one.marks) for one in replicas]
    seen: list[int] = []
    for used in range(1, 51):
        (await replica.limits.reserve(CALLER, tokens=1, nanos=1)).settle(tokens=1, nanos=1)
        await replica.limits.left(CALLER)
        seen += [used] * len(replica.marks.queue)
        await writers[0].write()
    assert seen == [40, 50]
    await other.limits.left(CALLER)  # a replica that hears of it only now
    assert [one.percent for one in other.marks.queue] == [100]
    assert await writers[1].write() == 0
    assert not other.marks.queue
    assert [one.percent for one in await warnings_of(database)] == [80, 100]


async def test_with_postgresql_away_levels_wait(replicas: list[Replica], database: Database) -> None:
    replica = replicas[0]
    for _ in range(40):
        (await replica.limits.reserve(CALLER, tokens=1, nanos=1)).settle(tokens=1, nanos=1)
    await replica.limits.left(CALLER)

    class Away:
        def transaction(self) -> object:
            raise MeshError("DEPENDENCY_UNAVAILABLE", "The database is away; try again.", retry_after_s=1)

    away = WarningWriter(Away(), Outbox("inference", 2), replica.marks)  # type: ignore[arg-type]
    with pytest.raises(MeshError):
        await away.write()
    assert len(replica.marks.queue) == 1
    assert await WarningWriter(database, Outbox("inference", 2), replica.marks).write() == 1


async def test_a_plan_that_is_given_holds_for_the_next_call(redis_url: str) -> None:
    plans = Plans()

    def apply(version: int, most: int) -> None:
        plan = plans_pb2.Plan(name="small", org=plans_pb2.PlanLimits(requests_per_day=most))
        plans.apply(plans_pb2.Plans(version=version, plans=[plan], default_plan="small"))

    apply(1, 1)
    replica = Replica(redis_url, plans)
    try:
        (await replica.limits.reserve(CALLER, tokens=1, nanos=1)).settle(tokens=1, nanos=1)
        with pytest.raises(MeshError):
            await replica.limits.reserve(CALLER, tokens=1, nanos=1)
        apply(2, 2)
        (await replica.limits.reserve(CALLER, tokens=1, nanos=1)).settle(tokens=1, nanos=1)
        left = await replica.limits.left(CALLER)
        assert [(one.limit, one.limit_value, one.remaining) for one in left] == [("requests_per_day", 2, 0)]
    finally:
        await replica.close()

"""Posts a day: exactly as many as a plan allows, edits included, whoever calls at once; midnight is told by a clock."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from promptmesh.auth.v1 import plans_pb2
from promptmesh.prompts.v1 import posts_pb2

from services.mesh.call import Caller
from services.mesh.errors import MeshError, error_of
from services.mesh.ids import uuid7
from services.mesh.plans import Plans
from services.prompts.content import Content, Edit
from services.prompts.quotas import PostQuotas
from tests.integration.prompts.support import Bench, person
from tests.integration.prompts.world import World

CONTENT = Content("T", "B", ("a",))


class Watch:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.moment = datetime(2026, 2, 28, 23, 59, 30, tzinfo=UTC)

    def now(self) -> datetime:
        return self.moment

    def time(self) -> float:
        return self.moment.timestamp()

    def monotonic(self) -> float:
        return self.moment.timestamp()


def plans(user: int | None = None, org: int | None = None) -> Plans:
    plan = plans_pb2.Plan(name="free")
    if user is not None:
        plan.user.posts_per_day = user
    if org is not None:
        plan.org.posts_per_day = org
    known = Plans()
    known.apply(plans_pb2.Plans(version=1, plans=[plan, plans_pb2.Plan(name="unlimited")], default_plan="free"))
    return known


@pytest.fixture
def clock() -> Watch:
    return Watch()


async def post(bench: Bench, quotas: PostQuotas, caller: Caller, request_id: str = "") -> dict[str, str]:
    """Posts; what the headers say."""
    take = quotas.of(caller)
    await bench.store.create(caller, CONTENT, request_id, take)
    return {name.removeprefix("x-ratelimit-"): value for name, value in take.headers} if take else {}


async def refusal(call: Any) -> MeshError:
    with pytest.raises(MeshError) as caught:
        await call
    assert caught.value.reason == "LIMIT_REACHED"
    return caught.value


async def count(bench: Bench) -> int:
    async with bench.database.connection() as conn:
        return int(await conn.fetchval("SELECT count(*) FROM posts"))


async def test_it_counts_down_refuses_and_begins_anew_at_midnight(bench: Bench, clock: Watch) -> None:
    quotas, ann = PostQuotas(plans(user=2), clock=clock), person("Ann")
    assert await post(bench, quotas, ann) == {"limit-posts": "2", "remaining-posts": "1", "reset-posts": "30s"}
    assert (await post(bench, quotas, ann))["remaining-posts"] == "0"
    error = await refusal(post(bench, quotas, ann))
    assert error.retry_after_s == 30.0
    assert [one.subject for one in error.quota] == [f"user:{ann.user_id}"]
    assert error.metadata["limit"] == "posts_per_day"
    assert (await post(bench, quotas, person("Ben")))["remaining-posts"] == "1", "it is each person's own"
    clock.moment += timedelta(seconds=31)
    assert (await post(bench, quotas, ann))["remaining-posts"] == "1"
    assert await count(bench) == 4


async def test_the_organisation_has_a_limit_beside_its_people(bench: Bench, clock: Watch) -> None:
    quotas, ann = PostQuotas(plans(user=2, org=3), clock=clock), person("Ann")
    ben = replace(person("Ben"), org_id=ann.org_id)
    for caller in (ann, ann, ben):
        left = await post(bench, quotas, caller)
    assert (left["limit-posts"], left["remaining-posts"]) == ("3", "0")
    assert (await refusal(post(bench, quotas, ben))).quota[0].subject == f"org:{ann.org_id}"
    assert quotas.of(replace(ann, plan="unlimited")) is None
    assert PostQuotas(Plans()).of(ann) is None, "before plans were heard of nobody has a limit"


async def test_an_edit_counts_and_one_that_changes_nothing_does_not(bench: Bench, clock: Watch) -> None:
    quotas, ann = PostQuotas(plans(user=2), clock=clock), person("Ann")
    made = await bench.store.create(ann, CONTENT, "", quotas.of(ann))
    same = quotas.of(ann)
    await bench.store.update(ann, made.post_id, "", Edit(body="B"), same)
    assert same is not None
    assert not same.headers
    await bench.store.update(ann, made.post_id, "", Edit(body="C"), quotas.of(ann))
    await refusal(bench.store.update(ann, made.post_id, "", Edit(body="D"), quotas.of(ann)))
    row = await bench.store.get(ann, made.post_id)
    assert row is not None
    assert row["body"] == "C"


async def test_a_repeated_request_is_answered_though_nothing_is_left(bench: Bench, clock: Watch) -> None:
    quotas, ann, request_id = PostQuotas(plans(user=1), clock=clock), person("Ann"), uuid7()
    await post(bench, quotas, ann, request_id)
    await post(bench, quotas, ann, request_id)
    await refusal(post(bench, quotas, ann, uuid7()))
    assert await count(bench) == 1


async def test_of_many_at_once_exactly_so_many_pass(bench: Bench, clock: Watch) -> None:
    quotas, ann = PostQuotas(plans(user=40, org=25), clock=clock), person("Ann")
    callers = [replace(person(str(number)), org_id=ann.org_id) if number % 3 else ann for number in range(200)]
    results = await asyncio.gather(*(post(bench, quotas, one) for one in callers), return_exceptions=True)
    refused = [one for one in results if isinstance(one, BaseException)]
    assert all(isinstance(one, MeshError) and one.reason == "LIMIT_REACHED" for one in refused), refused[:3]
    assert (len(results) - len(refused), await count(bench)) == (25, 25)
    async with bench.database.connection() as conn:
        assert await conn.fetchval("SELECT posts FROM post_counts WHERE kind = 3") == 25


async def test_counts_of_days_that_are_over_go(bench: Bench, clock: Watch) -> None:
    quotas, ann = PostQuotas(plans(user=5), clock=clock), person("Ann")
    await post(bench, quotas, ann)
    clock.moment += timedelta(days=10)
    await post(bench, quotas, ann)
    purging = asyncio.create_task(quotas.purge(bench.database))
    async with asyncio.timeout(20):
        while True:
            async with bench.database.connection() as conn:
                if await conn.fetchval("SELECT count(*) FROM post_counts") == 1:
                    break
    purging.cancel()
    await asyncio.wait([purging])


async def test_the_service_says_what_is_left_and_refuses(world: World) -> None:
    world.mesh.plans.apply(
        plans_pb2.Plans(
            version=1,
            plans=[plans_pb2.Plan(name="free", user=plans_pb2.PlanLimits(posts_per_day=1))],
            default_plan="free",
        )
    )
    ann = world.auth.person("Ann")
    request = posts_pb2.CreatePostRequest(title="T", body="B")
    call = world.stub.CreatePost(request, metadata=ann.metadata)
    await call
    said = dict(await call.initial_metadata())
    assert (said["x-ratelimit-limit-posts"], said["x-ratelimit-remaining-posts"]) == ("1", "0")
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await world.stub.CreatePost(request, metadata=ann.metadata)
    error = error_of(refused.value)
    assert (error.reason, bool(error.retry_after_s), len(error.quota)) == ("LIMIT_REACHED", True, 1)

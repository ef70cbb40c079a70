"""Plans: applied as snapshots, given to organisations, told to services, in tokens and with keys."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import grpc
import pytest
from promptmesh.auth.v1 import auth_pb2
from promptmesh.auth.v1 import plans_pb2 as pb
from promptmesh.auth.v1.plans_pb2_grpc import PlanServiceStub

from services.auth.plans import parsing
from services.mesh.errors import MeshError, error_of
from services.mesh.plans import Plans
from tests.integration.auth.test_api_keys import digest_of, make_key
from tests.integration.auth.test_roles import new_admin
from tests.integration.auth.test_watch import watching
from tests.integration.auth.world import PATIENCE_S, Client, Place, client_of
from tests.integration.support.service_process import ServiceProcess

NOWHERE = "00000000-0000-7000-8000-000000000007"


class PlanCalls:
    """Calls of PlanService, as somebody."""

    def __init__(self, process: ServiceProcess, client: Client) -> None:
        self.channel = grpc.aio.insecure_channel(process.target)
        self.stub, self.metadata = PlanServiceStub(self.channel), client.metadata

    async def list(self) -> pb.Plans:
        plans: pb.Plans = await self._call(self.stub.ListPlans, pb.ListPlansRequest())
        return plans

    async def apply(self, yaml: str, *, validate_only: bool = False) -> pb.Plans:
        request = pb.ApplyPlansRequest(yaml=yaml, validate_only=validate_only)
        plans: pb.Plans = await self._call(self.stub.ApplyPlans, request)
        return plans

    async def set(self, plan: str, **subject: str) -> str:
        request = pb.SetPlanRequest(plan=plan, reason="A test.", **subject)
        answer: pb.SetPlanResponse = await self._call(self.stub.SetPlan, request)
        return answer.plan

    async def _call(self, method: Any, request: Any) -> Any:
        try:
            return await method(request, metadata=self.metadata, timeout=20.0)
        except grpc.aio.AioRpcError as error:
            raise error_of(error) from error


@pytest.fixture
async def admin(
    service: ServiceProcess, client: Client, place: Place, tmp_path: Path, request: pytest.FixtureRequest
) -> AsyncIterator[PlanCalls]:
    email = f"plans-{abs(hash(request.node.name))}@example.test"
    calls = PlanCalls(service, await new_admin(client, place, tmp_path, email))
    yield calls
    await calls.channel.close(None)


def with_plan(name: str, requests_per_day: int) -> str:
    return f"{parsing.default_text()}\n  {name}:\n    user: {{requests_per_day: {requests_per_day}}}\n"


def claims(token: str) -> dict[str, object]:
    body = token.split(".")[1]
    said: dict[str, object] = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    return said


async def test_a_new_mesh_has_the_plans_of_the_release(
    service: ServiceProcess, client: Client, admin: PlanCalls, rows: asyncpg.Connection
) -> None:
    _, person = await client.somebody()
    mine = PlanCalls(service, person)
    present = await mine.list()
    assert present.version >= 1
    assert {plan.name for plan in present.plans} >= {"free", "pro", "unlimited"}
    assert present.default_plan == "unlimited"
    first = await rows.fetchrow("SELECT author_id, yaml FROM plan_versions WHERE version = 1")
    assert first is not None
    assert (first["author_id"], first["yaml"]) == (None, parsing.default_text())
    with pytest.raises(MeshError) as refused:
        await mine.apply(parsing.default_text())
    assert refused.value.reason == "ROLE_MISSING"
    await mine.channel.close(None)


async def test_applied_whole_as_the_next_version_or_not_at_all(admin: PlanCalls, rows: asyncpg.Connection) -> None:
    before = await admin.list()
    text = with_plan("gold", 7)
    checked = await admin.apply(text, validate_only=True)
    assert (checked.version, checked.HasField("create_time")) == (before.version + 1, False)
    assert await admin.list() == before
    applied = await admin.apply(text)
    assert (applied.version, await admin.list()) == (before.version + 1, applied)
    assert await admin.apply(text) == applied, "the same text is no new version"

    with pytest.raises(MeshError) as refused:
        await admin.apply("default: none\nplans:\n  free:\n    user: {requests_per_day: many}\n")
    assert refused.value.reason == "PLANS_INVALID"
    assert [(one.field, one.description.partition(": ")[0]) for one in refused.value.violations] == [
        ("default", "line 1"),
        ("plans.free.user.requests_per_day", "line 4"),
    ]
    assert (await admin.list()).version == applied.version
    acts = await rows.fetch("SELECT type FROM outbox WHERE type LIKE '%ActRecorded'")
    assert acts, "applying is an act of the trail"


async def test_a_plan_that_somebody_has_cannot_be_left_out(client: Client, admin: PlanCalls) -> None:
    await admin.apply(with_plan("silver", 7))
    session, _ = await client.somebody()
    assert await admin.set("silver", user_id=session.user.user_id) == "silver"
    with pytest.raises(MeshError) as refused:
        await admin.apply(parsing.default_text())
    assert refused.value.reason == "PLANS_INVALID"
    assert [one.field for one in refused.value.violations] == ["plans.silver"]
    await admin.set("", org_id=session.user.org_id)
    await admin.apply(parsing.default_text())


async def test_who_gives_a_plan_that_is_being_left_out_comes_before_or_after(
    client: Client, admin: PlanCalls, rows: asyncpg.Connection
) -> None:
    people = [(await client.somebody())[0].user.user_id for _ in range(4)]
    for turn in range(5):
        await admin.apply(with_plan("bronze", turn))
        outcomes = await asyncio.gather(
            admin.apply(parsing.default_text()),
            *(admin.set("bronze", user_id=one) for one in people),
            return_exceptions=True,
        )
        assert all(
            not isinstance(one, BaseException)
            or (isinstance(one, MeshError) and one.reason in ("PLANS_INVALID", "PLAN_NOT_FOUND"))
            for one in outcomes
        ), outcomes
        have = await rows.fetchval("SELECT count(*) FROM organisations WHERE plan = 'bronze'")
        there = any(plan.name == "bronze" for plan in (await admin.list()).plans)
        assert not have or there
        for one in people:
            await admin.set("", user_id=one)


async def test_a_plan_comes_round_to_services_tokens_and_keys(
    client: Client, admin: PlanCalls, peer: Client, place: Place
) -> None:
    session, person = await client.somebody()
    user = session.user
    key = await make_key(person)
    assert (claims(session.access_token)["plan"], user.plan) == ("", "")
    async with watching(peer) as feed:
        await feed.until("state")
        await admin.set("pro", user_id=user.user_id.upper())
        changed = (await feed.until("org_changed")).org_changed
        assert (changed.org_id, changed.plan) == (user.org_id, "pro")
        assert changed.change_time.ToNanoseconds() / 1e9 > float(str(claims(session.access_token)["iat"]))
        await admin.set("pro", org_id=user.org_id)  # no change: nothing to tell
        await admin.set("free", org_id=user.org_id)
        assert (await feed.until("org_changed")).org_changed.plan == "free"
    async with watching(peer) as late:
        state = (await late.until("state")).state
        assert {one.org_id: one.plan for one in state.orgs}[user.org_id] == "free"
    renewed = await client.refresh(session.refresh_token)
    assert (claims(renewed.access_token)["plan"], renewed.user.plan) == ("free", "free")
    assert claims((await client.log_in(user.email)).access_token)["plan"] == "free"
    assert (await person("GetMe", auth_pb2.GetMeRequest())).plan == "free"
    resolved = await peer("ResolveApiKey", auth_pb2.ResolveApiKeyRequest(digest=digest_of(place, key.secret)))
    assert resolved.plan == "free"


async def test_what_there_is_not_is_refused(client: Client, admin: PlanCalls) -> None:
    session, _ = await client.somebody()
    for plan, subject, reason in (
        ("gold-plated", {"user_id": session.user.user_id}, "PLAN_NOT_FOUND"),
        ("pro", {"user_id": NOWHERE}, "USER_NOT_FOUND"),
        ("pro", {"org_id": NOWHERE}, "ORGANISATION_NOT_FOUND"),
    ):
        with pytest.raises(MeshError) as refused:
            await admin.set(plan, **subject)
        assert refused.value.reason == reason


async def test_every_process_hears_of_plans_and_tells_services(
    service: ServiceProcess, place: Place, admin: PlanCalls, peer: Client
) -> None:
    with place.running(WORKER="auth-second", AUTH_SIGNING_KEY_FILE=place.with_new_key()) as second:
        async with grpc.aio.insecure_channel(second.target) as channel:
            feed: Any = PlanServiceStub(channel).WatchPlans(
                pb.WatchPlansRequest(), metadata=peer.metadata, timeout=60.0
            )
            known = Plans()
            async with asyncio.timeout(PATIENCE_S):
                known.apply(await feed.read())
                applied = await admin.apply(with_plan("platinum", 12))
                while known.version < applied.version:
                    known.apply(await feed.read())
            assert known.of("platinum").user == {"requests_per_day": 12}
            feed.cancel()
    async with client_of(service) as nobody:
        calls = PlanCalls(service, nobody)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await calls.stub.WatchPlans(pb.WatchPlansRequest(), timeout=20.0).read()
        assert error_of(refused.value).reason == "CREDENTIAL_MISSING"
        await calls.channel.close(None)

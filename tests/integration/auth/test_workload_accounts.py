"""Service accounts that workloads stand for, as services are told of them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
from promptmesh.auth.v1 import auth_pb2 as pb

from services.inference.limits.accounts import Accounts
from services.inference.limits.model import Defaults, LimitValues
from services.mesh.access import keys
from services.mesh.access.scopes import scopes_of
from tests.integration.auth.teams import Teams, teams_of
from tests.integration.auth.test_plans import PlanCalls
from tests.integration.auth.test_roles import new_admin
from tests.integration.auth.test_watch import watching
from tests.integration.auth.world import Client, Place, reason_of
from tests.integration.support.service_process import ServiceProcess

NOWHERE = "0190b5d0-0000-7000-8000-000000000000"


@pytest.fixture
async def teams(service: ServiceProcess, client: Client, rows: asyncpg.Connection) -> AsyncIterator[Teams]:
    async with teams_of(service, client, rows) as teams:
        yield teams


def of_account(service_account_id: str) -> pb.ResolveApiKeyRequest:
    return pb.ResolveApiKeyRequest(service_account_id=service_account_id)


async def test_an_account_has_its_organisations_plan_and_ends_with_it(
    teams: Teams, service: ServiceProcess, client: Client, peer: Client, place: Place, tmp_path: Path
) -> None:
    owner = await teams.person()
    org_id = await teams.team(owner)
    ids = [
        (await owner("CreateServiceAccount", org_id=org_id, display_name=name)).service_account_id
        for name in ("nightly", "hourly")
    ]
    plans = PlanCalls(service, await new_admin(client, place, tmp_path, "workloads@example.test"))
    await plans.set("pro", org_id=org_id)
    await plans.channel.close(None)

    told: pb.KeyIdentity = await peer("ResolveApiKey", of_account(ids[0].upper()))
    assert (told.user_id, told.org_id, told.display_name) == (ids[0], org_id, "nightly")
    assert (told.plan, told.digest, told.api_key_id) == ("pro", keys.account_digest(ids[0]), "")
    assert (list(told.roles), set(told.scopes)) == ([5], set(scopes_of([5])))
    assert not told.revoked

    async with watching(peer) as feed:
        await feed.until("state")
        snapshot = feed.snapshot
        known = snapshot.learn(told)
        # The limits of the plan hold for it, as a person and as the organisation.
        user, org = LimitValues(requests_per_minute=7), LimitValues(requests_per_day=9)
        limited = {"pro": Defaults(user=user, org=org)}
        account = Accounts(10, lambda _: None, lambda plan: limited[plan]).of(known.caller)
        assert account is not None
        assert {(one.subject, one.limit) for one in account.meters} == {(f"user:{ids[0]}", 7), (f"org:{org_id}", 9)}

        await owner("DeleteServiceAccount", org_id=org_id, service_account_id=ids[0])
        changed = (await feed.until("key_changed")).key_changed
        assert (changed.digest, changed.revoked) == (told.digest, True)
        deleted = snapshot.key(told.digest)
        assert deleted is not None
        assert deleted.revoked
        assert (await peer("ResolveApiKey", of_account(ids[0]))).revoked
        await owner("DeleteOrganisation", org_id=org_id)
        changed = (await feed.until("key_changed")).key_changed
        assert (changed.digest, changed.revoked) == (keys.account_digest(ids[1]), True)
    assert await reason_of(peer("ResolveApiKey", of_account(ids[1]))) == "API_KEY_NOT_FOUND"


async def test_either_a_digest_or_an_account(peer: Client) -> None:
    assert await reason_of(peer("ResolveApiKey", of_account(NOWHERE))) == "API_KEY_NOT_FOUND"
    for request in (
        pb.ResolveApiKeyRequest(),
        pb.ResolveApiKeyRequest(digest=bytes(32), service_account_id=NOWHERE),
        pb.ResolveApiKeyRequest(service_account_id="bot"),
        pb.ResolveApiKeyRequest(digest=keys.account_digest(NOWHERE)),
    ):
        assert await reason_of(peer("ResolveApiKey", request)) == "INVALID_FIELD"

"""Service accounts of teams whose owners are suspended, and the keys of theirs that an administrator revokes."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
from promptmesh.auth.v1 import administration_pb2 as admin_pb
from promptmesh.auth.v1 import auth_pb2 as pb

from services.mesh.access.identities import Identities
from services.mesh.call import Caller, CallerKind
from tests.integration.auth.teams import ADMIN, MEMBER, OWNER, Teammate, Teams, teams_of
from tests.integration.auth.test_administration import WHY, asked, suspended, until_good
from tests.integration.auth.test_api_keys import make_key
from tests.integration.auth.test_roles import new_admin
from tests.integration.auth.test_watch import watching
from tests.integration.auth.waits import connected, until_waiting_for
from tests.integration.auth.world import Client, Place, acts_of, until_refused
from tests.integration.support.service_process import ServiceProcess

_numbers = itertools.count(1)


@pytest.fixture
async def teams(service: ServiceProcess, client: Client, rows: asyncpg.Connection) -> AsyncIterator[Teams]:
    async with teams_of(service, client, rows) as teams:
        yield teams


@pytest.fixture
async def admin(client: Client, place: Place, tmp_path: Path) -> Client:
    return await new_admin(client, place, tmp_path, f"owners-{next(_numbers)}@example.test")


async def account_key(maker: Teammate, org_id: str, client: Client) -> Client:
    """Calls as a new service account of a team."""
    account = await maker("CreateServiceAccount", org_id=org_id, display_name="bot")
    made = await make_key(maker.auth, service_account_id=account.service_account_id)
    return client.bearing(made.secret)


async def restored(admin: Client, person: Teammate) -> None:
    await admin("RestoreUser", asked("RestoreUser", person.user_id))


async def test_a_teams_accounts_are_refused_while_every_owner_is_suspended(
    teams: Teams, client: Client, admin: Client, rows: asyncpg.Connection
) -> None:
    first, second, member = await teams.person(), await teams.person(), await teams.person()
    org_id = await teams.team(first, (second, OWNER), (member, ADMIN))
    key = await account_key(first, org_id, client)

    await suspended(admin, first.user_id)
    await key("GetMe", pb.GetMeRequest())  # somebody owns the team still
    await suspended(admin, second.user_id)
    await until_refused(key, "SUSPENDED")
    # A key of an account that is made meanwhile is no way round it; members' own credentials go on.
    await until_refused(await account_key(member, org_id, client), "SUSPENDED")
    await member.auth("GetMe", pb.GetMeRequest())

    await restored(admin, second)
    await until_good(key)
    told = [(act.action, act.org_id) for act in await acts_of(rows, org_id) if "suspend_time" in act.change]
    assert told == [("organisation.suspend", org_id), ("organisation.restore", org_id)]


async def test_the_last_owner_who_is_not_suspended_takes_them_along(
    teams: Teams, client: Client, admin: Client
) -> None:
    first, second, member = await teams.person(), await teams.person(), await teams.person()
    org_id = await teams.team(first, (second, OWNER), (member, MEMBER))
    key = await account_key(first, org_id, client)
    await suspended(admin, first.user_id)

    await second("SetMemberRole", org_id=org_id, user_id=member.user_id, role=OWNER)
    await second("SetMemberRole", org_id=org_id, user_id=second.user_id, role=MEMBER)
    await key("GetMe", pb.GetMeRequest())
    await member("SetMemberRole", org_id=org_id, user_id=member.user_id, role=ADMIN)
    await until_refused(key, "SUSPENDED")
    await restored(admin, first)
    await until_good(key)

    await first("SetMemberRole", org_id=org_id, user_id=second.user_id, role=OWNER)
    await suspended(admin, first.user_id)
    await key("GetMe", pb.GetMeRequest())
    await second("RemoveMember", org_id=org_id, user_id=second.user_id)
    await until_refused(key, "SUSPENDED")


async def test_it_comes_off_with_the_first_owners_suspension(teams: Teams, client: Client, admin: Client) -> None:
    first, second = await teams.person(), await teams.person()
    org_id = await teams.team(first, (second, OWNER))
    key = await account_key(first, org_id, client)
    await suspended(admin, first.user_id, for_s=3600.0)
    await suspended(admin, second.user_id, for_s=4.0)
    await until_refused(key, "SUSPENDED")
    await until_good(key)


async def test_both_owners_are_suspended_at_once(
    teams: Teams, client: Client, place: Place, tmp_path: Path, admin: Client, rows: asyncpg.Connection
) -> None:
    other = await new_admin(client, place, tmp_path, f"owners-{next(_numbers)}@example.test")
    for _ in range(5):
        first, second = await teams.person(), await teams.person()
        org_id = await teams.team(first, (second, OWNER))
        await asyncio.gather(suspended(admin, first.user_id), suspended(other, second.user_id))
        until = "SELECT suspend_time > now() FROM organisations WHERE org_id = $1"
        assert await rows.fetchval(until, org_id) is True


async def test_an_owner_is_suspended_while_the_other_leaves(
    teams: Teams, admin: Client, rows: asyncpg.Connection
) -> None:
    for _ in range(5):
        first, second = await teams.person(), await teams.person()
        org_id = await teams.team(first, (second, OWNER))
        leaving = second("RemoveMember", org_id=org_id, user_id=second.user_id)
        await asyncio.gather(suspended(admin, first.user_id), leaving)
        until = "SELECT suspend_time > now() FROM organisations WHERE org_id = $1"
        assert await rows.fetchval(until, org_id) is True


async def test_who_watches_afresh_hears_of_it(
    teams: Teams, client: Client, admin: Client, peer: Client, rows: asyncpg.Connection
) -> None:
    owner = await teams.person()
    org_id = await teams.team(owner)
    async with watching(peer) as feed:
        await feed.until("state")
        user = await suspended(admin, owner.user_id)
        told = (await feed.until("org_changed")).org_changed
        assert (told.org_id, told.suspend_time) == (org_id, user.suspend_time)
    # Long ago, so that no token can be as old as the change.
    await rows.execute("UPDATE organisations SET plan_change_time = now() - interval '1 day' WHERE org_id = $1", org_id)
    snapshot = Identities()
    async with watching(peer, snapshot=snapshot) as feed:
        state = (await feed.until("state")).state
        assert {one.org_id: one.suspend_time for one in state.orgs}[org_id] == user.suspend_time
        account = Caller(CallerKind.API_KEY, user_id="account", org_id=org_id, roles=frozenset({5}))
        assert snapshot.suspended_until(account) is not None
        member = Caller(CallerKind.API_KEY, user_id="member", org_id=org_id, roles=frozenset({1}))
        assert snapshot.suspended_until(member) is None
        await restored(admin, owner)
        await feed.until("org_changed")
        assert snapshot.suspended_until(account) is None


async def test_all_keys_that_a_person_may_know_are_revoked(
    teams: Teams, client: Client, admin: Client, rows: asyncpg.Connection
) -> None:
    person, other = await teams.person(), await teams.person()
    alone, shared, joined = (
        await teams.team(person, (other, ADMIN)),
        await teams.team(person, (other, OWNER)),
        await teams.team(other, (person, ADMIN)),
    )
    own = client.bearing((await make_key(person.auth)).secret)
    theirs = [await account_key(person, alone, client), await account_key(other, alone, client)]
    left = [await account_key(person, shared, client), await account_key(person, joined, client)]
    members = client.bearing((await make_key((await other.acting_for(alone)).auth)).secret)

    revoked: admin_pb.RevokeApiKeysResponse = await admin("RevokeApiKeys", asked("RevokeApiKeys", person.user_id))

    assert revoked.revoked == 3
    for key in (own, *theirs):
        await until_refused(key)
    for key in (*left, members):
        await key("GetMe", pb.GetMeRequest())
    (act,) = [act for act in await acts_of(rows, alone) if act.action == "organisation.revoke_api_keys"]
    assert (act.reason, act.org_id) == (WHY, alone)
    assert act.change == '{"before":null,"after":{"revoked":2}}'


async def test_who_becomes_the_owner_just_now_is_suspended_with_the_team(
    teams: Teams, admin: Client, place: Place, rows: asyncpg.Connection
) -> None:
    """A team passes to its next member, while an administrator suspends them: neither sees yet what the other does."""
    first, heir = await teams.person(), await teams.person()
    org_id = await teams.team(first, (heir, MEMBER))
    async with connected(place) as passing, connected(place) as watcher:
        async with passing.transaction():
            await passing.execute("SELECT FROM organisations WHERE org_id = $1 FOR NO KEY UPDATE", org_id)
            await passing.execute(
                "UPDATE members SET role = 1 WHERE org_id = $1 AND user_id = $2", org_id, heir.user_id
            )
            await passing.execute("DELETE FROM members WHERE org_id = $1 AND user_id = $2", org_id, first.user_id)
            suspending = asyncio.ensure_future(suspended(admin, heir.user_id))
            await until_waiting_for(watcher, passing)
        await suspending
    assert await rows.fetchval("SELECT suspend_time > now() FROM organisations WHERE org_id = $1", org_id)

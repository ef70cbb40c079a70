"""Somebody registered under an address that is not theirs, and its owner resets the password: what the first one made
and joined meanwhile is not the owner's, and not the first one's any more."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest
from promptmesh.auth.v1 import accounts_pb2
from promptmesh.auth.v1 import auth_pb2 as pb

from services.auth.links import LinkKind, digest_of
from tests.integration.auth.teams import ADMIN, MEMBER, OWNER, Teammate, Teams, teams_of
from tests.integration.auth.test_api_keys import make_key
from tests.integration.auth.test_suspended_owners import account_key
from tests.integration.auth.world import Client, acts_of, until_refused
from tests.integration.support.service_process import ServiceProcess

NEW_PASSWORD = "an orange lamp in june"


@pytest.fixture
async def teams(service: ServiceProcess, client: Client, rows: asyncpg.Connection) -> AsyncIterator[Teams]:
    async with teams_of(service, client, rows) as teams:
        yield teams


async def reset(client: Client, rows: asyncpg.Connection, user: pb.User) -> Teammate:
    """Does what the owner of the address does with the link of RequestPasswordReset, and logs in."""
    token = f"pml_{user.user_id}"
    await rows.execute(
        "INSERT INTO links (digest, kind, user_id, org_id, email, expire_time)"
        " VALUES ($1, $2, $3, $4, $5, now() + interval '1 minute')",
        *(digest_of(token), int(LinkKind.RESET_PASSWORD), user.user_id, user.org_id, user.email),
    )
    await client("ResetPassword", accounts_pb2.ResetPasswordRequest(token=token, new_password=NEW_PASSWORD))
    session = await client.log_in(user.email, NEW_PASSWORD)
    return Teammate(session, client.bearing(session.access_token), None)  # type: ignore[arg-type]


async def test_teams_of_a_squatter_are_not_the_owners(teams: Teams, client: Client, rows: asyncpg.Connection) -> None:
    squatter, other, third = await teams.person(proved=False), await teams.person(), await teams.person()
    alone = await teams.team(squatter)
    shared = await teams.team(squatter, (other, MEMBER), (third, ADMIN))
    owned = await teams.team(squatter, (other, OWNER))
    joined = await teams.team(other)
    await rows.execute("INSERT INTO members (org_id, user_id, role) VALUES ($1, $2, 2)", joined, squatter.user_id)
    await teams.invitation(shared, "puppet@example.test", OWNER)
    keys = [await account_key(squatter, alone, client)]
    for org_id in (alone, shared, joined):
        acting = await squatter.acting_for(org_id)
        keys.append(client.bearing((await make_key(acting.auth)).secret))
    kept = await account_key(squatter, shared, client)

    owner = await reset(client, rows, squatter.session.user)

    own = squatter.session.user.org_id
    owner.stub = squatter.stub
    assert [one.org_id for one in (await owner("ListOrganisations")).organisations] == [own]
    for key in keys:
        await until_refused(key)
    await kept("GetMe", pb.GetMeRequest())  # the team's, and others are in it
    assert await rows.fetchval("SELECT count(*) FROM organisations WHERE org_id = $1", alone) == 0
    # The longest-standing administrator goes before the longest-standing member.
    roles = {one.user_id: one.role for one in (await third("ListMembers", org_id=shared)).members}
    assert roles == {third.user_id: OWNER, other.user_id: MEMBER}
    roles = {one.user_id: one.role for one in (await other("ListMembers", org_id=owned)).members}
    assert roles == {other.user_id: OWNER}
    assert [one.user_id for one in (await other("ListMembers", org_id=joined)).members] == [other.user_id]
    assert not (await third("ListInvitations", org_id=shared)).invitations
    acts = [(act.action, act.org_id) for act in await acts_of(rows, squatter.user_id) if act.org_id != own]
    assert {("member.remove", one) for one in (shared, owned, joined)} <= set(acts)
    assert ("member.set_role", shared) in {(act.action, act.org_id) for act in await acts_of(rows, third.user_id)}
    # The trail names whose account it turned out to be, not nobody.
    (dissolved,) = [act for act in await acts_of(rows, alone) if act.action == "organisation.delete"]
    assert (dissolved.actor.kind, dissolved.actor.id) == ("user", squatter.user_id)
    assert await rows.fetchval("SELECT count(*) FROM known_addresses WHERE user_id = $1", squatter.user_id) <= 1


async def test_a_reset_of_a_proved_address_leaves_teams(teams: Teams, client: Client, rows: asyncpg.Connection) -> None:
    person = await teams.person()
    org_id = await teams.team(person)
    key = await account_key(person, org_id, client)
    again = await reset(client, rows, person.session.user)
    again.stub = person.stub
    assert org_id in {one.org_id for one in (await again("ListOrganisations")).organisations}
    await key("GetMe", pb.GetMeRequest())

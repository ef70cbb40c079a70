"""Who may invite, for how long what they sent is good, and what an account whose address was never proved gets of what
is for the address."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import asyncpg
import pytest
from promptmesh.auth.v1 import accounts_pb2

from tests.integration.auth.teams import ADMIN, MEMBER, Teams, teams_of
from tests.integration.auth.world import Client, acts_of, reason_of, refusal_of
from tests.integration.support.service_process import ServiceProcess


@pytest.fixture
async def teams(service: ServiceProcess, client: Client, rows: asyncpg.Connection) -> AsyncIterator[Teams]:
    async with teams_of(service, client, rows) as teams:
        yield teams


async def test_who_has_not_proved_their_address_invites_nobody(teams: Teams, rows: asyncpg.Connection) -> None:
    owner = await teams.person(proved=False)
    org_id = await teams.team(owner)
    to_guest = {"org_id": org_id, "email": "guest-of-nobody@example.test", "role": MEMBER}
    refused = await refusal_of(owner("InviteMember", **to_guest))
    assert refused.reason == "LINK_INVALID"
    assert "SendVerification" in refused.message
    mailed = "SELECT count(*) FROM mails WHERE recipient = 'guest-of-nobody@example.test'"
    assert await rows.fetchval(mailed) == 0
    await teams.prove_address(owner)
    await owner("InviteMember", **to_guest)
    assert await rows.fetchval(mailed) == 1


async def test_an_invitation_is_not_good_while_its_sender_is_suspended(teams: Teams, rows: asyncpg.Connection) -> None:
    owner, admin, invited = [await teams.person() for _ in range(3)]
    org_id = await teams.team(owner, (admin, ADMIN))
    token = await teams.invitation(org_id, invited.session.user.email, MEMBER)
    await rows.execute("UPDATE invitations SET inviter_id = $1 WHERE org_id = $2", admin.user_id, org_id)
    suspend = "UPDATE users SET suspend_time = now() + $2::text::interval WHERE user_id = $1"
    await rows.execute(suspend, admin.user_id, "1 hour")
    assert await reason_of(invited("AcceptInvitation", token=token)) == "LINK_INVALID"
    await rows.execute(suspend, admin.user_id, "-1 s")
    assert (await invited("AcceptInvitation", token=token)).org_id == org_id


async def test_who_registers_under_an_address_neither_reads_nor_deletes_what_is_for_its_owner(
    teams: Teams, rows: asyncpg.Connection
) -> None:
    owner, squatter = await teams.person(), await teams.person(proved=False)
    email = squatter.session.user.email
    org_id = await teams.team(owner)
    await owner("InviteMember", org_id=org_id, email=email, role=MEMBER)
    document = json.loads((await squatter.auth("ExportMe", accounts_pb2.ExportMeRequest())).data)
    assert document["invitations"] == []

    await squatter.auth("DeleteMe", accounts_pb2.DeleteMeRequest())

    (left,) = (await owner("ListInvitations", org_id=org_id)).invitations
    assert left.email == email
    templates = await rows.fetch("SELECT template FROM mails WHERE recipient = $1", email)
    assert [row["template"] for row in templates] == ["invitation"]


async def test_a_session_whose_access_token_outlives_its_refresh_token_ends_with_the_membership(
    teams: Teams, rows: asyncpg.Connection
) -> None:
    owner, member = await teams.person(), await teams.person()
    org_id = await teams.team(owner, (member, MEMBER))
    acting = await member.acting_for(org_id)
    session_id = acting.session.session_id
    await rows.execute("UPDATE sessions SET refresh_expire_time = now() WHERE session_id = $1", session_id)
    await owner("RemoveMember", org_id=org_id, user_id=member.user_id)
    ended = "SELECT end_time FROM sessions WHERE session_id = $1"
    assert await rows.fetchval(ended, session_id) is not None


async def test_who_deletes_their_account_leaves_their_teams_trail_told(teams: Teams, rows: asyncpg.Connection) -> None:
    owner, member = await teams.person(), await teams.person()
    org_id = await teams.team(owner, (member, MEMBER))
    await member.auth("DeleteMe", accounts_pb2.DeleteMeRequest())
    (left,) = [act for act in await acts_of(rows, member.user_id) if act.action == "member.leave"]
    assert (left.org_id, left.actor.id) == (org_id, member.user_id)

"""Invitations under way: listed, revoked, and gone with the person whom they were for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from tests.integration.auth.teams import ADMIN, MEMBER, OWNER, Teams, teams_of
from tests.integration.auth.world import Client, acts_of, reason_of
from tests.integration.support.service_process import ServiceProcess


@pytest.fixture
async def teams(service: ServiceProcess, client: Client, rows: asyncpg.Connection) -> AsyncIterator[Teams]:
    async with teams_of(service, client, rows) as teams:
        yield teams


async def test_invitations_under_way_are_listed_to_administrators(teams: Teams, rows: asyncpg.Connection) -> None:
    owner, admin, member = await teams.person(), await teams.person(), await teams.person()
    org_id = await teams.team(owner, (admin, ADMIN), (member, MEMBER))
    sent = [
        await owner("InviteMember", org_id=org_id, email=f"Invited-{number}@example.test", role=MEMBER)
        for number in range(3)
    ]
    over = await owner("InviteMember", org_id=org_id, email="over@example.test", role=MEMBER)
    await rows.execute(
        "UPDATE invitations SET expire_time = now() - interval '1 s' WHERE invitation_id = $1", over.invitation_id
    )

    listed = await admin("ListInvitations", org_id=org_id.upper())
    assert list(listed.invitations) == sent[::-1]
    assert {(one.inviter_id, one.email) for one in listed.invitations} == {
        (owner.user_id, f"invited-{number}@example.test") for number in range(3)
    }
    assert all(one.HasField("create_time") and one.HasField("expire_time") for one in listed.invitations)
    page = await admin("ListInvitations", org_id=org_id, page_size=2)
    rest = await admin("ListInvitations", org_id=org_id, page_size=2, page_token=page.next_page_token)
    assert [*page.invitations, *rest.invitations] == list(listed.invitations)
    assert not rest.next_page_token
    another = await teams.team(admin)
    reused = admin("ListInvitations", org_id=another, page_token=page.next_page_token)
    assert await reason_of(reused) == "PAGE_TOKEN_INVALID"

    assert await reason_of(member("ListInvitations", org_id=org_id)) == "MEMBER_ROLE_MISSING"
    assert await reason_of((await teams.person())("ListInvitations", org_id=org_id)) == "ORGANISATION_NOT_FOUND"
    own = owner.session.user.org_id
    assert not (await owner("ListInvitations", org_id=own)).invitations


async def test_a_revoked_invitation_lets_nobody_in(teams: Teams, rows: asyncpg.Connection) -> None:
    owner, admin, member, invited = [await teams.person() for _ in range(4)]
    org_id, other_team = await teams.team(owner, (admin, ADMIN), (member, MEMBER)), await teams.team(admin)
    token = await teams.invitation(org_id, invited.session.user.email, MEMBER)
    (found,) = (await admin("ListInvitations", org_id=org_id)).invitations
    which = {"org_id": org_id, "invitation_id": found.invitation_id}

    assert await reason_of(member("RevokeInvitation", **which)) == "MEMBER_ROLE_MISSING"
    assert await reason_of(invited("RevokeInvitation", **which)) == "ORGANISATION_NOT_FOUND"
    elsewhere = admin("RevokeInvitation", org_id=other_team, invitation_id=found.invitation_id)
    assert await reason_of(elsewhere) == "MEMBER_NOT_FOUND"
    await admin("RevokeInvitation", **which)
    assert await reason_of(invited("AcceptInvitation", token=token)) == "LINK_INVALID"
    assert await reason_of(admin("RevokeInvitation", **which)) == "MEMBER_NOT_FOUND"
    (act,) = [act for act in await acts_of(rows, found.invitation_id) if act.action == "member.revoke_invitation"]
    assert (act.actor.id, act.org_id) == (admin.user_id, org_id)

    # What only an owner may send, only an owner takes back.
    await teams.invitation(org_id, invited.session.user.email, OWNER)
    (found,) = (await admin("ListInvitations", org_id=org_id)).invitations
    which = {"org_id": org_id, "invitation_id": found.invitation_id}
    assert await reason_of(admin("RevokeInvitation", **which)) == "MEMBER_ROLE_MISSING"
    await owner("RevokeInvitation", **which)
    assert not (await admin("ListInvitations", org_id=org_id)).invitations


async def test_an_invitation_is_accepted_while_it_is_revoked(teams: Teams, rows: asyncpg.Connection) -> None:
    owner = await teams.person()
    org_id = await teams.team(owner)
    for _ in range(5):
        invited = await teams.person()
        token = await teams.invitation(org_id, invited.session.user.email, MEMBER)
        (found,) = (await owner("ListInvitations", org_id=org_id)).invitations
        outcomes = await asyncio.gather(
            invited("AcceptInvitation", token=token),
            owner("RevokeInvitation", org_id=org_id, invitation_id=found.invitation_id),
            return_exceptions=True,
        )
        reasons = tuple(getattr(one, "reason", "") for one in outcomes)
        assert reasons in (("", "MEMBER_NOT_FOUND"), ("LINK_INVALID", ""))

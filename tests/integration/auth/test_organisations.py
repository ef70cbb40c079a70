"""OrganisationService over a real database: teams, members, invitations, roles, races."""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import AsyncIterator

import asyncpg
import pytest
from promptmesh.auth.v1 import auth_pb2
from promptmesh.auth.v1 import organisations_pb2 as pb

from services.mesh.errors import MeshError, QuotaViolation
from tests.integration.auth.teams import ADMIN, MEMBER, OWNER, Teammate, Teams, teams_of
from tests.integration.auth.world import Client, Place, client_of, reason_of, refusal_of, until_refused
from tests.integration.support.service_process import ServiceProcess

OWNED_LIMIT = "1 teams are as many as a person may own"
NOWHERE = "0190b5d0-0000-7000-8000-000000000000"


@pytest.fixture
async def teams(service: ServiceProcess, client: Client, rows: asyncpg.Connection) -> AsyncIterator[Teams]:
    async with teams_of(service, client, rows) as teams:
        yield teams


async def acts(rows: asyncpg.Connection, org_id: str) -> int:
    """How many events of the trail an organisation has."""
    return int(
        await rows.fetchval(
            "SELECT count(*) FROM outbox WHERE org_id = $1 AND type = 'promptmesh.auth.v1.ActRecorded'", org_id
        )
    )


async def test_everybody_has_one_of_their_own(teams: Teams) -> None:
    person = await teams.person()
    own = person.session.user.org_id

    (listed,) = (await person("ListOrganisations")).organisations

    assert (listed.org_id, listed.personal, listed.role) == (own, True, OWNER)
    (member,) = (await person("ListMembers", org_id=own)).members
    assert (member.user_id, member.role, member.email) == (person.user_id, OWNER, person.session.user.email)
    assert person.session.org_id == own


async def test_ones_own_cannot_be_deleted_left_or_shared(teams: Teams) -> None:
    person = await teams.person()
    own = person.session.user.org_id

    for call in (
        person("DeleteOrganisation", org_id=own),
        person("RemoveMember", org_id=own, user_id=person.user_id),
        person("SetMemberRole", org_id=own, user_id=person.user_id, role=MEMBER),
        person("InviteMember", org_id=own, email="a@example.test", role=MEMBER),
        person("CreateServiceAccount", org_id=own, display_name="bot"),
    ):
        assert await reason_of(call) == "LAST_OWNER"
    assert (await person("UpdateOrganisation", org_id=own, display_name="Mine")).display_name == "Mine"


async def test_the_life_of_a_team(teams: Teams) -> None:
    owner, other = await teams.person(), await teams.person()
    org_id = await teams.team(owner, (other, MEMBER))

    assert [one.role for one in (await owner("ListMembers", org_id=org_id)).members] == [OWNER, MEMBER]
    assert (await other("GetOrganisation", org_id=org_id)).role == MEMBER
    listed = (await other("ListOrganisations")).organisations
    assert [one.personal for one in listed] == [True, False]
    before = await acts(teams.rows, org_id)
    renamed = await owner("UpdateOrganisation", org_id=org_id, display_name="New")
    assert renamed.display_name == "New"
    assert await acts(teams.rows, org_id) == before + 1
    await owner("DeleteOrganisation", org_id=org_id)
    assert await reason_of(other("GetOrganisation", org_id=org_id)) == "ORGANISATION_NOT_FOUND"
    told = await teams.rows.fetchval(
        "SELECT count(*) FROM outbox WHERE aggregate_id = $1 AND type = 'promptmesh.auth.v1.OrganisationDeleted'",
        org_id,
    )
    assert told == 1


async def test_whoever_is_no_member_is_told_that_there_is_none(teams: Teams) -> None:
    owner, stranger = await teams.person(), await teams.person()
    org_id = await teams.team(owner)
    account = await owner("CreateServiceAccount", org_id=org_id, display_name="bot")

    for of in (org_id, NOWHERE):
        for method, fields in (
            ("GetOrganisation", {}),
            ("UpdateOrganisation", {"display_name": "x"}),
            ("DeleteOrganisation", {}),
            ("SwitchOrganisation", {}),
            ("ListMembers", {}),
            ("InviteMember", {"email": "a@example.test", "role": MEMBER}),
            ("SetMemberRole", {"user_id": owner.user_id, "role": MEMBER}),
            ("RemoveMember", {"user_id": owner.user_id}),
            ("RemoveMember", {"user_id": stranger.user_id}),
            ("CreateServiceAccount", {"display_name": "x"}),
            ("ListServiceAccounts", {}),
            ("DeleteServiceAccount", {"service_account_id": account.service_account_id}),
        ):
            assert await reason_of(stranger(method, org_id=of, **fields)) == "ORGANISATION_NOT_FOUND", method
    # What is another's cannot be reached by way of one's own either.
    own = stranger.session.user.org_id
    fields = {"org_id": own, "service_account_id": account.service_account_id}
    assert await reason_of(stranger("DeleteServiceAccount", **fields)) == "MEMBER_NOT_FOUND"
    assert await reason_of(stranger("RemoveMember", org_id=own, user_id=owner.user_id)) == "MEMBER_NOT_FOUND"


async def test_what_each_role_may_do(teams: Teams) -> None:
    owner, admin, member = [await teams.person() for _ in range(3)]
    org_id = await teams.team(owner, (admin, ADMIN), (member, MEMBER))

    for call in (
        member("UpdateOrganisation", org_id=org_id, display_name="x"),
        member("InviteMember", org_id=org_id, email="a@example.test", role=MEMBER),
        member("SetMemberRole", org_id=org_id, user_id=member.user_id, role=OWNER),
        member("RemoveMember", org_id=org_id, user_id=admin.user_id),
        member("CreateServiceAccount", org_id=org_id, display_name="x"),
        member("DeleteOrganisation", org_id=org_id),
        admin("DeleteOrganisation", org_id=org_id),
        admin("InviteMember", org_id=org_id, email="a@example.test", role=OWNER),
        admin("SetMemberRole", org_id=org_id, user_id=admin.user_id, role=OWNER),
        admin("SetMemberRole", org_id=org_id, user_id=owner.user_id, role=MEMBER),
        admin("RemoveMember", org_id=org_id, user_id=owner.user_id),
    ):
        assert await reason_of(call) == "MEMBER_ROLE_MISSING"
    assert (await admin("SetMemberRole", org_id=org_id, user_id=member.user_id, role=ADMIN)).role == ADMIN
    assert (await admin("InviteMember", org_id=org_id, email="b@example.test", role=ADMIN)).role == ADMIN
    seen_by_member = (await member("ListMembers", org_id=org_id)).members
    assert all(one.email for one in seen_by_member)  # an administrator by now
    await owner("SetMemberRole", org_id=org_id, user_id=member.user_id, role=MEMBER)
    seen_by_member = (await member("ListMembers", org_id=org_id)).members
    assert [one.email for one in seen_by_member if one.user_id != member.user_id] == ["", ""]


async def test_two_owners_who_leave_at_once_leave_one(teams: Teams) -> None:
    for _ in range(5):
        one, other = await teams.person(), await teams.person()
        org_id = await teams.team(one, (other, OWNER))

        results = await asyncio.gather(
            *(who("RemoveMember", org_id=org_id, user_id=who.user_id) for who in (one, other)), return_exceptions=True
        )

        assert [result.reason for result in results if isinstance(result, MeshError)] == ["LAST_OWNER"]
        left = await teams.rows.fetchval("SELECT count(*) FROM members WHERE org_id = $1 AND role = 1", org_id)
        assert left == 1


async def test_two_owners_who_demote_one_another_leave_one(teams: Teams) -> None:
    one, other = await teams.person(), await teams.person()
    org_id = await teams.team(one, (other, OWNER))

    results = await asyncio.gather(
        one("SetMemberRole", org_id=org_id, user_id=other.user_id, role=MEMBER),
        other("SetMemberRole", org_id=org_id, user_id=one.user_id, role=MEMBER),
        return_exceptions=True,
    )

    assert sum(isinstance(result, MeshError) for result in results) == 1
    assert await teams.rows.fetchval("SELECT count(*) FROM members WHERE org_id = $1 AND role = 1", org_id) == 1


async def test_an_invitation_is_for_one_address_and_one_time(teams: Teams) -> None:
    owner, invited, thief = [await teams.person() for _ in range(3)]
    org_id = await teams.team(owner)
    token = await teams.invitation(org_id, invited.session.user.email, MEMBER)

    assert await reason_of(thief("AcceptInvitation", token=token)) == "LINK_INVALID"
    assert (await invited("AcceptInvitation", token=token)).org_id == org_id
    assert await reason_of(invited("AcceptInvitation", token=token)) == "LINK_INVALID"
    await invited("RemoveMember", org_id=org_id, user_id=invited.user_id)
    late = await teams.invitation(org_id, invited.session.user.email, MEMBER, lives="-1 second")
    assert await reason_of(invited("AcceptInvitation", token=late)) == "LINK_INVALID"


async def test_an_invitation_is_mailed_and_its_link_joins(teams: Teams) -> None:
    owner, invited = await teams.person(), await teams.person()
    org_id = await teams.team(owner)
    email = invited.session.user.email
    made = await owner("InviteMember", org_id=org_id, email=email.upper(), role=ADMIN)
    assert (made.email, made.role) == (email, ADMIN)
    body = await teams.rows.fetchval("SELECT body FROM mails WHERE recipient = $1 AND template = 'invitation'", email)
    token = re.search(r"/invitation#token=(pml_[\w-]+)", body)
    assert token is not None
    assert "Team" in body
    assert (await invited("AcceptInvitation", token=token[1])).role == ADMIN
    stored = await teams.rows.fetchval("SELECT count(*) FROM invitations WHERE org_id = $1", org_id)
    assert stored == 0


async def test_a_newer_invitation_and_a_removed_inviter_end_one(teams: Teams) -> None:
    owner, admin, invited = [await teams.person() for _ in range(3)]
    org_id = await teams.team(owner, (admin, ADMIN))
    email = invited.session.user.email
    token = await teams.invitation(org_id, email, MEMBER)
    await owner("InviteMember", org_id=org_id, email=email.upper(), role=MEMBER)
    assert await reason_of(invited("AcceptInvitation", token=token)) == "LINK_INVALID"
    await admin("InviteMember", org_id=org_id, email="c@example.test", role=MEMBER)
    count = "SELECT count(*) FROM invitations WHERE org_id = $1"
    assert await teams.rows.fetchval(count, org_id) == 2
    await owner("RemoveMember", org_id=org_id, user_id=admin.user_id)
    assert await teams.rows.fetchval(count, org_id) == 1


async def test_an_invitation_taken_twice_at_once_joins_once(teams: Teams) -> None:
    owner, invited = await teams.person(), await teams.person()
    org_id = await teams.team(owner)
    token = await teams.invitation(org_id, invited.session.user.email, MEMBER)

    results = await asyncio.gather(
        *(invited("AcceptInvitation", token=token) for _ in range(4)), return_exceptions=True
    )

    assert sum(isinstance(result, pb.Organisation) for result in results) == 1


async def test_a_session_acts_for_a_team_and_its_refresh_keeps_that(teams: Teams, client: Client) -> None:
    owner = await teams.person()
    org_id = await teams.team(owner)

    acting = await owner.acting_for(org_id)
    refreshed = await client.refresh(owner.session.refresh_token)

    assert refreshed.org_id == org_id
    made = await acting.auth("CreateApiKey", auth_pb2.CreateApiKeyRequest(display_name="team's"))
    assert made.api_key.org_id == org_id
    own = await owner.auth("CreateApiKey", auth_pb2.CreateApiKeyRequest(display_name="own"))
    assert own.api_key.org_id == owner.session.user.org_id


async def test_who_is_removed_acts_for_the_team_no_more(teams: Teams, client: Client) -> None:
    owner, member = await teams.person(), await teams.person()
    org_id = await teams.team(owner, (member, MEMBER))
    elsewhere = client.bearing((await client.log_in(member.session.user.email)).access_token)
    acting = await member.acting_for(org_id)
    key = await acting.auth("CreateApiKey", auth_pb2.CreateApiKeyRequest(display_name="team's"))
    own_key = await elsewhere("CreateApiKey", auth_pb2.CreateApiKeyRequest(display_name="own"))
    await acting.acting_for(member.session.user.org_id)  # its token for the team still runs

    await owner("RemoveMember", org_id=org_id, user_id=member.user_id)

    await until_refused(acting.auth)
    await until_refused(client.bearing(key.secret))
    assert await elsewhere("GetMe", auth_pb2.GetMeRequest())
    assert await client.bearing(own_key.secret)("GetMe", auth_pb2.GetMeRequest())
    assert await reason_of(client.refresh(member.session.refresh_token)) == "CREDENTIAL_REVOKED"


async def test_a_key_made_while_its_person_is_removed_is_not_left(teams: Teams) -> None:
    for _ in range(4):
        owner, member = await teams.person(), await teams.person()
        org_id = await teams.team(owner, (member, MEMBER))
        acting = await member.acting_for(org_id)

        await asyncio.gather(
            owner("RemoveMember", org_id=org_id, user_id=member.user_id),
            acting.auth("CreateApiKey", auth_pb2.CreateApiKeyRequest(display_name="late")),
            return_exceptions=True,
        )

        live = "SELECT count(*) FROM api_keys WHERE org_id = $1 AND revoke_time IS NULL"
        assert await teams.rows.fetchval(live, org_id) == 0


async def test_a_deleted_team_ends_everybodys_keys_and_sessions(teams: Teams, client: Client) -> None:
    owner, member = await teams.person(), await teams.person()
    org_id = await teams.team(owner, (member, MEMBER))
    acting = await member.acting_for(org_id)
    account = await owner("CreateServiceAccount", org_id=org_id, display_name="bot")
    request = auth_pb2.CreateApiKeyRequest(display_name="bot's", service_account_id=account.service_account_id)
    bot = client.bearing((await owner.auth("CreateApiKey", request)).secret)
    assert (await bot("GetMe", auth_pb2.GetMeRequest())).user_id == account.service_account_id

    await owner("DeleteOrganisation", org_id=org_id)

    await until_refused(acting.auth)
    await until_refused(bot)
    assert await owner.auth("GetMe", auth_pb2.GetMeRequest())


async def test_the_same_request_id_makes_one(teams: Teams) -> None:
    owner = await teams.person()
    request_id = str(uuid.uuid4())
    made = await owner("CreateOrganisation", display_name="Team", request_id=request_id)
    assert await owner("CreateOrganisation", display_name="Team", request_id=request_id) == made
    refused = await refusal_of(owner("CreateOrganisation", display_name="Other", request_id=request_id))
    assert (refused.reason, refused.metadata["org_id"]) == ("REQUEST_ID_REUSED", made.org_id)
    account = await owner("CreateServiceAccount", org_id=made.org_id, display_name="a", request_id=request_id)
    assert account == await owner("CreateServiceAccount", org_id=made.org_id, display_name="a", request_id=request_id)


async def test_members_are_listed_page_by_page(teams: Teams) -> None:
    owner, *others = [await teams.person() for _ in range(4)]
    org_id = await teams.team(owner, *((one, MEMBER) for one in others))
    seen, token = [], ""
    while True:
        page = await owner("ListMembers", org_id=org_id, page_size=2, page_token=token)
        seen += [one.user_id for one in page.members]
        token = page.next_page_token
        if not token:
            break
    assert seen == [owner.user_id, *(one.user_id for one in others)]
    other_team = await teams.team(owner)
    token = (await owner("ListMembers", org_id=org_id, page_size=1)).next_page_token
    assert await reason_of(owner("ListMembers", org_id=other_team, page_token=token)) == "PAGE_TOKEN_INVALID"


async def test_limits(place: Place, rows: asyncpg.Connection) -> None:
    with place.running(ORGANISATIONS_MAX=3, MEMBERS_MAX=2, SERVICE_ACCOUNTS_MAX=1) as service:
        async with client_of(service) as client, teams_of(service, client, rows) as teams:
            owner = await teams.person()
            results = await asyncio.gather(
                *(owner("CreateOrganisation", display_name="x") for _ in range(5)), return_exceptions=True
            )
            assert len([one for one in results if isinstance(one, pb.Organisation)]) == 2
            refused = [one for one in results if isinstance(one, MeshError)]
            assert {one.reason for one in refused} == {"ORGANISATION_LIMIT"}
            assert refused[0].quota
            org_id = (await owner("ListOrganisations")).organisations[-1].org_id
            await owner("InviteMember", org_id=org_id, email="a@example.test", role=MEMBER)
            await owner("InviteMember", org_id=org_id, email="a@example.test", role=MEMBER)
            full = owner("InviteMember", org_id=org_id, email="b@example.test", role=MEMBER)
            assert await reason_of(full) == "ORGANISATION_LIMIT"
            await owner("CreateServiceAccount", org_id=org_id, display_name="a")
            assert (
                await reason_of(owner("CreateServiceAccount", org_id=org_id, display_name="b")) == "ORGANISATION_LIMIT"
            )
            team = await teams.team(await teams.person())
            token = await teams.invitation(team, owner.session.user.email, MEMBER)
            assert await reason_of(owner("AcceptInvitation", token=token)) == "ORGANISATION_LIMIT"


async def test_nobody_owns_more_teams_than_one_may(place: Place, rows: asyncpg.Connection) -> None:
    with place.running(TEAMS_OWNED_MAX=1) as service:
        async with client_of(service) as client, teams_of(service, client, rows) as teams:
            person, other, third = await teams.person(), await teams.person(), await teams.person()
            made = await asyncio.gather(
                *(person("CreateOrganisation", display_name="x") for _ in range(4)), return_exceptions=True
            )
            assert len([one for one in made if isinstance(one, pb.Organisation)]) == 1
            refused = [one for one in made if isinstance(one, MeshError)]
            assert {one.reason for one in refused} == {"ORGANISATION_LIMIT"}
            assert refused[0].quota == (QuotaViolation(f"user:{person.user_id}", OWNED_LIMIT),)

            # Neither an invitation nor a new role is a way round it; as a member they may join.
            theirs, another = await teams.team(other), await teams.team(third)
            token = await teams.invitation(theirs, person.session.user.email, OWNER)
            assert await reason_of(person("AcceptInvitation", token=token)) == "ORGANISATION_LIMIT"
            await rows.execute("UPDATE invitations SET role = $2 WHERE org_id = $1", theirs, ADMIN)
            await person("AcceptInvitation", token=token)
            raised = other("SetMemberRole", org_id=theirs, user_id=person.user_id, role=OWNER)
            assert await reason_of(raised) == "ORGANISATION_LIMIT"

            # Two teams that make somebody an owner at once.
            both = await teams.person()
            for org_id in (theirs, another):
                token = await teams.invitation(org_id, both.session.user.email, MEMBER)
                await both("AcceptInvitation", token=token)
            raised_at_once = await asyncio.gather(
                other("SetMemberRole", org_id=theirs, user_id=both.user_id, role=OWNER),
                third("SetMemberRole", org_id=another, user_id=both.user_id, role=OWNER),
                return_exceptions=True,
            )
            assert sorted(getattr(one, "reason", "") for one in raised_at_once) == ["", "ORGANISATION_LIMIT"]


async def test_a_session_that_ended_switches_no_more(teams: Teams) -> None:
    owner: Teammate = await teams.person()
    org_id = await teams.team(owner)
    await owner.auth("DeleteSession", auth_pb2.DeleteSessionRequest())
    reasons = {await reason_of(owner("SwitchOrganisation", org_id=org_id))}
    assert reasons <= {"CREDENTIAL_REVOKED"}


async def test_switching_does_not_lengthen_the_life_of_an_access_token(teams: Teams) -> None:
    owner = await teams.person()
    org_id = await teams.team(owner)
    first = owner.session.access_expire_time.ToDatetime()
    for org in (org_id, owner.session.user.org_id, org_id):
        session = await owner("SwitchOrganisation", org_id=org)
        assert session.access_expire_time.ToDatetime() == first
        owner.auth = owner.auth.bearing(session.access_token)


async def test_a_session_whose_refresh_token_has_ended_switches_no_more(teams: Teams) -> None:
    owner = await teams.person()
    org_id = await teams.team(owner)
    await teams.rows.execute(
        "UPDATE sessions SET refresh_expire_time = now() WHERE session_id = $1", owner.session.session_id
    )
    assert await reason_of(owner("SwitchOrganisation", org_id=org_id)) == "CREDENTIAL_EXPIRED"


async def test_who_is_suspended_does_not_switch(teams: Teams) -> None:
    owner = await teams.person()
    org_id = await teams.team(owner)
    await teams.rows.execute(  # told to nobody, so that the switch itself has to see it
        "UPDATE users SET suspend_time = now() + interval '1 hour' WHERE user_id = $1", owner.user_id
    )
    assert await reason_of(owner("SwitchOrganisation", org_id=org_id)) == "SUSPENDED"


async def test_an_invitation_is_taken_by_who_proved_the_address_alone(teams: Teams) -> None:
    owner, invited = await teams.person(), await teams.person(proved=False)
    org_id = await teams.team(owner)
    token = await teams.invitation(org_id, invited.session.user.email, MEMBER)

    refused = await refusal_of(invited("AcceptInvitation", token=token))

    assert refused.reason == "LINK_INVALID"
    assert "SendVerification" in refused.message
    await teams.prove_address(invited)  # the invitation is still good
    assert (await invited("AcceptInvitation", token=token)).org_id == org_id


async def test_inviting_takes_a_new_proof(teams: Teams, client: Client) -> None:
    owner = await teams.person()
    org_id = await teams.team(owner)
    await teams.rows.execute(
        "UPDATE sessions SET auth_time = auth_time - interval '1 hour' WHERE session_id = $1", owner.session.session_id
    )
    owner.auth = client.bearing((await client.refresh(owner.session.refresh_token)).access_token)
    inviting = owner("InviteMember", org_id=org_id, email="d@example.test", role=MEMBER)
    assert await reason_of(inviting) == "STEP_UP_REQUIRED"


async def test_a_demoted_inviters_invitations_to_roles_above_theirs_end(teams: Teams) -> None:
    owner, other = await teams.person(), await teams.person()
    org_id = await teams.team(owner, (other, OWNER))
    for number, role in enumerate((OWNER, ADMIN, MEMBER)):
        await other("InviteMember", org_id=org_id, email=f"e{number}@example.test", role=role)
    await owner("InviteMember", org_id=org_id, email="f@example.test", role=OWNER)

    async def left() -> list[int]:
        query = "SELECT role FROM invitations WHERE org_id = $1 AND inviter_id = $2 ORDER BY role"
        return [row["role"] for row in await teams.rows.fetch(query, org_id, other.user_id)]

    await owner("SetMemberRole", org_id=org_id, user_id=other.user_id, role=ADMIN)
    assert await left() == [ADMIN, MEMBER]
    await owner("SetMemberRole", org_id=org_id, user_id=other.user_id, role=MEMBER)
    assert await left() == []
    assert await teams.rows.fetchval("SELECT count(*) FROM invitations WHERE org_id = $1", org_id) == 1


@pytest.mark.parametrize(
    ("inviter", "role", "good"), [(ADMIN, OWNER, False), (ADMIN, ADMIN, True), (MEMBER, MEMBER, False)]
)
async def test_who_may_no_longer_invite_to_a_role_lets_nobody_in(
    teams: Teams, inviter: int, role: int, good: bool
) -> None:
    owner, other, invited = [await teams.person() for _ in range(3)]
    org_id = await teams.team(owner, (other, inviter))
    token = await teams.invitation(org_id, invited.session.user.email, role)
    await teams.rows.execute("UPDATE invitations SET inviter_id = $2 WHERE org_id = $1", org_id, other.user_id)
    accepting = invited("AcceptInvitation", token=token)
    if good:
        assert (await accepting).role == role
    else:
        assert await reason_of(accepting) == "LINK_INVALID"

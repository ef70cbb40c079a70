"""What is kept of a person where their row does not stand: acts in the trail are sealed under their key, and
invitations and mails to their address go with them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
from promptmesh.auth.v1 import accounts_pb2
from promptmesh.auth.v1.audit_pb2 import ActRecorded
from promptmesh.events.v1.events_pb2 import Envelope

from tests.integration.auth.teams import MEMBER, Teams, teams_of
from tests.integration.auth.test_plans import PlanCalls
from tests.integration.auth.test_roles import new_admin
from tests.integration.auth.world import Client, Place
from tests.integration.support.service_process import ServiceProcess


@pytest.fixture
async def teams(service: ServiceProcess, client: Client, rows: asyncpg.Connection) -> AsyncIterator[Teams]:
    async with teams_of(service, client, rows) as teams:
        yield teams


async def told(rows: asyncpg.Connection, action: str, org_id: str) -> list[ActRecorded]:
    """What the trail is told of one kind of acts on an organisation."""
    found = []
    for row in await rows.fetch("SELECT envelope FROM outbox WHERE type LIKE '%ActRecorded' ORDER BY id"):
        act = ActRecorded.FromString(Envelope.FromString(row["envelope"]).payload)
        if act.record.action == action and act.record.subject.id == org_id:
            found.append(act)
    return found


async def test_acts_on_ones_own_organisation_are_under_ones_key(
    teams: Teams, service: ServiceProcess, client: Client, place: Place, tmp_path: Path, rows: asyncpg.Connection
) -> None:
    person = await teams.person()
    own, team = person.session.user.org_id, await teams.team(person)
    for org_id in (own, team):
        await person("UpdateOrganisation", org_id=org_id, display_name="Ada Lovelace and daughters")
    plans = PlanCalls(service, await new_admin(client, place, tmp_path, "personal@example.test"))
    for org_id in (own, team):
        await plans.set("pro", org_id=org_id)
    await plans.set("free", user_id=person.user_id)
    await plans.channel.close(None)

    owners = {
        org_id: {act.subject_user_id for act in await told(rows, "organisation.rename", org_id)}
        for org_id in (own, team)
    }
    assert owners == {own: {person.user_id}, team: {""}}  # a team's name is nobody's
    assert [act.subject_user_id for act in await told(rows, "organisation.set_plan", own)] == [person.user_id] * 2
    assert [act.subject_user_id for act in await told(rows, "organisation.set_plan", team)] == [""]


async def test_invitations_and_mails_to_whoever_goes_go_too(
    teams: Teams, client: Client, rows: asyncpg.Connection
) -> None:
    person, other, third = await teams.person(), await teams.person(), await teams.person()
    email = person.session.user.email
    org_id = await teams.team(other)
    await other("InviteMember", org_id=org_id, email=email.upper(), role=MEMBER)
    await other("InviteMember", org_id=org_id, email=third.session.user.email, role=MEMBER)
    document = json.loads((await person.auth("ExportMe", accounts_pb2.ExportMeRequest())).data)
    assert [(one["email"], one["org_id"]) for one in document["invitations"]] == [(email, org_id)]
    assert "digest" not in document["invitations"][0]

    await person.auth("DeleteMe", accounts_pb2.DeleteMeRequest())

    (left,) = (await other("ListInvitations", org_id=org_id)).invitations
    assert left.email == third.session.user.email
    mails = await rows.fetch("SELECT template FROM mails WHERE recipient = $1", email)
    assert {row["template"] for row in mails} <= {"account_deleted"}  # which goes once it is sent

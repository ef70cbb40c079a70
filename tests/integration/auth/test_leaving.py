"""What becomes of teams when a person's account goes, in the transaction of its deletion."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest
from promptmesh.auth.v1 import auth_pb2 as pb

from services.auth.main import SERVES
from services.auth.organisations.leaving import exported, leaving
from services.auth.store import SQL
from services.mesh.database import Database
from services.mesh.errors import MeshError
from services.mesh.events import Outbox
from tests.integration.auth.teams import MEMBER, OWNER, Teams, teams_of
from tests.integration.auth.world import Client, Place
from tests.integration.support.service_process import ServiceProcess


@pytest.fixture
async def teams(service: ServiceProcess, client: Client, rows: asyncpg.Connection) -> AsyncIterator[Teams]:
    async with teams_of(service, client, rows) as teams:
        yield teams


@pytest.fixture
async def database(place: Place) -> AsyncIterator[Database]:
    opened = await Database.open(
        place.environment["PROMPTMESH_DATABASE_URL"], schema="auth", application_name="test", serves=SERVES
    )
    yield opened
    await opened.close()


async def leave(database: Database, user_id: str) -> None:
    async with database.transaction() as conn:
        user = await conn.fetchrow(SQL["lock_user"], user_id)
        assert user is not None
        await leaving(Outbox("auth", 4))(conn, user)


async def test_whoever_goes_leaves_teams_and_ends_those_of_their_own(
    teams: Teams, database: Database, rows: asyncpg.Connection
) -> None:
    person, other = await teams.person(), await teams.person()
    alone, shared = await teams.team(person), await teams.team(other, (person, MEMBER))
    account = await person("CreateServiceAccount", org_id=alone, display_name="bot")
    request = pb.CreateApiKeyRequest(display_name="bot's", service_account_id=account.service_account_id)
    await person.auth("CreateApiKey", request)
    await (await person.acting_for(shared)).auth("CreateApiKey", pb.CreateApiKeyRequest(display_name="team's"))
    async with database.connection() as conn:
        user = await conn.fetchrow(SQL["user_by_id"], person.user_id)
        assert user is not None
        told = await exported(conn, user)
    assert isinstance(told, list)
    assert sorted(one["role"] for one in told) == ["member", "owner", "owner"]

    await leave(database, person.user_id)

    assert await rows.fetchval("SELECT count(*) FROM organisations WHERE org_id = $1", alone) == 0
    assert [one.user_id for one in (await other("ListMembers", org_id=shared)).members] == [other.user_id]
    live = "SELECT count(*) FROM api_keys WHERE org_id = ANY ($1) AND revoke_time IS NULL"
    assert await rows.fetchval(live, [alone, shared, person.session.user.org_id]) == 0


async def test_nothing_says_any_more_what_whoever_goes_made(
    teams: Teams, database: Database, rows: asyncpg.Connection
) -> None:
    person, other = await teams.person(), await teams.person()
    left, shared = await teams.team(person, (other, OWNER)), await teams.team(person, (other, OWNER))
    account = await person("CreateServiceAccount", org_id=left, display_name="bot")
    theirs = await other("CreateServiceAccount", org_id=shared, display_name="bot")
    await person("RemoveMember", org_id=left, user_id=person.user_id)

    await leave(database, person.user_id)

    made = "SELECT maker_id FROM service_accounts WHERE service_account_id = $1"
    assert await rows.fetchval(made, account.service_account_id) is None
    assert str(await rows.fetchval(made, theirs.service_account_id)) == other.user_id
    by_person = "SELECT count(*) FROM organisations WHERE maker_id = $1"
    assert await rows.fetchval(by_person, person.user_id) == 0
    assert {one.org_id for one in (await other("ListOrganisations")).organisations} >= {left, shared}


async def test_the_last_owner_of_others_cannot_go(teams: Teams, database: Database, rows: asyncpg.Connection) -> None:
    person, other = await teams.person(), await teams.person()
    alone, shared = await teams.team(person), await teams.team(person, (other, MEMBER))

    with pytest.raises(MeshError, match="LAST_OWNER"):
        await leave(database, person.user_id)

    assert await rows.fetchval("SELECT count(*) FROM organisations WHERE org_id = $1", alone) == 1, "all or nothing"
    await person("SetMemberRole", org_id=shared, user_id=other.user_id, role=OWNER)
    await leave(database, person.user_id)

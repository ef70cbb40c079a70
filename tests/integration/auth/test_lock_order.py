"""Calls that touch an organisation and a session or a key of it take their locks in one order.

Each test holds the organisation as a change of it does, lets the call come up to that, and then takes the lock of the
session or key, as that change does. A call that took these first would wait in a circle, which PostgreSQL ends by
failing one of the two.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from promptmesh.auth.v1 import auth_pb2 as pb
from promptmesh.auth.v1 import factors_pb2

from tests.integration.auth.teams import MEMBER, Teammate, Teams, teams_of
from tests.integration.auth.test_administration import asked
from tests.integration.auth.test_api_keys import make_key
from tests.integration.auth.test_roles import new_admin
from tests.integration.auth.waits import connected, until_waiting_for
from tests.integration.auth.world import PASSWORD, Client, Place
from tests.integration.support.service_process import ServiceProcess

HOLD = "SELECT FROM organisations WHERE org_id = $1 FOR NO KEY UPDATE"
HOLD_KEY = "SELECT FROM api_keys WHERE api_key_id = $1 FOR NO KEY UPDATE"
HOLD_SESSION = "SELECT FROM sessions WHERE session_id = $1 FOR NO KEY UPDATE"


@pytest.fixture
async def teams(service: ServiceProcess, client: Client, rows: asyncpg.Connection) -> AsyncIterator[Teams]:
    async with teams_of(service, client, rows) as teams:
        yield teams


@pytest.fixture
async def member(teams: Teams) -> tuple[Teammate, str]:
    """A member of a team, who acts for it."""
    owner, member = await teams.person(), await teams.person()
    org_id = await teams.team(owner, (member, MEMBER))
    return await member.acting_for(org_id), org_id


async def while_held(place: Place, org_id: str, then: str, row_id: str, call: Callable[[], Awaitable[Any]]) -> Any:
    """The answer of a call that comes while an organisation is held, by somebody who takes another row after it."""
    async with connected(place) as holder, connected(place) as watcher:
        async with holder.transaction():
            await holder.execute(HOLD, org_id)
            calling = asyncio.ensure_future(call())
            await until_waiting_for(watcher, holder)
            await holder.execute(then, row_id)  # DeadlockDetectedError where the call holds it and waits for us
        return await calling


async def test_a_refresh(member: tuple[Teammate, str], place: Place, client: Client) -> None:
    person, org_id = member
    session = person.session
    answered = await while_held(
        place, org_id, HOLD_SESSION, session.session_id, lambda: client.refresh(session.refresh_token)
    )
    assert answered.org_id == org_id


async def test_a_confirmation(member: tuple[Teammate, str], place: Place) -> None:
    person, org_id = member
    request = factors_pb2.ConfirmSessionRequest()
    request.proof.password = PASSWORD
    answered = await while_held(
        place, org_id, HOLD_SESSION, person.session.session_id, lambda: person.auth("ConfirmSession", request)
    )
    assert answered.org_id == org_id


async def test_a_revocation_of_a_key(member: tuple[Teammate, str], place: Place) -> None:
    person, org_id = member
    key_id = (await make_key(person.auth)).api_key.api_key_id
    request = pb.RevokeApiKeyRequest(api_key_id=key_id)
    answered = await while_held(place, org_id, HOLD_KEY, key_id, lambda: person.auth("RevokeApiKey", request))
    assert answered.HasField("revoke_time")


async def test_a_rotation_of_a_key(member: tuple[Teammate, str], place: Place) -> None:
    person, org_id = member
    key_id = (await make_key(person.auth)).api_key.api_key_id
    request = pb.RotateApiKeyRequest(api_key_id=key_id)
    answered = await while_held(place, org_id, HOLD_KEY, key_id, lambda: person.auth("RotateApiKey", request))
    assert answered.api_key.api_key_id == key_id


async def test_a_revocation_of_all_keys(
    member: tuple[Teammate, str], place: Place, client: Client, tmp_path: Path
) -> None:
    person, org_id = member
    admin = await new_admin(client, place, tmp_path, "locks@example.test")
    key_id = (await make_key(person.auth)).api_key.api_key_id
    request = asked("RevokeApiKeys", person.user_id)
    answered = await while_held(place, org_id, HOLD_KEY, key_id, lambda: admin("RevokeApiKeys", request))
    assert answered.revoked == 1


async def test_a_revocation_of_all_keys_of_an_owner_of_another_team(
    member: tuple[Teammate, str], teams: Teams, place: Place, client: Client, tmp_path: Path
) -> None:
    """The team that they own has the later id, so that it is locked after the one that their key acts for."""
    person, org_id = member
    admin = await new_admin(client, place, tmp_path, "locks-2@example.test")
    await make_key(person.auth)
    owned = await teams.team(person)
    assert owned > org_id
    request = asked("RevokeApiKeys", person.user_id)
    answered = await while_held(place, org_id, HOLD, owned, lambda: admin("RevokeApiKeys", request))
    assert answered.revoked == 1


async def test_members_go_while_they_refresh_and_revoke(teams: Teams, client: Client, rows: asyncpg.Connection) -> None:
    """As it comes: nothing fails but what the removal ends."""
    owner = await teams.person()
    people = [await teams.person() for _ in range(4)]
    org_id = await teams.team(owner, *((person, MEMBER) for person in people))
    acting = [await person.acting_for(org_id) for person in people]
    keys = [[await make_key(person.auth) for _ in range(3)] for person in acting]
    calls: list[Awaitable[Any]] = []
    for person, made in zip(acting, keys, strict=True):
        calls.append(client.refresh(person.session.refresh_token))
        calls += [
            person.auth("RevokeApiKey", pb.RevokeApiKeyRequest(api_key_id=one.api_key.api_key_id)) for one in made
        ]
        calls.append(owner("RemoveMember", org_id=org_id, user_id=person.user_id))
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    reasons = {getattr(one, "reason", "") for one in outcomes}
    assert reasons <= {"", "CREDENTIAL_REVOKED"}
    live = "SELECT count(*) FROM api_keys WHERE org_id = $1 AND revoke_time IS NULL"
    assert await rows.fetchval(live, org_id) == 0
    open_sessions = "SELECT count(*) FROM sessions WHERE org_id = $1 AND end_time IS NULL"
    assert await rows.fetchval(open_sessions, org_id) == 0

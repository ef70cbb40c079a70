"""Suspension, log-out by others and step-up through the edge: every service's next call knows, streams end."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from services.local.testing import LocalMesh
from tests.mesh.client import PATIENCE_S, Client, Json, eventually
from tests.mesh.conftest import NewPerson
from tests.mesh.errors import fault_of
from tests.mesh.people import PASSWORD, Person, log_in
from tests.mesh.test_credentials import WAYS

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]

SCOPES = ["posts:read", "posts:write", "inference:invoke", "moderation:screen"]
WHY = "They sell likes."


async def suspend(admin: Person, person: Person, for_s: float = 3600.0) -> None:
    until = (datetime.now(UTC) + timedelta(seconds=for_s)).isoformat()
    body = {"expireTime": until, "reason": WHY}
    (await admin.ask("POST", f"/api/v1/users/{person.user_id}:suspend", body)).ok()


async def told_everywhere(client: Client, tokens: list[str], reason: str) -> None:
    """Waits until every service refuses the tokens so; "" is: takes them."""

    async def told() -> bool:
        answers = [await client.ask(*way, token=token) for way in WAYS for token in tokens]
        return all((fault_of(one).reason if one.status >= 400 else "") == reason for one in answers)

    await eventually(f"every service says {reason or 'yes'}", told)


async def test_a_suspension_reaches_every_service_and_ends_streams(
    new_person: NewPerson, admin: Person, client: Client
) -> None:
    person = await new_person()
    key = await person.api_key(*SCOPES)
    async with person.watch("/api/v1/feed:watch") as by_token, client.watch("/api/v1/feed:watch", token=key) as by_key:
        await by_token.first()
        await by_key.first()
        await suspend(admin, person)
        async with asyncio.timeout(PATIENCE_S):
            for stream in (by_token, by_key):
                last: Json = {}
                while (message := await stream.next()) is not None:
                    last = message
                assert last["done"]["reason"] == "WATCH_END_CREDENTIAL_ENDED"
    await told_everywhere(client, [person.token, key], "SUSPENDED")
    refresh = {"refreshToken": person.refresh_token}
    assert fault_of(await client.ask("POST", "/api/v1/sessions:refresh", refresh)).brief == (
        "PERMISSION_DENIED",
        "SUSPENDED",
    )
    for password, reason in ((PASSWORD, "SUSPENDED"), ("another password", "LOGIN_FAILED")):
        answer = await client.ask("POST", "/api/v1/sessions", {"email": person.email, "password": password})
        assert fault_of(answer).reason == reason
    (await admin.ask("POST", f"/api/v1/users/{person.user_id}:restore", {"reason": "A mistake."})).ok()
    await told_everywhere(client, [person.token, key], "")
    (await client.ask("POST", "/api/v1/sessions:refresh", refresh)).ok()


async def test_a_suspension_comes_off_by_itself_everywhere(
    new_person: NewPerson, admin: Person, client: Client
) -> None:
    person = await new_person()
    await suspend(admin, person, for_s=5.0)
    await told_everywhere(client, [person.token], "SUSPENDED")
    await told_everywhere(client, [person.token], "")


async def test_sessions_ended_by_their_owner_and_by_an_admin_are_refused_everywhere(
    new_person: NewPerson, admin: Person, client: Client
) -> None:
    person = await new_person()
    other = await log_in(client, person.email, PASSWORD)
    sessions = (await person.ask("GET", "/api/v1/sessions")).ok()["sessions"]
    assert [one["current"] for one in sessions] == [False, True]
    assert {one["device"] for one in sessions} == {"Python program"}
    assert all(one["network"] for one in sessions)
    (await person.ask("DELETE", f"/api/v1/sessions/{sessions[0]['sessionId']}", None)).ok()
    await told_everywhere(client, [other.token], "CREDENTIAL_REVOKED")
    third = await log_in(client, person.email, PASSWORD)
    assert (await person.ask("POST", "/api/v1/sessions:revokeOthers", {})).ok() == {"ended": 1}
    await told_everywhere(client, [third.token], "CREDENTIAL_REVOKED")
    ended = await admin.ask("POST", f"/api/v1/users/{person.user_id}:endSessions", {"reason": WHY})
    assert ended.ok() == {"ended": 1}
    await told_everywhere(client, [person.token], "CREDENTIAL_REVOKED")


async def test_all_keys_of_a_person_are_refused_everywhere(
    new_person: NewPerson, admin: Person, client: Client
) -> None:
    person = await new_person()
    keys = [await person.api_key(*SCOPES) for _ in range(2)]
    await told_everywhere(client, keys, "")
    body = {"reason": WHY}
    assert (await admin.ask("POST", f"/api/v1/users/{person.user_id}:revokeApiKeys", body)).ok() == {"revoked": 2}
    await told_everywhere(client, keys, "CREDENTIAL_REVOKED")


async def test_an_old_proof_is_confirmed_through_the_edge(
    new_person: NewPerson, client: Client, mesh: LocalMesh
) -> None:
    person = await new_person()
    connection = await asyncpg.connect(mesh.database_url())
    try:
        await connection.execute(
            "UPDATE auth.sessions SET auth_time = auth_time - interval '2 h' WHERE user_id = $1", person.user_id
        )
    finally:
        await connection.close()
    refresh = {"refreshToken": person.refresh_token}
    person.token = (await client.ask("POST", "/api/v1/sessions:refresh", refresh)).ok()["accessToken"]
    make = ("POST", "/api/v1/apiKeys", {"displayName": "key"})
    fault = fault_of(await person.ask(*make))
    assert fault.brief == ("PERMISSION_DENIED", "STEP_UP_REQUIRED")
    assert int(fault.metadata["max_age_s"]) < 7200
    confirm = "/api/v1/sessions/current:confirm"
    wrong = await person.ask("POST", confirm, {"proof": {"password": "another password"}})
    assert fault_of(wrong).brief == ("UNAUTHENTICATED", "PROOF_WRONG")
    right = (await person.ask("POST", confirm, {"proof": {"password": PASSWORD}})).ok()
    assert not right["refreshToken"]
    person.token = right["accessToken"]
    assert (await person.ask(*make)).ok()["secret"]

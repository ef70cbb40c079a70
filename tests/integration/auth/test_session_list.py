"""ListSessions, RevokeSession, RevokeOtherSessions, and how long sessions last."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import asyncpg
import jwt
import pytest
from promptmesh.auth.v1 import accounts_pb2 as accounts
from promptmesh.auth.v1 import auth_pb2 as pb

from services.mesh.ids import uuid7
from tests.integration.auth.world import Client, Place, client_of, later, reason_of, until_refused

DAY_S = 86_400


async def listed(person: Client, **more: object) -> accounts.ListSessionsResponse:
    found: accounts.ListSessionsResponse = await person("ListSessions", accounts.ListSessionsRequest(**more))
    return found


async def test_a_session_tells_its_device_its_network_and_its_times(client: Client, rows: asyncpg.Connection) -> None:
    session, person = await client.somebody()
    [one] = (await listed(person)).sessions
    assert (one.session_id, one.current, list(one.methods)) == (session.session_id, True, ["password"])
    assert (one.device, one.network) == ("gRPC program", "127.0.0.0/24")
    assert one.last_use_time == one.create_time
    assert one.end_time == session.end_time
    assert one.end_time.seconds - one.create_time.seconds == 30 * DAY_S
    assert one.idle_expire_time == session.refresh_expire_time
    assert one.idle_expire_time.seconds - one.create_time.seconds == 14 * DAY_S
    await rows.execute("UPDATE sessions SET device = '', network = '' WHERE session_id = $1", session.session_id)
    refreshed = await client.refresh(session.refresh_token)
    [again] = (await listed(person)).sessions
    assert (again.device, again.network) == ("gRPC program", "127.0.0.0/24")
    assert again.last_use_time.ToNanoseconds() > again.create_time.ToNanoseconds()
    assert again.idle_expire_time == refreshed.refresh_expire_time
    assert again.end_time == one.end_time == refreshed.end_time


async def test_the_last_used_comes_first_and_pages_hold_each_once(client: Client) -> None:
    user = await client.register()
    sessions = [await client.log_in(user.email) for _ in range(5)]
    await client.refresh(sessions[1].refresh_token)
    person = client.bearing(sessions[0].access_token)
    order = [sessions[number].session_id for number in (1, 4, 3, 2, 0)]
    assert [one.session_id for one in (await listed(person)).sessions] == order
    found, token = [], ""
    while True:
        page = await listed(person, page_size=2, page_token=token)
        assert len(page.sessions) <= 2
        found += [one.session_id for one in page.sessions]
        token = page.next_page_token
        if not token:
            break
    assert found == order
    _, stranger = await client.somebody()
    first = await listed(person, page_size=2)
    assert await reason_of(listed(stranger, page_token=first.next_page_token)) == "PAGE_TOKEN_INVALID"


async def test_what_is_over_is_not_listed(client: Client, rows: asyncpg.Connection) -> None:
    user = await client.register()
    sessions = [await client.log_in(user.email) for _ in range(4)]
    person = client.bearing(sessions[0].access_token)
    await client.bearing(sessions[1].access_token)("DeleteSession", pb.DeleteSessionRequest())
    await rows.execute("UPDATE sessions SET refresh_expire_time = now() WHERE session_id = $1", sessions[2].session_id)
    await rows.execute(
        "UPDATE sessions SET create_time = now() - interval '30 days' WHERE session_id = $1", sessions[3].session_id
    )
    assert [one.session_id for one in (await listed(person)).sessions] == [sessions[0].session_id]


async def test_one_is_revoked_at_once_and_only_by_its_owner(client: Client, rows: asyncpg.Connection) -> None:
    user = await client.register()
    here, there = await client.log_in(user.email), await client.log_in(user.email)
    person, other = client.bearing(here.access_token), client.bearing(there.access_token)
    _, stranger = await client.somebody()
    revoke = accounts.RevokeSessionRequest(session_id=there.session_id)
    assert await reason_of(stranger("RevokeSession", revoke)) == "SESSION_NOT_FOUND"
    nobodys = accounts.RevokeSessionRequest(session_id=uuid7())
    assert await reason_of(person("RevokeSession", nobodys)) == "SESSION_NOT_FOUND"
    assert await reason_of(person("RevokeSession", accounts.RevokeSessionRequest(session_id="x"))) == "INVALID_FIELD"
    await other("GetMe", pb.GetMeRequest())
    for _ in range(2):  # again changes nothing
        await person("RevokeSession", revoke)
    await until_refused(other)
    assert await reason_of(client.refresh(there.refresh_token)) == "CREDENTIAL_REVOKED"
    await person("GetMe", pb.GetMeRequest())
    acts = await rows.fetch(
        "SELECT 1 FROM outbox WHERE type LIKE '%SessionEnded' AND aggregate_id = $1", there.session_id
    )
    assert len(acts) == 1


async def test_all_others_are_revoked_and_log_ins_meanwhile_are_either_revoked_or_later(client: Client) -> None:
    user = await client.register()
    here = await client.log_in(user.email)
    person = client.bearing(here.access_token)
    others = [await client.log_in(user.email) for _ in range(3)]
    opened, answer = await asyncio.gather(
        asyncio.gather(*(client.log_in(user.email) for _ in range(4))),
        person("RevokeOtherSessions", accounts.RevokeOtherSessionsRequest()),
    )
    left = {one.session_id for one in (await listed(person)).sessions}
    assert here.session_id in left
    assert not left & {one.session_id for one in others}
    assert answer.ended == 3 + len([one for one in opened if one.session_id not in left])
    for one in others:
        await until_refused(client.bearing(one.access_token))
    assert (await person("RevokeOtherSessions", accounts.RevokeOtherSessionsRequest())).ended == len(left) - 1
    assert (await client.refresh(here.refresh_token)).session_id == here.session_id


async def test_an_api_key_sees_no_sessions(client: Client) -> None:
    _, person = await client.somebody()
    key = client.bearing((await person("CreateApiKey", pb.CreateApiKeyRequest(display_name="key"))).secret)
    assert await reason_of(listed(key)) == "AUDIENCE_MISMATCH"


async def test_no_refresh_moves_a_sessions_end(client: Client, rows: asyncpg.Connection) -> None:
    session, _ = await client.somebody()
    # As if opened 30 days ago less five minutes: both tokens end with the session.
    age = timedelta(days=30) - timedelta(minutes=5)
    await rows.execute(
        "UPDATE sessions SET create_time = create_time - $2::interval WHERE session_id = $1", session.session_id, age
    )
    last = await client.refresh(session.refresh_token)
    assert last.end_time == last.refresh_expire_time == last.access_expire_time
    assert last.end_time.ToDatetime(UTC) < datetime.now(UTC) + timedelta(minutes=5)
    claims = jwt.decode(last.access_token, options={"verify_signature": False})
    assert claims["exp"] == pytest.approx(last.end_time.ToNanoseconds() / 1e9)
    await later(rows, session.session_id)
    await rows.execute(
        "UPDATE sessions SET create_time = create_time - interval '5 min' WHERE session_id = $1", session.session_id
    )
    assert await reason_of(client.refresh(last.refresh_token)) == "CREDENTIAL_EXPIRED"


async def test_a_thief_in_step_with_the_owner_is_out_when_the_session_ends(client: Client, place: Place) -> None:
    """Both refresh within the window of one another, which no reuse detection sees; the session's end does."""
    with place.running(WORKER="short-0", SESSION_LIFETIME_S=2, REFRESH_REUSE_S=300) as process:
        async with client_of(process) as short:
            session, _ = await short.somebody()
            owner = thief = session.refresh_token
            refused: set[str] = set()
            while len(refused) == 0:
                results = await asyncio.gather(short.refresh(owner), short.refresh(thief), return_exceptions=True)
                refused = {getattr(one, "reason", "") for one in results if isinstance(one, Exception)}
                owner, thief = (one.refresh_token if isinstance(one, pb.Session) else "" for one in results)
            assert refused == {"CREDENTIAL_EXPIRED"}

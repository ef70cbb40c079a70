"""A refresh whose answer was lost: for some seconds its token is answered as before, then it ends its session."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest
from promptmesh.auth.v1 import auth_pb2 as pb

from services.mesh.errors import MeshError
from tests.integration.auth.world import Client, Place, client_of, later, reason_of, until_refused

REVOKED = "CREDENTIAL_REVOKED"


async def test_who_asks_at_once_with_one_token_gets_one_successor(client: Client, rows: asyncpg.Connection) -> None:
    session, _ = await client.somebody()
    answers = await asyncio.gather(*(client.refresh(session.refresh_token) for _ in range(8)))
    assert {one.session_id for one in answers} == {session.session_id}
    [successor] = {one.refresh_token for one in answers}
    assert successor != session.refresh_token
    assert len({one.access_token for one in answers}) == len(answers)  # each with roles as they are now
    ends = await rows.fetchval("SELECT access_expire_time FROM sessions WHERE session_id = $1", session.session_id)
    # None of them outlives what watchers would be told at the session's end.
    assert max(one.access_expire_time.ToMicroseconds() for one in answers) <= round(ends.timestamp() * 1e6) + 1
    assert {one.refresh_expire_time.ToMicroseconds() for one in answers} == {
        answers[0].refresh_expire_time.ToMicroseconds()
    }
    await later(rows, session.session_id)
    assert (await client.refresh(successor)).refresh_token != successor


async def test_within_the_window_nothing_is_two_tokens_behind(client: Client) -> None:
    first, _ = await client.somebody()
    second = await client.refresh(first.refresh_token)
    assert (await client.refresh(second.refresh_token)).refresh_token == second.refresh_token
    # Sent before all that, and late.
    assert (await client.refresh(first.refresh_token)).refresh_token == second.refresh_token


async def test_after_the_window_the_used_token_ends_the_session(client: Client, rows: asyncpg.Connection) -> None:
    first, person = await client.somebody()
    second = await client.refresh(first.refresh_token)
    await later(rows, first.session_id, 9.0)
    assert (await client.refresh(first.refresh_token)).refresh_token == second.refresh_token
    await later(rows, first.session_id, 1.0)
    assert await reason_of(client.refresh(first.refresh_token)) == REVOKED
    assert await reason_of(client.refresh(second.refresh_token)) == REVOKED
    await until_refused(person)


async def test_being_answered_again_makes_the_window_no_longer(client: Client, rows: asyncpg.Connection) -> None:
    first, _ = await client.somebody()
    for _ in range(3):
        await client.refresh(first.refresh_token)
        await later(rows, first.session_id, 3.0)
    await later(rows, first.session_id, 1.0)
    assert await reason_of(client.refresh(first.refresh_token)) == REVOKED


async def test_a_thief_within_the_window_is_found_out_by_the_next_use_after_it(
    client: Client, rows: asyncpg.Connection
) -> None:
    stolen, _ = await client.somebody()
    owners = await client.refresh(stolen.refresh_token)
    thiefs = await client.refresh(stolen.refresh_token)
    await later(rows, stolen.session_id)
    await client.refresh(thiefs.refresh_token)
    await later(rows, stolen.session_id)
    assert await reason_of(client.refresh(owners.refresh_token)) == REVOKED


async def test_a_token_two_behind_ends_the_session_window_or_not(client: Client, rows: asyncpg.Connection) -> None:
    first, _ = await client.somebody()
    second = await client.refresh(first.refresh_token)
    await later(rows, first.session_id)
    await client.refresh(second.refresh_token)
    assert await reason_of(client.refresh(first.refresh_token)) == REVOKED
    assert await reason_of(client.refresh(second.refresh_token)) == REVOKED


async def test_an_ended_session_is_not_answered_again(client: Client) -> None:
    first, person = await client.somebody()
    await client.refresh(first.refresh_token)
    await person("DeleteSession", pb.DeleteSessionRequest())
    assert await reason_of(client.refresh(first.refresh_token)) == REVOKED


async def test_an_expired_successor_is_not_answered_again(client: Client, rows: asyncpg.Connection) -> None:
    first, _ = await client.somebody()
    await client.refresh(first.refresh_token)
    await rows.execute("UPDATE sessions SET refresh_expire_time = now() WHERE session_id = $1", first.session_id)
    assert await reason_of(client.refresh(first.refresh_token)) == "CREDENTIAL_EXPIRED"


async def test_without_a_window_exactly_one_of_two_wins(place: Place) -> None:
    with place.running(REFRESH_REUSE_S=0) as strict:
        async with client_of(strict) as client:
            for _ in range(5):
                session, _ = await client.somebody()
                results = await asyncio.gather(
                    *(client.refresh(session.refresh_token) for _ in range(2)), return_exceptions=True
                )
                won = [one for one in results if isinstance(one, pb.Session)]
                lost = [one for one in results if isinstance(one, MeshError)]
                assert len(won) == 1
                assert [one.reason for one in lost] == [REVOKED]
                assert await reason_of(client.refresh(won[0].refresh_token)) == REVOKED


@pytest.mark.parametrize("window_s", ["-1", "301"])
def test_limits_of_the_window(place: Place, window_s: str) -> None:
    with pytest.raises(AssertionError, match="PROMPTMESH_REFRESH_REUSE_S"), place.running(REFRESH_REUSE_S=window_s):
        pass


async def test_successors_are_kept_nowhere(client: Client, rows: asyncpg.Connection) -> None:
    first, _ = await client.somebody()
    second = await client.refresh(first.refresh_token)
    row = repr(dict(await rows.fetchrow("SELECT * FROM sessions WHERE session_id = $1", first.session_id) or {}))
    for token in (first.refresh_token, second.refresh_token):
        assert token not in row

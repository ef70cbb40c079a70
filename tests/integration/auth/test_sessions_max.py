"""A person has no more open sessions than they may: one more log-in ends the one that was not used for the longest."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import asyncpg
import pytest

from tests.integration.auth.world import Client, Place, acts_of, client_of, later, until_refused
from tests.integration.support.service_process import ServiceProcess

MAX = 3
LIVE = "SELECT session_id FROM sessions WHERE user_id = $1 AND end_time IS NULL"


@pytest.fixture(scope="module")
def service(place: Place) -> Iterator[ServiceProcess]:
    with place.running(SESSIONS_PER_USER_MAX=MAX) as process:
        yield process


@pytest.fixture
async def client(service: ServiceProcess) -> AsyncIterator[Client]:
    async with client_of(service) as client:
        yield client


async def live(rows: asyncpg.Connection, user_id: str) -> set[str]:
    return {str(row["session_id"]) for row in await rows.fetch(LIVE, user_id)}


async def test_the_least_recently_used_one_ends(client: Client, rows: asyncpg.Connection) -> None:
    user = await client.register()
    first, second, third = [await client.log_in(user.email) for _ in range(MAX)]
    assert await live(rows, user.user_id) == {one.session_id for one in (first, second, third)}
    await client.refresh(first.refresh_token)  # used after the two others

    fourth = await client.log_in(user.email)

    assert await live(rows, user.user_id) == {one.session_id for one in (first, third, fourth)}
    await until_refused(client.bearing(second.access_token))
    (act,) = [act for act in await acts_of(rows, second.session_id) if act.action == "session.end"]
    assert (act.actor.id, act.reason) == ("", f"the least recently used of more than {MAX}")


async def test_those_that_are_over_do_not_count(client: Client, rows: asyncpg.Connection) -> None:
    user = await client.register()
    first, second, third = [await client.log_in(user.email) for _ in range(MAX)]
    await later(rows, first.session_id)
    await rows.execute(
        "UPDATE sessions SET refresh_expire_time = now() - interval '1 s' WHERE session_id = $1", second.session_id
    )
    fourth = await client.log_in(user.email)
    assert await live(rows, user.user_id) == {one.session_id for one in (first, second, third, fourth)}


async def test_log_ins_at_once(client: Client, rows: asyncpg.Connection) -> None:
    user = await client.register()
    sessions = await asyncio.gather(*(client.log_in(user.email) for _ in range(3 * MAX)))
    left = await live(rows, user.user_id)
    assert len(left) == MAX
    assert left < {one.session_id for one in sessions}


async def test_other_people_keep_theirs(client: Client, rows: asyncpg.Connection) -> None:
    one, other = await client.register(), await client.register()
    session = await client.log_in(other.email)
    for _ in range(MAX + 1):
        await client.log_in(one.email)
    assert await live(rows, other.user_id) == {session.session_id}

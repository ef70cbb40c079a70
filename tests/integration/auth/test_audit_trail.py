"""The trail in a real PostgreSQL: appended by many, tampered with, erased, trimmed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
from promptmesh.auth.v1 import events_pb2

from services.auth.audit.chain import Link
from services.auth.audit.personal import PersonKeys
from services.auth.audit.reading import Query, TrailReader
from services.auth.audit.retention import Retention
from services.auth.audit.trail import Acts, Trail
from services.mesh.database.partitions import maintain_once, utc_now
from services.mesh.events import Event
from services.mesh.sealing import Sealer
from tests.integration.auth.audit_world import ADA, BOB, SECRET, TrailWorld, act, trail_world


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[TrailWorld]:
    async with trail_world(database_url) as opened:
        yield opened


async def test_many_writers_make_one_chain(world: TrailWorld) -> None:
    writers = [Trail(world.keys) for _ in range(4)]

    async def write(trail: Trail) -> None:
        for _ in range(5):
            async with world.database.transaction() as conn:
                await trail.take(conn, [act(), act("session.create")])

    await asyncio.gather(*(write(trail) for trail in writers))

    found = await world.verify()
    assert (found.holds, found.records, found.head.sequence) == (True, 40, 40)


async def test_a_record_reads_as_it_was_told(world: TrailWorld) -> None:
    told = act()
    head = await world.append(told)

    [record], more = await world.reader.page(Query(), None, 50)
    expected = told.told.record
    expected.sequence, expected.hash = 1, head.hash.hex()
    assert record.act_time.ToMicroseconds() == expected.act_time.ToMicroseconds()  # as exact as PostgreSQL keeps it
    expected.act_time.CopyFrom(record.act_time)
    assert (record, more) == (expected, None)


async def test_nothing_that_names_a_person_stands_in_the_clear(world: TrailWorld) -> None:
    await world.append(act(reason="a reason to be found"))

    rows = await world.superuser.fetch(
        "SELECT r::text FROM audit_records r UNION SELECT k::text FROM audit_person_keys k"
    )
    dump = "".join(row[0] for row in rows)
    for text in ("name of", "203.0.113.7", "a reason to be found", "suspended"):
        assert text not in dump
        assert text.encode().hex() not in dump


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_records SET action = 'x'",
        "DELETE FROM audit_records",
        "TRUNCATE audit_records",
        "UPDATE {day} SET action = 'x'",
        "DELETE FROM {day}",
        "TRUNCATE {day}",
        "DELETE FROM audit_checkpoints",
        "INSERT INTO audit_records SELECT * FROM audit_records",  # the id is there already
    ],
)
@pytest.mark.parametrize("as_superuser", [False, True])
async def test_the_trail_is_append_only_in_the_database_itself(
    world: TrailWorld, statement: str, as_superuser: bool
) -> None:
    await world.append(act())
    await world.superuser.execute("INSERT INTO audit_checkpoints VALUES (1, decode(repeat('00', 32), 'hex'))")
    statement = statement.format(day=f"audit_records_{datetime.now(UTC):%Y%m%d}")
    refused = (asyncpg.InsufficientPrivilegeError, asyncpg.UniqueViolationError)

    async def run() -> None:
        if as_superuser:
            await world.superuser.execute(statement)
            return
        async with world.database.connection() as conn:
            await conn.execute(statement)

    with pytest.raises(refused):
        await run()


async def test_no_record_is_in_no_day(world: TrailWorld) -> None:
    """The kit would move it from the default partition, which nothing may."""
    ahead_ms = int((utc_now() + timedelta(days=30)).timestamp() * 1000)
    async with world.database.transaction() as conn:
        await Trail(world.keys, time_ms=lambda: ahead_ms).take(conn, [act()])
    await world.append(act())

    assert await world.superuser.fetchval("SELECT count(*) FROM audit_records_default") == 0
    assert await maintain_once(world.database, utc_now() + timedelta(days=30)) is not None
    found = await world.verify()
    assert (found.holds, found.records) == (True, 2)  # the clock came back; the order stayed


@pytest.mark.parametrize(
    ("tampering", "broken", "says"),
    [
        ("UPDATE audit_records SET action = 'user.praise' WHERE sequence = 3", 3, "changed"),
        ("UPDATE audit_records SET act_time = act_time - interval '1 microsecond' WHERE sequence = 3", 3, "changed"),
        ("UPDATE audit_records SET subject_sealed = actor_sealed WHERE sequence = 4", 4, "changed"),
        ("UPDATE audit_records SET hash = sha256('forged') WHERE sequence = 5", 5, "changed"),
        ("DELETE FROM audit_records WHERE sequence = 2", 2, "not there"),
        ("DELETE FROM audit_records WHERE sequence = 1", 1, "not there"),
        ("UPDATE audit_records SET sequence = 7 - sequence WHERE sequence IN (3, 4)", 3, "not there"),
        ("DELETE FROM audit_records WHERE sequence > 4", 5, "its head was 6"),
        ("UPDATE audit_head SET hash = sha256('forged')", 7, "another hash"),
        ("INSERT INTO audit_checkpoints SELECT 2, hash FROM audit_records WHERE sequence = 2", 3, "in its place is 1"),
    ],
)
async def test_tampering_is_found_at_the_first_broken_record(
    world: TrailWorld, tampering: str, broken: int, says: str
) -> None:
    await world.append(*(act(f"user.act_{number}") for number in "abcdef"))
    await world.tamper(tampering)

    found = await world.verify()

    assert (found.holds, found.broken_sequence) == (False, broken)
    assert says in found.fault


async def test_contents_that_changed_places_are_found(world: TrailWorld) -> None:
    await world.append(*(act(f"user.act_{number}") for number in "abcdef"))
    await world.tamper(
        "UPDATE audit_records r SET action = o.action, event_id = o.event_id, hash = o.hash FROM audit_records o "
        "WHERE r.sequence IN (2, 5) AND o.sequence = 7 - r.sequence"
    )

    assert (await world.verify()).broken_sequence == 2


async def test_an_end_cut_off_with_its_head_is_found_only_by_what_was_kept(world: TrailWorld) -> None:
    kept = await world.append(*(act() for _ in range(6)))
    await world.tamper("DELETE FROM audit_records WHERE sequence > 4")
    await world.tamper(
        "UPDATE audit_head SET (sequence, id, hash) = (SELECT sequence, id, hash FROM audit_records WHERE sequence = 4)"
    )

    assert (await world.verify()).holds  # nothing in the database tells of more
    found = await world.verify(kept)
    assert (found.holds, found.broken_sequence) == (False, 5)
    assert "cut off" in found.fault
    await world.append(act(), act())  # as if nothing had been
    assert (await world.verify()).holds
    assert (await world.verify(kept)).broken_sequence == 6


async def test_a_cut_start_is_told_from_retention(world: TrailWorld) -> None:
    """Even where the cut was given a checkpoint: no record of the chain says that retention made it."""
    await world.append(*(act() for _ in range(6)))
    await world.tamper("INSERT INTO audit_checkpoints SELECT 2, hash FROM audit_records WHERE sequence = 2")
    await world.tamper("DELETE FROM audit_records WHERE sequence <= 2")

    found = await world.verify()

    assert (found.holds, found.broken_sequence) == (False, 3)
    assert "retention" in found.fault


async def test_erasure_shreds_a_person_and_the_chain_holds(world: TrailWorld) -> None:
    head = await world.append(act(), act("user.rename", actor=BOB, subject=BOB), act(actor=ADA, subject=ADA))
    await world.erase(BOB)

    found = await world.verify(head)
    assert (found.holds, found.records) == (True, 3)
    (own, renamed, suspended), _ = await world.reader.page(Query(), None, 50)
    assert (own.erased, own.reason) == (False, "spam")
    assert (renamed.erased, renamed.actor.name, renamed.address, renamed.change) == (True, "", "", "")
    assert renamed.actor.id == BOB  # who did what stays, under a pseudonym
    assert suspended.erased
    assert (suspended.subject.name, suspended.reason, suspended.change) == ("", "", "")
    assert (suspended.actor.name, suspended.address) == (f"name of {ADA}", "203.0.113.7")


async def test_what_comes_after_an_erasure_is_unreadable_at_once(world: TrailWorld) -> None:
    """Events of different aggregates overtake one another: `user.delete` may come after UserDeleted."""
    await world.erase(BOB)
    await world.erase(BOB)  # as often as it comes
    await world.append(act("user.delete", actor=BOB, subject=BOB))

    [record], _ = await world.reader.page(Query(), None, 50)
    assert (record.erased, record.actor.name, record.reason) == (True, "", "")
    assert await world.superuser.fetchval("SELECT count(*) FROM audit_person_keys WHERE person_id = $1", BOB) == 0
    assert (await world.verify()).holds


async def test_acts_and_erasures_of_a_batch(world: TrailWorld) -> None:
    def event(number: int, payload: object) -> Event:
        one = act()
        return Event(one.event_id, "", "", "", 1, datetime.now(UTC), "", number, 0, payload)  # type: ignore[arg-type]

    handler = Acts(world.trail, "auth")
    async with world.database.transaction() as conn:
        await handler(
            conn,
            [
                event(1, act().told),
                event(2, events_pb2.UserDeleted(user_id=BOB)),
                event(3, act().told),
            ],
        )

    records, _ = await world.reader.page(Query(), None, 50)
    assert [record.erased for record in records] == [True, True]
    assert (await world.verify()).records == 2


async def test_filters_and_pages(world: TrailWorld) -> None:
    begin = datetime.now(UTC)
    await world.append(act("user.suspend"), act("user_x.suspend"), act("session.create", actor=BOB), act("user.rename"))
    read = world.reader.page

    async def actions(query: Query) -> list[str]:
        return [record.action for record in (await read(query, None, 50))[0]]

    assert await actions(Query(action="user.*")) == ["user.rename", "user.suspend"]
    assert await actions(Query(action="user")) == []
    assert await actions(Query(action="session.create")) == ["session.create"]
    assert await actions(Query(actor_id=BOB)) == ["session.create"]
    assert await actions(Query(subject_id=ADA)) == []
    assert await actions(Query(org_id="00000000-0000-0000-0000-000000000008")) == []
    assert len(await actions(Query(begin=begin - timedelta(seconds=1), end=begin + timedelta(hours=1)))) == 4
    assert await actions(Query(begin=begin + timedelta(hours=1))) == []
    assert await actions(Query(end=begin - timedelta(seconds=1))) == []
    assert len(await actions(Query(begin=datetime(1, 1, 1, tzinfo=UTC), end=datetime(9999, 12, 31, tzinfo=UTC)))) == 4
    first, before = await read(Query(), None, 3)
    rest, after = await read(Query(), before, 3)
    assert [record.sequence for record in [*first, *rest]] == [4, 3, 2, 1]
    assert after is None


async def test_an_export_ends_at_the_head_that_it_began_with(
    world: TrailWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.auth.audit.reading.EXPORT_ROWS", 2)
    head = await world.append(*(act() for _ in range(5)))
    found: list[int] = []
    async for batch in world.reader.all(Query(), head):
        found += [record.sequence for record in batch]
        await world.append(act())

    assert found == [1, 2, 3, 4, 5]


def _days_ago(days: int) -> int:
    return int((utc_now() - timedelta(days=days)).timestamp() * 1000)


async def _aged(world: TrailWorld) -> Link:
    """Two records of 50 days ago, one of 20, one of today."""
    for days in (50, 50, 20, 0):
        async with world.database.transaction() as conn:
            head = await Trail(world.keys, time_ms=lambda age=days: _days_ago(age)).take(conn, [act()])  # type: ignore[misc]
    return head


async def test_retention_drops_days_and_the_chain_goes_on(world: TrailWorld) -> None:
    head = await _aged(world)
    retention = Retention(world.database, world.trail, world.keys, 30)

    dropped = await retention.once()

    assert dropped is not None
    assert dropped.sequence == 2
    found = await world.verify(head)
    assert (found.holds, found.records, found.head.sequence) == (True, 3, 5)  # two that stayed, one that tells of it
    assert await retention.once() is None
    dropped = await Retention(world.database, world.trail, world.keys, 10).once()
    assert dropped is not None
    assert dropped.sequence == 3
    assert (await world.verify()).holds
    forgotten = await world.verify(Link(1, bytes(32)))
    assert (forgotten.holds, "Keep a newer hash" in forgotten.fault) == (False, True)


async def test_without_a_retention_all_is_kept(world: TrailWorld) -> None:
    await _aged(world)

    assert await Retention(world.database, world.trail, world.keys, 0).once() is None
    assert (await world.verify()).records == 4


async def test_new_days_are_closed(world: TrailWorld) -> None:
    await maintain_once(world.database, utc_now() + timedelta(days=20))
    await Retention(world.database, world.trail, world.keys, 0).once()
    day = f"audit_records_{utc_now() + timedelta(days=20):%Y%m%d}"

    for statement in (f"TRUNCATE {day}", f"DELETE FROM {day}", f"UPDATE {day} SET action = ''"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            async with world.database.connection() as conn:
                await conn.execute(statement)


async def test_keys_move_under_a_new_secret(world: TrailWorld) -> None:
    await world.append(act())
    new = b"n" * 32
    both = PersonKeys(Sealer([new, SECRET]))
    await Retention(world.database, Trail(both), both, 0).once()

    records, _ = await TrailReader(world.database, PersonKeys(Sealer([new]))).page(Query(), None, 50)
    assert records[0].actor.name == f"name of {ADA}"
    unread, _ = await world.reader.page(Query(), None, 50)  # the old one alone opens nothing any more
    assert unread[0].actor.name == ""
    assert (await world.verify()).holds

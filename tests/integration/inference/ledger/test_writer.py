"""Records in PostgreSQL: each once, with sums that are theirs to the token; what is refused holds up nothing else."""

from __future__ import annotations

import asyncio
import random
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from promptmesh.inference.v1 import receipt_pb2 as pb

from services.inference.ledger import lines
from services.inference.ledger.record import CallRecord
from services.inference.ledger.rows import OTHER, TagValues
from services.inference.ledger.writer import Writer
from services.mesh.database import Database
from services.mesh.ids import uuid7
from tests.integration.inference.ledger.world import SUMS, rows, sums, sums_of
from tests.unit.inference.ledger.records import ORG, begun, ended

HOUR_NS = 3_600_000_000_000


@pytest.fixture
def writer(database: Database, tmp_path: Path) -> Writer:
    return Writer(database, TagValues(4, 5), tmp_path / "refused.journal")


async def store(writer: Writer, records: list[CallRecord]) -> None:
    while not await writer.write(records):
        await asyncio.sleep(0.01)


def some_record(draw: random.Random) -> CallRecord:
    """Any of the shapes that records have."""
    return ended(
        begun(
            begin_time_ns=time.time_ns() - draw.randrange(3) * HOUR_NS,
            org_id=draw.choice([ORG, uuid7(), ""]),
            user_id=draw.choice(["", ORG]),
            api_key_id=draw.choice(["", ORG]),
            route=draw.choice(["house", "cheap"]),
            tags={key: draw.choice("xyz") for key in draw.sample(["team", "feature", "env"], draw.randrange(4))},
        ),
        model=draw.choice(["", "m1", "m2"]),
        outcome=draw.choice([2, 3, 4, 5]),
        cache=draw.choice(range(6)),
        basis=draw.choice([1, 2, 3]),
        input_tokens=draw.randrange(1000),
        output_tokens=draw.randrange(1000),
        cost_nanos=draw.choice([None, 0, 5, 10**12]),
    )


@pytest.mark.parametrize("seed", range(5))
async def test_sums_equal_the_records_however_often_they_come(writer: Writer, database: Database, seed: int) -> None:
    draw = random.Random(seed)
    records = [some_record(draw) for _ in range(300)]
    batches = [draw.sample(records, draw.randrange(1, 120)) for _ in range(8)]
    batches += [records[:150], records[150:]]
    draw.shuffle(batches)
    # Some at once, as of a process and the one that takes its journal over.
    for start in range(0, len(batches), 3):
        await asyncio.gather(*(store(writer, batch) for batch in batches[start : start + 3]))
    assert len(await rows(database)) == 300
    assert await sums(database) == sums_of(records)
    tagged = [record for record in records for _ in record.tags]
    assert await sums(database, "usage_tags_hourly") == sums_of(tagged)
    await _agree_by_key(database, records)


async def _agree_by_key(database: Database, records: list[CallRecord]) -> None:
    by_key: dict[Any, list[CallRecord]] = defaultdict(list)
    nil = "00000000-0000-0000-0000-000000000000"
    for one in records:
        hour = one.begin_time_ns // HOUR_NS * 3600
        by_key[hour, one.org_id or nil, one.user_id or nil, one.api_key_id or nil, one.route, one.model].append(one)
    async with database.connection() as conn:
        found = await conn.fetch("SELECT *, extract(epoch FROM bucket)::bigint AS hour FROM usage_hourly")
    assert len(found) == len(by_key)
    for row in found:
        key = tuple(row[name] for name in ("hour", "org_id", "user_id", "api_key_id", "route", "model"))
        assert {name: row[name] for name in SUMS} == sums_of(by_key[key])


async def test_a_row_says_everything(writer: Writer, database: Database) -> None:
    record = ended(begun(tags={"team": "a"}), input_text="in", output_text="out", reason="", cost_nanos=None)
    await store(writer, [record])
    row = (await rows(database))[record.record_id]
    assert row["begin_time"].timestamp() == pytest.approx(record.begin_time_ns / 1e9, abs=2e-6)
    assert (row["attempts"], row["tags"], row["tags_other"]) == (
        '[["house-small", "mock", "", 1400, false]]',
        '{"team": "a"}',
        None,
    )
    assert (row["cost_nanos"], row["first_token_us"], row["streamed"]) == (None, 700, True)
    assert (row["input_text"], row["output_text"]) == ("in", "out")


async def test_rows_stand_in_the_partition_of_their_day(writer: Writer, database: Database) -> None:
    yesterday = str(uuid7())
    # A UUIDv7 begins with its milliseconds.
    stamp = int(yesterday.replace("-", "")[:12], 16) - 86_400_000
    digits = f"{stamp:012x}"
    yesterday = f"{digits[:8]}-{digits[8:]}{yesterday[13:]}"
    records = [
        ended(begun()),
        ended(begun(record_id=yesterday)),
        ended(begun(record_id=f"00000000-0000-7{uuid7()[15:]}")),
    ]
    await store(writer, records)
    async with database.connection() as conn:
        found = await conn.fetch("SELECT id, tableoid::regclass::text AS name FROM requests")
        assert await conn.fetchval("SELECT retention_days FROM partitioned_tables WHERE table_name = 'requests'") == 35
    days = {row["id"]: row["name"] for row in found}
    async with database.connection() as conn:
        today = await conn.fetchval("SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYYMMDD')")
    assert days[records[0].record_id] == f"requests_{today}"
    assert days[yesterday] < days[records[0].record_id]
    assert days[records[2].record_id] == "requests_default"


async def test_the_retention_is_set_and_old_sums_go(writer: Writer, database: Database) -> None:
    old = ended(begun(begin_time_ns=time.time_ns() - 900 * 24 * HOUR_NS, tags={"team": "a"}))
    new = ended(begun(tags={"team": "a"}))
    await store(writer, [old, new])
    await writer.keep(3, 800)
    async with database.connection() as conn:
        assert await conn.fetchval("SELECT retention_days FROM partitioned_tables WHERE table_name = 'requests'") == 3
    assert await sums(database) == sums_of([new])
    assert await sums(database, "usage_tags_hourly") == sums_of([new])


async def test_values_of_a_tag_that_are_too_many_are_summed_together(writer: Writer, database: Database) -> None:
    records = [ended(begun(tags={"request": str(number), "team": "a"})) for number in range(20)]
    await store(writer, records)
    async with database.connection() as conn:
        found = await conn.fetch("SELECT tag_key, tag_value, requests FROM usage_tags_hourly ORDER BY requests")
    assert [(row["tag_key"], row["tag_value"], row["requests"]) for row in found[-2:]] == [
        ("request", OTHER, 15),
        ("team", "a", 20),
    ]
    assert len(found) == 7
    kept = await rows(database)
    assert kept[records[-1].record_id]["tags"] == '{"team": "a", "request": "19"}'
    assert kept[records[-1].record_id]["tags_other"] == '{"request": "(other)"}'


async def test_tags_that_are_too_many_are_kept_and_not_summed(writer: Writer, database: Database) -> None:
    records = [ended(begun(tags={f"key-{number}": "x"})) for number in range(10)]
    await store(writer, records)
    async with database.connection() as conn:
        found = await conn.fetch("SELECT tag_key FROM usage_tags_hourly ORDER BY tag_key")
    assert [row["tag_key"] for row in found] == ["key-0", "key-1", "key-2", "key-3"]
    assert (await rows(database))[records[9].record_id]["tags_other"] == '{"key-9": null}'
    assert await sums(database) == sums_of(records)


async def test_what_can_be_mended_is_and_what_cannot_is_set_aside(
    writer: Writer, database: Database, tmp_path: Path
) -> None:
    good = [ended(begun()) for _ in range(20)]
    nul = ended(begun(route="a\0b", tags={"k\0": "v"}))
    absurd = ended(begun(), output_tokens=10**15, cost_nanos=-5)
    hopeless = ended(begun(record_id="not a uuid"))
    await store(writer, [*good[:7], nul, *good[7:9], hopeless, absurd, *good[9:]])
    found = await rows(database)
    assert len(found) == 22
    assert found[nul.record_id]["route"] == "ab"
    assert (found[absurd.record_id]["output_tokens"], found[absurd.record_id]["cost_nanos"]) == (2**31 - 1, 0)
    [(fields, _)] = lines.read_lines(tmp_path / "refused.journal")
    assert fields is not None
    assert fields[1] == "not a uuid"
    assert await sums(database) == sums_of([*good, nul, absurd])


async def test_a_schema_that_is_not_ready_refuses_no_record(writer: Writer, database: Database, tmp_path: Path) -> None:
    async with database.connection() as conn:
        await conn.execute("ALTER TABLE usage_hourly RENAME TO elsewhere")
    record = ended(begun())
    assert not await writer.write([record])
    assert not (tmp_path / "refused.journal").exists()
    async with database.connection() as conn:
        await conn.execute("ALTER TABLE elsewhere RENAME TO usage_hourly")
    await store(writer, [record])
    assert await sums(database) == sums_of([record])


def test_the_outcomes_that_sums_count_are_those_of_the_contract() -> None:
    assert (pb.OUTCOME_FAILED, pb.OUTCOME_LOST) == (3, 5)
    assert (pb.CACHE_DECISION_HIT, pb.CACHE_DECISION_JOINED) == (3, 4)
    assert pb.BASIS_ESTIMATED == 2

"""One process's ledger: faults of PostgreSQL and of the disk, bounds, pauses, texts."""

from __future__ import annotations

import asyncio
import errno
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY
from promptmesh.inference.v1 import receipt_pb2 as pb

from services.inference.ledger.journal import Journal
from services.inference.ledger.ledger import Ledger
from services.inference.ledger.record import CallRecord
from services.inference.ledger.writer import SQL
from services.local.database_urls import with_user
from services.local.embedded.postgres import PostgresCluster, running_postgres, temporary_cluster
from services.mesh.database import Database, DatabaseOptions
from services.mesh.database.provision import role_of
from services.mesh.database.setup import set_up
from services.mesh.errors import MeshError
from tests.integration.inference.conftest import SECRET
from tests.integration.inference.ledger.world import OPTIONS, rows, running, sums, sums_of, until_stored
from tests.unit.inference.ledger.records import KEY, ORG, USER, begun, ended


def call(ledger: Ledger, **changes: Any) -> CallRecord:
    record = begun()
    ledger.begin(record)
    ledger.finish(ended(record, **changes))
    return record


def left(tmp_path: Path, what: str = "lock") -> list[Path]:
    """What journals of processes there are."""
    return list(tmp_path.glob(f"*/ledger/*/{what}"))


def ids(records: Sequence[CallRecord]) -> list[str]:
    return [one.record_id for one in records]


async def test_calls_are_stored_soon_and_the_folder_goes_with_a_clean_end(database: Database, tmp_path: Path) -> None:
    async with running(database, tmp_path / "inference-0") as ledger:
        records = [call(ledger) for _ in range(1200)]
        found = await until_stored(database, ids(records))
        assert {row["outcome"] for row in found.values()} == {pb.OUTCOME_OK}
        assert await sums(database) == sums_of(records)
    assert not left(tmp_path)


async def test_what_is_not_flushed_is_at_the_end(database: Database, tmp_path: Path) -> None:
    async with running(database, tmp_path / "inference-0", flush_ms=3_600_000) as ledger:
        records = [call(ledger) for _ in range(30)]
        assert not await rows(database)
    assert set(await rows(database)) == set(ids(records))


async def test_a_call_without_a_provider_needs_no_begin(database: Database, tmp_path: Path) -> None:
    async with running(database, tmp_path / "inference-0") as ledger:
        hit = ended(begun(), cache=pb.CACHE_DECISION_HIT, basis=pb.BASIS_NONE, cost_nanos=None)
        ledger.finish(hit)
        row = (await until_stored(database, [hit.record_id]))[hit.record_id]
    assert row["cost_nanos"] == 0
    assert (await sums(database))["cache_hits"] == 1


async def test_an_end_counts_once_and_must_say_how_it_was(database: Database, tmp_path: Path) -> None:
    async with running(database, tmp_path / "inference-0") as ledger:
        record = begun()
        ledger.begin(record)
        ledger.finish(record)
        ledger.finish(record)
        await until_stored(database, [record.record_id])
    row = (await rows(database))[record.record_id]
    assert (row["outcome"], row["reason"]) == (pb.OUTCOME_FAILED, "INTERNAL")
    assert (await sums(database))["requests"] == 1


async def test_postgresql_goes_and_comes_back(tmp_path: Path) -> None:
    cluster = temporary_cluster(tmp_path / "postgres")
    cluster.initialise()
    options = DatabaseOptions(connect_timeout_s=0.5, acquire_timeout_s=0.5)
    with running_postgres(cluster):
        database = await _database(cluster, options)
        ledger = Ledger(database, OPTIONS, tmp_path / "inference-0")
        await ledger.start()
        before = [call(ledger) for _ in range(50)]
        await until_stored(database, ids(before))
    # Calls go on without it.
    during = [call(ledger) for _ in range(700)]
    open_record = begun()
    ledger.begin(open_record)
    with running_postgres(cluster):
        found = await until_stored(database, ids(during))
        assert len(found) == 750
        assert await sums(database) == sums_of([*before, *during])
        ledger.finish(ended(open_record))
        await ledger.close()
        assert len(await rows(database)) == 751
        await database.close()
    assert not left(tmp_path)


async def test_what_a_process_could_not_store_the_next_one_does(tmp_path: Path) -> None:
    cluster = temporary_cluster(tmp_path / "postgres")
    cluster.initialise()
    options = DatabaseOptions(connect_timeout_s=0.5, acquire_timeout_s=0.5)
    with running_postgres(cluster):
        database = await _database(cluster, options)
    async with running(database, tmp_path / "inference-0", close_s=0.1, recovery_wait_s=0.1) as ledger:
        records = [call(ledger) for _ in range(20)]
        lost = begun()
        ledger.begin(lost)
    with running_postgres(cluster):
        async with running(database, tmp_path / "inference-0"):
            found = await rows(database)
        await database.close()
    assert set(found) == {*ids(records), lost.record_id}
    assert found[lost.record_id]["outcome"] == pb.OUTCOME_LOST


async def _database(cluster: PostgresCluster, options: DatabaseOptions) -> Database:
    cluster.run_sql("CREATE DATABASE ledger")
    admin = cluster.url("ledger")
    url = with_user(admin, role_of("inference"), SECRET)
    await set_up({"inference": url}, admin, ("inference",))
    return await Database.open(url, schema="inference", options=options)


async def test_more_than_memory_may_hold_waits_in_the_journal(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    finished = Journal.finished

    def counted(journal: Journal, *places: Any) -> Any:
        read.append(1)
        return finished(journal, *places)

    monkeypatch.setattr(Journal, "finished", counted)
    options = {"backlog_records": 50, "batch_max": 20, "segment_bytes": 8192}
    async with running(database, tmp_path / "inference-0", **options) as ledger:
        await ledger.hold(True)
        records = [call(ledger) for _ in range(500)]
        assert len(ledger._backlog) == 500
        assert len(ledger._backlog.first(500)) == 50
        assert sum(one.nanos for one in ledger.unflushed()) == 500 * 400
        assert sum(one.requests for one in ledger.unflushed()) == 500
        assert {(one.org_id, one.user_id, one.api_key_id) for one in ledger.unflushed()} == {(ORG, USER, KEY)}
        await ledger.hold(False)
        # Calls go on while it is read again.
        while len(ledger._backlog):
            records += [call(ledger) for _ in range(3)]
            if len(records) > 2000:
                break
            await asyncio.sleep(0)
        await until_stored(database, ids(records))
        assert len(read) > 8
        assert not list(ledger.unflushed())
    assert await sums(database) == sums_of(records)
    assert not left(tmp_path)


async def test_a_pause_holds_records_back_and_ends_by_itself(database: Database, tmp_path: Path) -> None:
    async with running(database, tmp_path / "inference-0", hold_s=3600) as ledger:
        await ledger.hold(True)
        first = call(ledger)
        async with asyncio.timeout(30):
            while not ledger._some.is_set():
                await asyncio.sleep(0)
        assert not await rows(database)
        await ledger.hold(False)
        await until_stored(database, [first.record_id])
    async with running(database, tmp_path / "inference-0", hold_s=0.01) as ledger:
        await ledger.hold(True)
        second = call(ledger)
        await until_stored(database, [second.record_id])


async def test_a_pause_waits_for_the_flush_under_way(database: Database, tmp_path: Path) -> None:
    async with running(database, tmp_path / "inference-0", hold_s=3600) as ledger:
        async with database.transaction() as conn:
            await conn.execute("LOCK TABLE usage_hourly IN ACCESS EXCLUSIVE MODE")
            record = call(ledger)
            async with asyncio.timeout(30):
                while not ledger._flushing.locked():
                    await asyncio.sleep(0.001)
            paused = asyncio.create_task(ledger.hold(True))
            await asyncio.wait([paused], timeout=0.05)
            assert not paused.done()
        await paused
        assert record.record_id in await rows(database)


class FullDisk:
    """The disk on which journals are, full or not; PostgreSQL has another one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.full = False
        self._write = os.write
        monkeypatch.setattr(os, "write", self.write)

    def write(self, fd: int, data: bytes) -> int:
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        return self._write(fd, data)


async def test_a_full_disk_refuses_calls_accounts_for_those_under_way_and_ends_by_itself(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = FullDisk(monkeypatch)
    async with running(database, tmp_path / "inference-0") as ledger:
        under_way = begun()
        ledger.begin(under_way)
        disk.full = True
        with pytest.raises(MeshError) as caught:
            ledger.begin(begun())
        assert caught.value.reason == "DEPENDENCY_UNAVAILABLE"
        assert caught.value.retry_after_s
        assert REGISTRY.get_sample_value("promptmesh_ledger_journal_full") == 1
        assert "journal" in caught.value.message
        ledger.finish(ended(under_way))
        hit = ended(begun(), basis=pb.BASIS_NONE, cost_nanos=0)
        ledger.finish(hit)
        await until_stored(database, [under_way.record_id, hit.record_id])
        disk.full = False
        after = begun()
        async with asyncio.timeout(30):
            while True:
                try:
                    ledger.begin(after)
                    break
                except MeshError:
                    await asyncio.sleep(0.01)
        ledger.finish(ended(after))
    assert set(await rows(database)) == {under_way.record_id, hit.record_id, after.record_id}
    assert await sums(database) == sums_of([under_way, hit, after])
    assert not left(tmp_path)


async def test_what_calls_under_way_reserved_is_told(database: Database, tmp_path: Path) -> None:
    """By how many tokens more may come, autoscalers know what is ahead of a process."""

    async def told(tokens: int) -> None:
        async with asyncio.timeout(30):
            while REGISTRY.get_sample_value("promptmesh_ledger_tokens_in_flight") != tokens:
                await asyncio.sleep(0.05)

    async with running(database, tmp_path / "inference-0") as ledger:
        one, two = begun(reserved_tokens=700), begun(reserved_tokens=42)
        ledger.begin(one)
        ledger.begin(two)
        await told(742)
        ledger.finish(ended(one))
        await told(42)
        ledger.finish(ended(two))
        await told(0)


async def test_with_neither_disk_nor_database_memory_holds_and_no_spend_is_given_up(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = FullDisk(monkeypatch)
    async with running(database, tmp_path / "inference-0", backlog_records=20) as ledger:
        await ledger.hold(True)
        paid = [begun() for _ in range(30)]
        for record in paid:
            ledger.begin(record)
        disk.full = True
        for record in paid:
            ledger.finish(ended(record))
        free = [ended(begun(), basis=pb.BASIS_NONE, cost_nanos=None) for _ in range(100)]
        for record in free:
            ledger.finish(record)
        assert len(ledger._backlog) == 30
        disk.full = False
        await ledger.hold(False)
        await until_stored(database, ids(paid))
    assert await sums(database) == sums_of(paid)


async def test_a_call_that_nobody_ends_is_lost_in_the_end(database: Database, tmp_path: Path) -> None:
    async with running(database, tmp_path / "inference-0", open_max_s=60) as ledger:
        forgotten = begun(begin_time_ns=time.time_ns() - 61 * 10**9)
        fresh = begun()
        ledger.begin(forgotten)
        ledger.begin(fresh)
        found = await until_stored(database, [forgotten.record_id])
        ledger.finish(ended(forgotten))
        ledger.finish(ended(fresh))
    assert found[forgotten.record_id]["outcome"] == pb.OUTCOME_LOST
    assert (await rows(database))[fresh.record_id]["outcome"] == pb.OUTCOME_OK
    assert (await sums(database))["cost_nanos"] == 900 + 400


async def test_texts_are_kept_only_where_wanted_and_redacted(database: Database, tmp_path: Path) -> None:
    asked = {"input_text": "I am ann@example.org", "output_text": "x" * 100}
    async with running(database, tmp_path / "inference-0") as ledger:
        assert not ledger.keeps_texts
        off = begun(input_text=asked["input_text"])
        ledger.begin(off)
        [journal] = left(tmp_path, "*.journal")
        assert b"ann@example.org" not in journal.read_bytes()
        ledger.finish(ended(off, **asked))
    async with running(database, tmp_path / "inference-0", keep_texts=True, text_chars_max=50) as ledger:
        assert ledger.keeps_texts
        on = call(ledger, **asked)
    async with running(database, tmp_path / "inference-0", keep_texts=True, redact=lambda text: "gone") as ledger:
        other = call(ledger, **asked)
    found = await rows(database)
    assert (found[off.record_id]["input_text"], found[off.record_id]["output_text"]) == (None, None)
    assert (found[on.record_id]["input_text"], found[on.record_id]["output_text"]) == ("I am [email]", "x" * 50)
    assert found[other.record_id]["input_text"] == "gone"


async def test_without_a_worker_folder_it_works_and_leaves_nothing(database: Database) -> None:
    ledger = Ledger(database, OPTIONS, None)
    folder = ledger._temporary
    assert folder is not None
    await ledger.start()
    record = call(ledger)
    await ledger.close()
    assert record.record_id in await rows(database)
    assert not folder.exists()


async def test_the_retention_of_the_settings_is_set(database: Database, tmp_path: Path) -> None:
    async with running(database, tmp_path / "inference-0", retention_days=12), asyncio.timeout(30):
        while True:
            async with database.connection() as conn:
                days = await conn.fetchval(
                    "SELECT retention_days FROM partitioned_tables WHERE table_name = 'requests'"
                )
            if days == 12:
                break
            await asyncio.sleep(0.01)


async def test_writing_reads_no_table_whole(database: Database) -> None:
    """The one statement that runs all day is of indexes alone."""
    from services.inference.ledger.rows import TagValues, columns_of

    columns = columns_of([ended(begun(tags={"team": "a"})) for _ in range(3)], TagValues(10, 10))
    async with database.connection() as conn:
        plan = "\n".join(row[0] for row in await conn.fetch("EXPLAIN " + SQL["insert_requests"], *columns))
    assert "Seq Scan" not in plan

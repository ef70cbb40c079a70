"""Batches of records into PostgreSQL: tried until it takes them, each counted once however often it is tried."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import asyncpg
import structlog

from services.inference.ledger import lines
from services.inference.ledger.metrics import FLUSH, FLUSH_FAILED, SET_ASIDE, WRITTEN
from services.inference.ledger.record import CallRecord
from services.inference.ledger.rows import TagValues, columns_of
from services.mesh.database import Database, queries
from services.mesh.dependencies import is_away
from services.mesh.errors import MeshError

SQL = queries("services.inference")
PURGE_BATCH = 1000  # as the statements say

# What PostgreSQL says of a record that it can never take, whatever stands around it.
_REFUSED = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError)

_log = structlog.get_logger(__name__)


class Writer:
    """`set_aside`: the file that takes what PostgreSQL refuses for what it is, so that nothing is lost by it."""

    def __init__(
        self,
        database: Database,
        tag_values: TagValues,
        set_aside: Path,
    ) -> None:
        self._database = database
        self._tag_values = tag_values
        self._set_aside = set_aside

    async def write(self, records: Sequence[CallRecord]) -> bool:
        """One try. False: PostgreSQL is away, or was hindered; nothing of them is stored, or all."""
        began = time.perf_counter()
        try:
            columns = columns_of(records, self._tag_values)
            async with self._database.connection() as conn:
                added = await conn.fetchval(SQL["insert_requests"], *columns)
        except _REFUSED as error:
            return await self._write_apart(records, error)
        except Exception as error:
            FLUSH_FAILED.inc()
            if not (isinstance(error, MeshError) or is_away(error)):
                _log.exception("records of calls could not be written; they are tried again", records=len(records))
            return False
        FLUSH.observe(time.perf_counter() - began)
        WRITTEN.inc(added)
        return True

    async def keep(self, retention_days: int, rollup_retention_days: int) -> None:
        """Sets how long records are kept, and removes sums that are older than they may be. Raises what PostgreSQL
        says."""
        async with self._database.connection() as conn:
            await conn.execute(SQL["keep_requests"], retention_days)
        for statement in (SQL["purge_usage"], SQL["purge_usage_tags"]):
            removed = PURGE_BATCH
            while removed == PURGE_BATCH:
                async with self._database.connection() as conn:
                    removed = len(await conn.fetch(statement, rollup_retention_days))

    async def _write_apart(self, records: Sequence[CallRecord], error: Exception) -> bool:
        """Halves the batch until the record is found that PostgreSQL refuses; the others are stored."""
        if len(records) > 1:
            middle = len(records) // 2
            return await self.write(records[:middle]) and await self.write(records[middle:])
        record = records[0]
        before = record.finish_fields()
        record.tame()
        if record.finish_fields() != before:
            return await self.write(records)
        _log.error("PostgreSQL refuses a record of a call; it is kept in a file", record_id=record.record_id)
        SET_ASIDE.inc()
        try:
            with self._set_aside.open("ab") as file:
                file.write(lines.line_of([*record.finish_fields(), f"{type(error).__name__}: {error}"]))
        except OSError as fault:
            _log.error("a record could not be set aside", error=str(fault), record=repr(before))
        return True

"""Reads sums and receipts from PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from datetime import datetime

import asyncpg
from promptmesh.inference.v1 import usage_pb2 as pb

from services.inference.ledger.filters import RequestQuery, id_of
from services.mesh import audit
from services.mesh.audit import Party
from services.mesh.database import Database, queries
from services.mesh.errors import MeshError
from services.mesh.events import Outbox

SQL = queries("services.inference")
_INTERVALS: dict[int, str] = {
    pb.USAGE_INTERVAL_UNSPECIFIED: "",
    pb.USAGE_INTERVAL_HOUR: "hour",
    pb.USAGE_INTERVAL_DAY: "day",
}
_GROUPS = (
    pb.USAGE_DIMENSION_MODEL,
    pb.USAGE_DIMENSION_API_KEY,
    pb.USAGE_DIMENSION_USER,
    pb.USAGE_DIMENSION_ROUTE,
    pb.USAGE_DIMENSION_PROVIDER,
)


class LedgerReader:
    """`scan_rows_max`: records that are looked at for one page, however few of them fit."""

    def __init__(self, database: Database, scan_rows_max: int) -> None:
        self._database = database
        self._scan_rows_max = scan_rows_max

    async def record_export(self, outbox: Outbox, query: RequestQuery) -> None:
        """Tells the audit trail that receipts leave as a file."""
        times = {"begin_us": query.begin_us, "end_us": query.end_us}
        async with self._database.transaction() as conn:
            subject = Party("organisation", query.org_id or "")
            await audit.record(conn, outbox, "usage.export", subject, after=times)

    async def usage(
        self,
        org_id: str,
        begin: datetime,
        end: datetime,
        *,
        interval: int,
        group_by: Sequence[int],
        tag_key: str,
        limit: int,
    ) -> list[asyncpg.Record]:
        """Sums; by the tag `tag_key` if one is given."""
        statement = SQL["get_usage_by_tag"] if tag_key else SQL["get_usage"]
        wanted = [dimension in group_by for dimension in _GROUPS]
        more = [tag_key] if tag_key else []
        async with self._database.connection() as conn:
            return await conn.fetch(statement, org_id, begin, end, _INTERVALS[interval], *wanted, limit, *more)

    async def page(
        self, query: RequestQuery, before: str | None, limit: int
    ) -> tuple[list[asyncpg.Record], str | None]:
        """Up to `limit` receipts with ids below `before`, newest first; the id to go on below, or None for the end."""
        beyond = before or query.beyond_id
        async with self._database.connection() as conn:
            rows = await conn.fetch(
                SQL["list_requests"],
                *(query.org_id, query.lowest_id, beyond, self._scan_rows_max, *query.filters, limit + 1),
            )
            if len(rows) > limit:
                return rows[:limit], rows[limit - 1]["id"]
            reach = await conn.fetchval(
                SQL["list_requests_reach"], query.org_id, query.lowest_id, beyond, self._scan_rows_max
            )
        return rows, reach

    async def all(self, query: RequestQuery, batch: int) -> AsyncGenerator[list[asyncpg.Record], None]:
        """Every receipt, oldest first, in batches. Each is a statement of its own: nothing is held between them."""
        after: str | None = query.lowest_id
        while after is not None:
            async with self._database.connection() as conn:
                rows = await conn.fetch(
                    SQL["export_requests"],
                    *(query.org_id, after, query.beyond_id, self._scan_rows_max, *query.filters, batch),
                )
                after = (
                    rows[-1]["id"]
                    if len(rows) == batch
                    else await conn.fetchval(
                        SQL["export_requests_reach"], query.org_id, after, query.beyond_id, self._scan_rows_max
                    )
                )
            if rows:
                yield rows

    async def one(self, wanted: str, org_id: str | None) -> asyncpg.Record | None:
        """By record id or request id; `org_id` None: of any organisation."""
        try:
            record_id = id_of(wanted, "id")
        except MeshError:
            record_id = None
        async with self._database.connection() as conn:
            row = await conn.fetchrow(SQL["get_request"], record_id, org_id) if record_id else None
            return row or await conn.fetchrow(SQL["find_request"], wanted, org_id)

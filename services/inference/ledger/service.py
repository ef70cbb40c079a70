"""`inference.v1.UsageService`: what calls took and cost. Sums come from roll-ups, receipts from bounded ranges."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any

import grpc
from google.api import httpbody_pb2
from promptmesh.inference.v1 import receipt_pb2, usage_pb2_grpc
from promptmesh.inference.v1 import usage_pb2 as pb

from services.inference.ledger import export, filters
from services.inference.ledger.filters import RequestQuery, wrong
from services.inference.ledger.reading import LedgerReader
from services.inference.ledger.receipts import none_if_nil, receipt_of_row
from services.mesh.access.control import AccessControl
from services.mesh.call import current
from services.mesh.errors import MeshError
from services.mesh.events import Outbox
from services.mesh.ids import SYSTEM_CLOCK, Clock
from services.mesh.paging import PageTokens, page_size
from services.mesh.revocation import UntilRevoked

ROWS_MAX = 10_000  # of GetUsage, as the contract says
# About 2 ms of the event loop, which serves calls of models meanwhile.
EXPORT_BATCH = 200
LOOP_ROWS = 50
EXPORT_RETRY_S = 5.0
_SUMS = (
    *("model", "route", "provider", "tag_value", "requests", "failures", "cache_hits", "input_tokens"),
    *("output_tokens", "cost_nanos", "unpriced_requests", "estimated_requests"),
)

_Context = grpc.aio.ServicerContext[Any, Any]


class Usage(usage_pb2_grpc.UsageServiceServicer):
    """People see their organisation's; admins and auditors any."""

    def __init__(
        self,
        reader: LedgerReader,
        page_tokens: PageTokens,
        access: AccessControl,
        *,
        exports_max: int,
        outbox: Outbox | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """outbox: where the audit trail is told of exports; None: nobody is."""
        self._outbox = outbox
        self._reader = reader
        self._page_tokens = page_tokens
        self._access = access
        self._exports_max = exports_max
        self._exports = 0
        self._clock = clock

    async def GetUsage(self, request: pb.GetUsageRequest, context: _Context) -> pb.GetUsageResponse:
        """Sums over hours."""
        by_tag = pb.USAGE_DIMENSION_TAG in request.group_by
        if by_tag and not request.tag_key:
            raise wrong("tag_key", "must say which tag, since group_by has USAGE_DIMENSION_TAG")
        if request.tag_key and not by_tag:
            raise wrong("tag_key", "says nothing unless group_by has USAGE_DIMENSION_TAG")
        org_id = filters.org_of(current().caller, request.org_id, "org_id")
        begin, end = filters.usage_time(request, self._clock.now())
        rows = await self._reader.usage(
            org_id,
            begin,
            end,
            interval=request.interval,
            group_by=request.group_by,
            tag_key=request.tag_key,
            limit=ROWS_MAX + 1,
        )
        if len(rows) > ROWS_MAX:
            raise wrong("group_by", f"makes more than {ROWS_MAX:,} rows over this time; ask for less at once")
        response = pb.GetUsageResponse()
        for number, row in enumerate(rows):
            if number % LOOP_ROWS == 0:
                await asyncio.sleep(0)
            added = response.rows.add(
                **{name: row[name] for name in _SUMS},
                user_id=none_if_nil(row["user_id"]),
                api_key_id=none_if_nil(row["api_key_id"]),
            )
            added.begin_time.seconds = row["begin_s"]
        return response

    async def ListRequests(self, request: pb.ListRequestsRequest, context: _Context) -> pb.ListRequestsResponse:
        """Receipts, newest first. A page may have fewer than asked for, and even none, with more to come."""
        caller = current().caller
        bound = {
            "list": "requests",
            "caller_org": caller.org_id,
            "filter": request.filter.SerializeToString(deterministic=True).hex(),
        }
        cursor = self._page_tokens.decode(request.page_token, bound)
        now = self._clock.now()
        query = filters.query_of(caller, request.filter, now=now, begin_default=now - filters.DAY)
        before = None
        if cursor is not None:
            # "Since yesterday" means the same on every page.
            query = _with_time(query, int(cursor[1]), int(cursor[2]))
            before = str(cursor[0])
        rows, reach = await self._reader.page(query, before, page_size(request.page_size))
        response = pb.ListRequestsResponse()
        for number, row in enumerate(rows):
            if number % LOOP_ROWS == LOOP_ROWS - 1:
                await asyncio.sleep(0)
            response.requests.append(receipt_of_row(row))
        if reach is not None:
            response.next_page_token = self._page_tokens.encode([reach, query.begin_us, query.end_us], bound)
        return response

    async def GetRequest(self, request: pb.GetRequestRequest, context: _Context) -> receipt_pb2.Receipt:
        """One receipt. What another organisation has is not there."""
        caller = current().caller
        row = await self._reader.one(request.id, None if filters.sees_all(caller) else caller.org_id)
        if row is None:
            raise MeshError(
                "REQUEST_NOT_FOUND",
                "There is no receipt with this record id or request id, or you may not see it. A receipt can be read "
                "about a second after its call has ended, and until its retention is over.",
                metadata={"id": request.id},
            )
        return receipt_of_row(row)

    async def ExportRequests(
        self, request: pb.ExportRequestsRequest, context: _Context
    ) -> AsyncGenerator[httpbody_pb2.HttpBody, None]:
        """Receipts as a file, oldest first. It ends early with an error, never quietly."""
        caller = current().caller
        now = self._clock.now()
        query = filters.query_of(caller, request.filter, now=now, begin_default=filters.month_of(now))
        as_csv = request.format != pb.EXPORT_FORMAT_JSONL
        if self._exports >= self._exports_max:
            raise MeshError(
                "CONCURRENCY_LIMIT",
                f"{self._exports_max} exports are under way in this process, its limit. Retry after the delay.",
                retry_after_s=EXPORT_RETRY_S,
            )
        self._exports += 1
        try:
            if self._outbox is not None:
                await self._reader.record_export(self._outbox, query)
            with UntilRevoked(self._access, caller) as until:
                async with aclosing(until.each(self._file(query, as_csv=as_csv))) as parts:
                    started = False
                    async for data in parts:
                        if not started:
                            started = True
                            await context.send_initial_metadata(_file_name(query, as_csv=as_csv))
                        yield httpbody_pb2.HttpBody(
                            content_type=export.CSV_TYPE if as_csv else export.JSONL_TYPE, data=data
                        )
        finally:
            self._exports -= 1

    async def _file(self, query: RequestQuery, *, as_csv: bool) -> AsyncGenerator[bytes, None]:
        head = export.csv_header() if as_csv else b""
        sent = False
        render = export.csv_lines if as_csv else export.json_lines
        async with aclosing(self._reader.all(query, EXPORT_BATCH)) as batches:
            async for rows in batches:
                yield head + render(rows)
                head = b""
                await asyncio.sleep(0)
                sent = True
        if not sent:
            yield head  # also a file without receipts is one


def _with_time(query: RequestQuery, begin_us: int, end_us: int) -> RequestQuery:
    return RequestQuery(query.org_id, begin_us, end_us, *query.filters[2:])


def _file_name(query: RequestQuery, *, as_csv: bool) -> tuple[tuple[str, str], ...]:
    begin, end = (datetime.fromtimestamp(us / 1e6, UTC) for us in (query.begin_us, query.end_us))
    ending = "csv" if as_csv else "jsonl"
    return (("content-disposition", f'attachment; filename="requests-{begin:%Y%m%d}-{end:%Y%m%d}.{ending}"'),)

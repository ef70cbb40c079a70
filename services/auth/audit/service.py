"""AuditService: list, export, verify. The contract says who may."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any

import orjson
from google.api import httpbody_pb2
from google.protobuf.timestamp_pb2 import Timestamp
from promptmesh.auth.v1 import audit_pb2 as pb
from promptmesh.auth.v1 import audit_pb2_grpc as pb_grpc

from services.auth.audit.chain import Link
from services.auth.audit.reading import Query, TrailReader
from services.mesh import audit
from services.mesh.access.control import AccessControl
from services.mesh.call import current
from services.mesh.database import Database
from services.mesh.errors import FieldViolation, MeshError
from services.mesh.events import Outbox
from services.mesh.paging import PageTokens, page_size
from services.mesh.revocation import UntilRevoked

CONTENT_TYPE = "application/x-ndjson"
BUSY_RETRY_S = 5.0


class AuditAdmin(pb_grpc.AuditServiceServicer):
    """Reads the trail for admins and auditors. exports_max: exports and walks at once in this process, each."""

    def __init__(
        self,
        reader: TrailReader,
        database: Database,
        outbox: Outbox,
        pages: PageTokens,
        access: AccessControl,
        *,
        exports_max: int,
    ) -> None:
        self._reader, self._database, self._outbox = reader, database, outbox
        self._pages, self._access = pages, access
        self._exports = _Places("exports of the audit trail", exports_max)
        self._walks = _Places("walks over the audit trail", exports_max)

    async def ListAuditRecords(self, request: pb.ListAuditRecordsRequest, context: Any) -> pb.ListAuditRecordsResponse:
        """A page, newest first. PAGE_TOKEN_INVALID, INVALID_FIELD."""
        filters = pb.ListAuditRecordsRequest()
        filters.CopyFrom(request)
        filters.page_token, filters.page_size = "", 0
        bound = {"list": "audit records", "filters": filters.SerializeToString(deterministic=True).hex()}
        cursor = self._pages.decode(request.page_token, bound)
        query = Query(
            actor_id=_clean(request.actor_id),
            subject_id=_clean(request.subject_id),
            action=request.action or None,
            begin=_moment(request, "begin_time"),
            end=_moment(request, "end_time"),
            org_id=request.org_id.lower() or None,
        )
        before = str(cursor[0]) if cursor else None
        records, more = await self._reader.page(query, before, page_size(request.page_size))
        token = self._pages.encode([more], bound) if more else ""
        return pb.ListAuditRecordsResponse(records=records, next_page_token=token)

    async def ExportAuditRecords(
        self, request: pb.ExportAuditRecordsRequest, context: Any
    ) -> AsyncGenerator[httpbody_pb2.HttpBody, None]:
        """A file of lines, oldest first; it ends early with an error, never quietly. CONCURRENCY_LIMIT."""
        query = Query(begin=_moment(request, "begin_time"), end=_moment(request, "end_time"))
        caller = current().caller
        with self._exports:
            head = await self._reader.head()
            after = {"begin_time": _text(query.begin), "end_time": _text(query.end), "head": head.sequence}
            async with self._database.transaction() as conn:
                await audit.record(conn, self._outbox, "audit.export", audit.Party("audit_trail", ""), after=after)
            with UntilRevoked(self._access, caller) as until:
                async with aclosing(until.each(self._file(query, head))) as parts:
                    async for data in parts:
                        yield httpbody_pb2.HttpBody(content_type=CONTENT_TYPE, data=data)

    async def VerifyAuditChain(self, request: pb.VerifyAuditChainRequest, context: Any) -> pb.VerifyAuditChainResponse:
        """Walks the chain. CONCURRENCY_LIMIT, INVALID_FIELD."""
        expected = None
        if request.expected_hash:
            expected = Link(request.expected_sequence, bytes.fromhex(request.expected_hash))
        elif request.expected_sequence:
            raise _wrong("expected_hash", "is required with expected_sequence")
        with self._walks:
            found = await self._reader.verify(expected)
        return pb.VerifyAuditChainResponse(
            holds=found.holds,
            records=found.records,
            head=found.head.hash.hex(),
            broken_sequence=found.broken_sequence,
            fault=found.fault,
        )

    async def _file(self, query: Query, head: Link) -> AsyncGenerator[bytes, None]:
        count = 0
        async with aclosing(self._reader.all(query, head)) as batches:
            async for records in batches:
                count += len(records)
                yield b"".join(line_of(record) for record in records)
                await asyncio.sleep(0)
        # The head of the chain, not of the file: with it and its sequence a later walk shows that nothing was cut off.
        done = {"records": str(count), "head": head.hash.hex(), "headSequence": str(head.sequence)}
        yield orjson.dumps({"done": done}, option=orjson.OPT_APPEND_NEWLINE)


def line_of(record: pb.AuditRecord) -> bytes:
    """One line of an export, as the REST API writes a record."""
    line = {
        "sequence": str(record.sequence),
        "actTime": record.act_time.ToJsonString(),
        "action": record.action,
        "actor": {"kind": record.actor.kind, "id": record.actor.id, "name": record.actor.name},
        "subject": {"kind": record.subject.kind, "id": record.subject.id, "name": record.subject.name},
        "orgId": record.org_id,
        "address": record.address,
        "requestId": record.request_id,
        "reason": record.reason,
        "change": record.change,
        "succeeded": record.succeeded,
        "hash": record.hash,
        "erased": record.erased,
    }
    return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)


class _Places:
    """Counts what is under way in this process; one too many is refused."""

    def __init__(self, what: str, most: int) -> None:
        self._what, self._most, self._taken = what, most, 0

    def __enter__(self) -> None:
        if self._taken >= self._most:
            raise MeshError(
                "CONCURRENCY_LIMIT",
                f"{self._most} {self._what} are under way in this process, its limit. Retry after the delay.",
                retry_after_s=BUSY_RETRY_S,
            )
        self._taken += 1

    def __exit__(self, *error: object) -> None:
        self._taken -= 1


def _clean(text: str) -> str | None:
    # No text of PostgreSQL holds a NUL, so no record does: what is asked for is found nowhere.
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}") or None


def _moment(request: Any, field: str) -> datetime | None:
    if not request.HasField(field):
        return None
    told: Timestamp = getattr(request, field)
    try:
        return told.ToDatetime(UTC)
    except (ValueError, OverflowError):
        raise _wrong(field, "is no moment between the years 1 and 9999") from None


def _text(moment: datetime | None) -> str:
    return moment.isoformat() if moment is not None else ""


def _wrong(field: str, what: str) -> MeshError:
    return MeshError("INVALID_FIELD", f"{field} {what}.", violations=[FieldViolation(field, what)])

"""Reads the trail: pages of it, all of it, and the walk over it."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from promptmesh.auth.v1 import audit_pb2 as pb

from services.auth.audit.chain import Link, Stored, Verdict, Walk
from services.auth.audit.personal import ACTOR, SUBJECT, PersonKeys, open_sealed
from services.auth.store import SQL
from services.mesh.database import Connection, Database

# Rows read at once: hashing or opening them holds the event loop for a few milliseconds.
WALK_ROWS = 500
EXPORT_ROWS = 200
# An act gets its id when it is appended: soon after it was done, at the latest when the outbox would forget it.
CLOCKS_DIFFER = timedelta(hours=1)
LATE_MAX = timedelta(days=8)
_BEGIN = "00000000-0000-0000-0000-000000000000"


@dataclass(frozen=True, slots=True)
class Query:
    """Which records. None: whichever."""

    actor_id: str | None = None
    subject_id: str | None = None
    action: str | None = None
    """With `.*` at its end all that begin so."""
    begin: datetime | None = None
    end: datetime | None = None
    org_id: str | None = None


class TrailReader:
    """Records as the contract has them, people's part opened where its key is still there."""

    def __init__(self, database: Database, keys: PersonKeys) -> None:
        self._database, self._keys = database, keys

    async def page(self, query: Query, before: str | None, size: int) -> tuple[list[pb.AuditRecord], str | None]:
        """Newest first; and the id of the last one if there are more."""
        whole, prefix = query.action, None
        if query.action is not None and query.action.endswith(".*"):
            whole, prefix = None, query.action[:-1].replace("_", r"\_") + "%"
        async with self._database.connection() as conn:
            rows = await conn.fetch(
                SQL["audit_list"],
                *(before, size + 1, query.actor_id, query.subject_id, whole, prefix, query.begin, query.end),
                *(query.org_id, _lowest_id(query.begin), _beyond_id(query.end)),
            )
            records = await self._records(conn, rows[:size])
        return records, (str(rows[size - 1]["id"]) if len(rows) > size else None)

    async def head(self) -> Link:
        """Where the chain ends now."""
        async with self._database.connection() as conn:
            return _link(await conn.fetchrow(SQL["audit_head"])) or Link()

    async def all(self, query: Query, head: Link) -> AsyncGenerator[list[pb.AuditRecord], None]:
        """Records up to a head, oldest first, in batches; only their time counts of the query."""
        after = _lowest_id(query.begin) or _BEGIN
        beyond = _beyond_id(query.end)
        while True:
            async with self._database.connection() as conn:
                rows = await conn.fetch(
                    SQL["audit_export"], after, head.sequence, EXPORT_ROWS, query.begin, query.end, beyond
                )
                records = await self._records(conn, rows)
            if records:
                yield records
            if len(rows) < EXPORT_ROWS:
                return
            after = rows[-1]["id"]

    async def verify(self, expected: Link | None = None) -> Verdict:
        """Walks the chain as of one moment."""
        async with self._database.transaction() as conn:
            await conn.execute(SQL["snapshot"])
            return await walk(conn, expected)

    async def _records(self, conn: Connection, rows: Sequence[Any]) -> list[pb.AuditRecord]:
        persons = {row["actor_key"] for row in rows} | {row["subject_key"] for row in rows}
        keys = await self._keys.known(conn, persons) if rows else {}
        return [record_of(row, keys) for row in rows]


async def walk(conn: Connection, expected: Link | None = None) -> Verdict:
    """Walks the chain, in a transaction that sees one moment."""
    start = _link(await conn.fetchrow(SQL["audit_checkpoint"]))
    head = _link(await conn.fetchrow(SQL["audit_head"])) or Link()
    found = Walk(start, expected)
    after = _BEGIN
    while not found.broken:
        rows = await conn.fetch(SQL["audit_walk"], after, WALK_ROWS)
        for row in rows:
            found.take(Stored.of(row), bytes(row["hash"]))
        if len(rows) < WALK_ROWS:
            break
        after = rows[-1]["id"]
        await asyncio.sleep(0)
    return found.end(head)


def record_of(row: Any, keys: dict[str, bytes]) -> pb.AuditRecord:
    """The contract's record from a row of `audit_records`, with what the keys open."""
    actor = open_sealed(keys.get(row["actor_key"]), row["id"], ACTOR, bytes(row["actor_sealed"]))
    subject = open_sealed(keys.get(row["subject_key"]), row["id"], SUBJECT, bytes(row["subject_sealed"]))
    record = pb.AuditRecord(
        sequence=row["sequence"],
        action=row["action"],
        actor=pb.AuditParty(kind=row["actor_kind"], id=row["actor_id"]),
        subject=pb.AuditParty(kind=row["subject_kind"], id=row["subject_id"]),
        org_id=row["org_id"],
        request_id=row["request_id"],
        succeeded=row["succeeded"],
        hash=bytes(row["hash"]).hex(),
        erased=actor is None or subject is None,
    )
    record.act_time.FromDatetime(row["act_time"])
    if actor is not None:
        record.actor.name, record.address = actor.get("name", ""), actor.get("address", "")
    if subject is not None:
        record.subject.name = subject.get("name", "")
        record.reason, record.change = subject.get("reason", ""), subject.get("change", "")
    return record


def id_at(moment: datetime) -> str:
    """The lowest UUIDv7 of a moment, as mesh_uuid_at has it."""
    ms = max(0, int(moment.timestamp() * 1000))
    return str(uuid.UUID(int=ms << 80))


def _lowest_id(begin: datetime | None) -> str | None:
    return id_at(begin - CLOCKS_DIFFER) if begin is not None and begin.year > 1970 else None


def _beyond_id(end: datetime | None) -> str | None:
    return id_at(end + LATE_MAX) if end is not None and end.year < 9999 else None


def _link(row: Any) -> Link | None:
    return Link(row["sequence"], bytes(row["hash"])) if row is not None else None

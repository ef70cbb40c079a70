"""The writer of the trail, and the consumer that hands it the acts of a service.

One transaction appends a batch: it locks the head, so that over all replicas one appends at a time, and takes each
event once (the kit's inbox, in the same transaction).
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

from promptmesh.auth.v1 import audit_pb2, events_pb2

from services.auth.audit.chain import COLUMNS, Link, Stored
from services.auth.audit.personal import ACTOR, NOBODY, SUBJECT, PersonKeys, RandomBytes, seal
from services.auth.store import SQL
from services.mesh.database import Connection
from services.mesh.events import Event

EVENT_TYPES = (audit_pb2.ActRecorded,)
OWN_EVENT_TYPES = (audit_pb2.ActRecorded, events_pb2.UserDeleted)
_PERSONS = frozenset({"user", "service_account"})  # kinds of parties that have a key of their own
_MS_BITS = 80  # of a UUIDv7 stand below its 48 bits of milliseconds
_MS_PER_S = 1000


@dataclass(frozen=True, slots=True)
class Act:
    """An act to append. event_id: of what told of it."""

    event_id: str
    producer: str
    told: audit_pb2.ActRecorded


class Trail:
    """Appends acts and erases persons."""

    def __init__(
        self,
        keys: PersonKeys,
        *,
        time_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        random_bytes: RandomBytes = os.urandom,
    ) -> None:
        self._keys, self._time_ms, self._random_bytes = keys, time_ms, random_bytes

    async def take(self, conn: Connection, acts: Sequence[Act], erased: Sequence[str] = ()) -> Link:
        """Appends acts in their order, then drops the keys of persons; the head as it then is. In a transaction."""
        head = await conn.fetchrow(SQL["audit_lock_head"])
        assert head is not None, "the migration made it"
        link, last_id = Link(head["sequence"], bytes(head["hash"])), head["id"]
        if acts:
            link = await self._append(conn, acts, link, last_id)
        if erased:
            await self._keys.erase(conn, erased)
        return link

    async def _append(self, conn: Connection, acts: Sequence[Act], link: Link, last_id: str) -> Link:
        owners = [_owners(act.told) for act in acts]
        keys = await self._keys.to_seal_with(conn, {person for pair in owners for person in pair})
        rows: list[tuple[object, ...]] = []
        days: set[date] = set()
        for act, (actor_key, subject_key) in zip(acts, owners, strict=True):
            last_id = next_id(last_id, self._time_ms(), self._random_bytes)
            days.add(_day(last_id))
            record = act.told.record
            actor = {"name": record.actor.name, "address": record.address}
            subject = {"name": record.subject.name, "reason": record.reason, "change": record.change}
            stored = Stored(
                id=last_id,
                sequence=link.sequence + 1,
                event_id=act.event_id,
                producer=act.producer,
                act_time=record.act_time.ToDatetime(UTC),
                action=_text(record.action),
                actor_kind=_text(record.actor.kind),
                actor_id=_text(record.actor.id),
                subject_kind=_text(record.subject.kind),
                subject_id=_text(record.subject.id),
                org_id=_text(record.org_id),
                request_id=_text(record.request_id),
                succeeded=record.succeeded,
                actor_key=actor_key,
                actor_sealed=seal(keys[actor_key], last_id, ACTOR, actor, self._random_bytes),
                subject_key=subject_key,
                subject_sealed=seal(keys[subject_key], last_id, SUBJECT, subject, self._random_bytes),
            )
            link = Link(stored.sequence, stored.hash(link.hash))
            rows.append((*(getattr(stored, name) for name in COLUMNS), link.hash))
        for day in sorted(days):
            await conn.fetchval(SQL["audit_make_day"], day)
        await conn.execute(SQL["audit_insert"], *(list(column) for column in zip(*rows, strict=True)))
        await conn.execute(SQL["audit_move_head"], link.sequence, last_id, link.hash)
        return link


class Acts:
    """Takes what one service did into the trail; of auth's own events, persons that are gone out of it."""

    def __init__(self, trail: Trail, producer: str) -> None:
        self._trail, self._producer = trail, producer

    async def __call__(self, conn: Connection, events: Sequence[Event]) -> None:
        """Does a batch, in the consumer's transaction."""
        acts: list[Act] = []
        erased: list[str] = []
        for event in events:
            if isinstance(event.payload, audit_pb2.ActRecorded):
                acts.append(Act(event.id, self._producer, event.payload))
            elif isinstance(event.payload, events_pb2.UserDeleted):
                erased.append(event.payload.user_id)
        await self._trail.take(conn, acts, erased)


def next_id(last: str, now_ms: int, random_bytes: RandomBytes = os.urandom) -> str:
    """A UUIDv7 of now, and always above the last one, whatever the clock does."""
    noise = int.from_bytes(random_bytes(10), "big")
    value = (now_ms << _MS_BITS) | noise
    value = value & ~(0xF << 76) | (7 << 76)  # version
    value = value & ~(0x3 << 62) | (2 << 62)  # variant
    least = uuid.UUID(last).int + 1
    return str(uuid.UUID(int=max(value, least)))


def _day(record_id: str) -> date:
    return datetime.fromtimestamp((uuid.UUID(record_id).int >> _MS_BITS) / _MS_PER_S, UTC).date()


def _owners(told: audit_pb2.ActRecorded) -> tuple[str, str]:
    """Under whose keys a record's two parts are kept: the actor's, and those of the person whom it is about.

    The address of a caller who is nobody yet (a log-in) goes with the person whom they wanted to be.
    """
    record = told.record
    subject = told.subject_user_id or (record.subject.id if record.subject.kind in _PERSONS else NOBODY)
    actor = record.actor.id if record.actor.kind in _PERSONS and record.actor.id else subject
    return _text(actor), _text(subject)


def _text(value: str) -> str:
    """No text of PostgreSQL holds a NUL; an act is not lost for one."""
    return value.replace("\0", "\N{REPLACEMENT CHARACTER}")

"""Events that a consumer gave up: an operator reads them, has them done again, or discards them.

`promptmesh events` stands on `list_dead_letters`, `request_retry` and `discard`, run with a service's own database.
Retrying happens in the consumer's process, which looks for requests every few seconds.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Literal
from uuid import NAMESPACE_OID, UUID, uuid5

from google.protobuf.message import DecodeError
from promptmesh.events.v1.events_pb2 import Envelope

from services.mesh.database import Database, queries
from services.mesh.events import context
from services.mesh.events.envelope import Decoder, Handler
from services.mesh.events.metrics import DEAD_LETTERS

if TYPE_CHECKING:
    from services.mesh.database import Connection
    from services.mesh.events.group import Entry

log = logging.getLogger(__name__)

SQL = queries("services.mesh.events", "sql")

Reason = Literal["ERROR", "CRASH", "DECODE"]
ERROR_CHARS_MAX = 2000
RETRIES_AT_A_TIME = 16


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An event given up. reason: ERROR (its handler failed), CRASH (workers died of it), DECODE (unreadable)."""

    consumer: str
    event_id: str
    producer: str
    org_id: str
    type: str
    aggregate_id: str
    partition: int
    position: int
    envelope: bytes
    reason: Reason
    error: str
    attempts: int
    create_time: datetime | None = None
    retry_requested: datetime | None = None

    @classmethod
    def undecodable(cls, consumer: str, producer: str, entry: Entry, error: str) -> DeadLetter:
        """For bytes that cannot be read. Where not even the envelope can, the id is made from the position."""
        try:
            known = Envelope.FromString(entry.envelope)
            event_id = str(UUID(known.id))
        except (DecodeError, ValueError):
            known = Envelope()
            event_id = str(uuid5(NAMESPACE_OID, f"{producer}/{entry.position}"))
        return cls(
            consumer=consumer,
            event_id=event_id,
            producer=producer,
            org_id=known.org_id,
            type=known.type,
            aggregate_id=known.aggregate_id,
            partition=entry.partition,
            position=entry.position,
            envelope=entry.envelope,
            reason="DECODE",
            error=error,
            attempts=1,
        )


def explain(error: BaseException) -> str:
    """An error in one bounded line, as logs and dead letters keep it."""
    return f"{type(error).__name__}: {error}"[:ERROR_CHARS_MAX]


async def put(database: Database, letter: DeadLetter) -> None:
    """Keeps a letter and records its event as done for the consumer, in one transaction. Twice is once."""
    async with database.transaction() as connection:
        await connection.fetch(SQL["record"], letter.consumer, [letter.event_id])
        await connection.execute(SQL["clear_suspect"], letter.consumer, letter.event_id)
        await connection.execute(
            SQL["put_dead_letter"],
            letter.consumer,
            letter.event_id,
            letter.producer,
            letter.org_id,
            letter.type,
            letter.aggregate_id,
            letter.partition,
            letter.position,
            letter.envelope,
            letter.reason,
            letter.error[:ERROR_CHARS_MAX].replace("\x00", ""),
            letter.attempts,
        )
    DEAD_LETTERS.labels(letter.consumer, letter.reason).inc()
    log.error(
        "%s: event %s (%s, position %d of %s) is a dead letter now: %s. See `promptmesh events`",
        letter.consumer,
        letter.event_id,
        letter.type or "unreadable",
        letter.position,
        letter.producer,
        letter.error,
    )


async def list_dead_letters(conn: Connection, consumer: str | None = None, limit: int = 100) -> list[DeadLetter]:
    """The oldest first; of one consumer or of all of the service."""
    rows = await conn.fetch(SQL["list_dead_letters"], consumer, limit)
    return [DeadLetter(**dict(row)) for row in rows]


async def request_retry(conn: Connection, event_ids: Sequence[str] | None = None, consumer: str | None = None) -> int:
    """Asks the consumers to do letters again; None for all. Returns how many letters that are."""
    return int(await conn.fetchval(SQL["request_retry"], consumer, None if event_ids is None else list(event_ids)))


async def discard(conn: Connection, event_ids: Sequence[str], consumer: str | None = None) -> int:
    """Deletes letters for good; their events stay recorded as done. Returns how many letters that were."""
    return int(await conn.fetchval(SQL["discard_dead_letters"], consumer, list(event_ids)))


async def retry_requested(database: Database, consumer: str, decoder: Decoder, handle: Handler) -> int:
    """Does the letters again that an operator asked for, each in a transaction of its own; returns how many went well.

    A letter that fails again stays, with its new error, until it is asked for again.
    """
    async with database.connection() as connection:
        ids = [row[0] for row in await connection.fetch(SQL["retries"], consumer, RETRIES_AT_A_TIME)]
    done = 0
    for event_id in ids:
        done += await _retry(database, consumer, event_id, decoder, handle)
    return done


async def _retry(database: Database, consumer: str, event_id: str, decoder: Decoder, handle: Handler) -> bool:
    events = []
    try:
        async with database.transaction() as connection:
            row = await connection.fetchrow(SQL["take_dead_letter"], consumer, event_id)
            if row is None:
                return False  # another worker was quicker
            event = decoder.decode(row["envelope"], row["position"], row["partition"])
            if event is not None:
                with context.handling(consumer, [event], None):
                    await handle(connection, [event])
                events.append(event)
    except Exception as error:
        log.warning("%s: dead letter %s failed again: %s", consumer, event_id, explain(error))
        async with database.connection() as connection:
            await connection.execute(SQL["retry_failed"], consumer, event_id, explain(error).replace("\x00", ""))
        return False
    committed = getattr(handle, "committed", None)
    if events and committed is not None:
        committed(events)
    log.info("%s: dead letter %s is done", consumer, event_id)
    return True

"""Events as code sees them, and as promptmesh.events.v1.Envelope carries them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol
from zlib import crc32

from google.protobuf.message import DecodeError, Message
from promptmesh.events.v1.events_pb2 import Envelope

if TYPE_CHECKING:
    from services.mesh.database import Connection

_NANOS_PER_S = 1_000_000_000


class EnvelopeError(ValueError):
    """Bytes that are no event of a known type: their producer and this consumer do not fit, or they were damaged."""


@dataclass(frozen=True, slots=True)
class NewEvent:
    """A change to tell of, for `Outbox.append`.

    aggregate_version: the aggregate's version after the change. traceparent: of the change; by default that of the
    event about the same aggregate that is being handled, else of the call under way.
    """

    org_id: str
    aggregate_id: str
    aggregate_version: int
    payload: Message
    traceparent: str | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """A change that was told of. position: its place in the producer's log, dense from 1."""

    id: str
    type: str
    org_id: str
    aggregate_id: str
    aggregate_version: int
    create_time: datetime
    traceparent: str
    position: int
    partition: int
    payload: Message


class Handler(Protocol):
    """What a service does with events.

    It runs in one transaction for a batch, in order of position; what was done before is left out. It may also have
    `def committed(self, events) -> None`, which is called after the commit.
    """

    async def __call__(self, conn: Connection, events: Sequence[Event]) -> None:
        """Does them. Raises to have the transaction rolled back and tried again, then event by event."""


def partition_of(aggregate_id: str, partitions: int) -> int:
    """The partition that carries an aggregate's events. Never changes: events of one aggregate stay in one stream."""
    return crc32(aggregate_id.encode()) % partitions


def encode(event: NewEvent, event_id: str, create_time_ns: int, traceparent: str) -> bytes:
    """The bytes of the envelope."""
    envelope = Envelope(
        id=event_id,
        type=event.payload.DESCRIPTOR.full_name,
        org_id=event.org_id,
        aggregate_id=event.aggregate_id,
        aggregate_version=event.aggregate_version,
        traceparent=traceparent,
        payload=event.payload.SerializeToString(),
    )
    envelope.create_time.seconds, envelope.create_time.nanos = divmod(create_time_ns, _NANOS_PER_S)
    return envelope.SerializeToString()


class Decoder:
    """Reads events of the types that a consumer wants."""

    def __init__(self, types: Iterable[type[Message]] | None) -> None:
        """types: the payload messages wanted; None: every type whose generated module is imported."""
        self._classes: dict[str, type[Message]] = {one.DESCRIPTOR.full_name: one for one in types or ()}
        self._all = types is None

    @property
    def types(self) -> Mapping[str, type[Message]]:
        """The classes by full name, as far as they are known."""
        return self._classes

    def decode(self, envelope_bytes: bytes, position: int, partition: int) -> Event | None:
        """The event, or None if its type is not wanted. Raises EnvelopeError."""
        try:
            envelope = Envelope.FromString(envelope_bytes)
            payload_class = self._classes.get(envelope.type) or self._look_up(envelope.type)
            if payload_class is None:
                return None
            payload = payload_class.FromString(envelope.payload)
        except DecodeError as error:
            raise EnvelopeError(f"position {position}: not a promptmesh.events.v1.Envelope of ours: {error}") from error
        created = envelope.create_time
        return Event(
            envelope.id,
            envelope.type,
            envelope.org_id,
            envelope.aggregate_id,
            envelope.aggregate_version,
            datetime.fromtimestamp(created.seconds + created.nanos / _NANOS_PER_S, UTC),
            envelope.traceparent,
            position,
            partition,
            payload,
        )

    def _look_up(self, type_name: str) -> type[Message] | None:
        if not self._all or not type_name:
            return None
        from google.protobuf import symbol_database

        try:
            found: type[Message] = symbol_database.Default().GetSymbol(type_name)
        except KeyError:
            return None
        self._classes[type_name] = found
        return found

"""The chain: what a record's hash is over, and the walk that finds the first record that does not hold.

hash(n) = SHA-256(hash(n - 1) ‖ stored form of n), and 32 zero bytes for hash(0). The stored form is what stands in the
database, people's part of it encrypted, so a person's erasure (the loss of their key) changes no hash.

Nothing in a hash is secret: who can write to the database as its superuser can make a whole new chain. What shows that
is a hash kept elsewhere; the same goes for an end that was cut off together with the head.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

GENESIS = bytes(32)
TRIM_ACTION = "audit.trim"  # the record that says that retention dropped the start of the chain
_VERSION = b"\x01"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_US = timedelta(microseconds=1)
_LENGTH_BYTES = 4


@dataclass(frozen=True, slots=True)
class Stored:
    """A record as the database holds it, without its hash. The order of the fields is that of the stored form."""

    id: str
    sequence: int
    event_id: str
    producer: str
    act_time: datetime
    action: str
    actor_kind: str
    actor_id: str
    subject_kind: str
    subject_id: str
    org_id: str
    request_id: str
    succeeded: bool
    actor_key: str
    actor_sealed: bytes
    subject_key: str
    subject_sealed: bytes

    @classmethod
    def of(cls, row: Any) -> Stored:
        """From a row of `audit_records`."""
        return cls(*(row[name] for name in COLUMNS))

    def form(self) -> bytes:
        """The stored form: each field with its length before it, so that nothing can move from one to the next."""
        parts = [_VERSION]
        for name in COLUMNS:
            data = _bytes(getattr(self, name))
            parts.append(len(data).to_bytes(_LENGTH_BYTES, "big"))
            parts.append(data)
        return b"".join(parts)

    def hash(self, previous: bytes) -> bytes:
        """Its hash after a record with that one."""
        return sha256(previous + self.form()).digest()


COLUMNS = tuple(field.name for field in fields(Stored))


@dataclass(frozen=True, slots=True)
class Link:
    """A place in the chain: the hash of a record, and its sequence. (0, GENESIS) is before the first."""

    sequence: int = 0
    hash: bytes = GENESIS


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the chain holds. broken_sequence: first record that does not; 0: none. head: the last that does."""

    holds: bool
    records: int
    head: Link
    broken_sequence: int = 0
    fault: str = ""


class Walk:
    """Follows the chain record by record, in their order."""

    def __init__(self, start: Link | None = None, expected: Link | None = None) -> None:
        """start: the checkpoint that the chain goes on from. expected: a link that was kept elsewhere; sequence 0: it
        may be anywhere."""
        self._start = start or Link()
        self._link = self._start
        self._expected = expected
        self._met = expected is None
        self._start_told = self._start.sequence == 0
        self._records = 0
        self._broken: tuple[int, str] | None = None
        self._meet()

    @property
    def broken(self) -> bool:
        """Whether a record did not hold: there is nothing more to find."""
        return self._broken is not None

    def take(self, stored: Stored, kept_hash: bytes) -> None:
        """The next record."""
        if self._broken is not None:
            return
        expected = self._link.sequence + 1
        if stored.sequence != expected:
            self._break(expected, f"record {expected} is not there: in its place is {stored.sequence}")
            return
        found = stored.hash(self._link.hash)
        if found != kept_hash:
            self._break(expected, f"record {expected} was changed: its hash does not follow from what stands in it")
            return
        self._link = Link(expected, found)
        self._records += 1
        if stored.action == TRIM_ACTION and stored.subject_id == trim_id(self._start):
            self._start_told = True
        self._meet()

    def end(self, head: Link) -> Verdict:
        """What was found. head: where the writer says that the chain ends."""
        if self._broken is None and self._link != head:
            self._break(
                self._link.sequence + 1,
                f"the chain ends with record {self._link.sequence}, but its head was {head.sequence}"
                if head.sequence != self._link.sequence
                else "the head has another hash than the last record",
            )
        if self._broken is None and not self._start_told:
            first = self._start.sequence + 1
            self._break(first, f"the chain begins with record {first}, and no record says that retention dropped more")
        if self._broken is None and not self._met:
            self._break(*self._missed())
        sequence, fault = self._broken or (0, "")
        return Verdict(self._broken is None, self._records, self._link, sequence, fault)

    def _meet(self) -> None:
        expected = self._expected
        if expected is None or self._met:
            return
        if expected.sequence in (0, self._link.sequence) and expected.hash == self._link.hash:
            self._met = True
        elif 0 < expected.sequence == self._link.sequence and self._broken is None:
            self._break(
                expected.sequence,
                f"record {expected.sequence} has another hash than was kept of it: the chain was made anew",
            )

    def _missed(self) -> tuple[int, str]:
        assert self._expected is not None
        sequence, last = self._expected.sequence, self._link.sequence
        if sequence == 0:
            return 0, "no record has the hash that was kept"
        if sequence > last:
            return last + 1, f"record {sequence} was kept, but the chain ends with {last}: its end was cut off"
        kept = self._start.sequence
        return 0, f"record {sequence} cannot be compared: retention dropped those up to {kept}. Keep a newer hash"

    def _break(self, sequence: int, fault: str) -> None:
        self._broken = (sequence, fault)


def trim_id(link: Link) -> str:
    """What a record of retention names as its subject: the last record dropped, and its hash."""
    return f"{link.sequence}:{link.hash.hex()}"


def read_link(text: str) -> Link:
    """A link from `SEQUENCE:HASH`. ValueError."""
    sequence, colon, digest = text.partition(":")
    if not colon or not sequence.isascii() or not sequence.isdigit() or len(digest) != 2 * len(GENESIS):
        raise ValueError("expected SEQUENCE:HASH, as `audit verify` prints them, the hash with 64 hexadecimal digits")
    return Link(int(sequence), bytes.fromhex(digest))


def _bytes(value: str | int | bool | bytes | datetime) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, datetime):
        return str((value - _EPOCH) // _US).encode()  # as exact as the database keeps it
    return str(int(value) if isinstance(value, bool) else value).encode()

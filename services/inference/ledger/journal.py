"""The journal of one process: which calls it began, how they ended, and what of that PostgreSQL has.

A line is in the kernel's hands before the call goes on, so it outlives the process (kill -9); `sync_s` later it is on
the disk, so it outlives the machine. Each process has a folder of its own, locked while it lives: whoever finds the
lock free knows that the process is gone, and may account for what it left (`recovery.py`).

What cannot be written must not be spent: while the disk is full, or the journal larger than it may be, `begin` refuses,
and everything goes on by itself once `look_for_room` finds some.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson
import structlog

from services.inference.ledger import lines, segments
from services.inference.ledger.record import CallRecord, record_of
from services.inference.ledger.segments import Segment

LOCK = "lock"
Place = tuple[int, int]
"""Number of a segment and an offset in it."""

# Room that must be there before calls are taken again, so that a nearly full disk does not let in one call at a time.
ROOM_BYTES = 256 * 1024
# Calls under way for longer than this many segments are written again, so that one long call does not keep them all.
SEGMENTS_KEPT = 4

_log = structlog.get_logger(__name__)


class JournalUnwritableError(Exception):
    """The line could not be written; the message says why."""


class Journal:
    """Written by the event loop's thread alone."""

    def __init__(self, folder: Path, *, sync_s: float, segment_bytes: int, bytes_max: int, worker: str = "") -> None:
        """Makes the folder and takes its lock. Raises OSError."""
        folder.mkdir(mode=0o700, parents=True)
        lock = try_lock(folder)
        assert lock is not None, "the folder is new"
        self.folder = folder
        self.open: dict[str, CallRecord] = {}  # begun and not ended, oldest first
        self.size = 0  # bytes of all files
        self.fault = ""  # why nothing can be written; empty: it can
        self._too_large = False
        self._head = lines.line_of(["j", lines.FORMAT, worker])
        self._lock = lock
        self._segment_bytes = segment_bytes
        self._bytes_max = bytes_max
        self._late: list[CallRecord] = []  # ended while nothing could be written
        self._current = segments.create(folder, 1)
        self._segments = [self._current]
        self._syncer = segments.Syncer(folder, sync_s, self._sync_failed)
        self._syncer.use(self._current.fd)
        with suppress(JournalUnwritableError):
            self._write(self._head)

    # Calls

    def begin(self, record: CallRecord) -> None:
        """Writes that a call begins. Raises JournalUnwritableError: then it must not."""
        if self.fault or self._too_large:
            raise JournalUnwritableError(self.fault or "it has reached PROMPTMESH_JOURNAL_BYTES_MAX")
        segment = self._write(_line(record, CallRecord.begin_fields))
        segment.open += 1
        record.begun_in = segment
        self.open[record.record_id] = record

    def finish(self, record: CallRecord) -> Place | None:
        """Writes how a call ended; returns where its line begins. None: it could not be written. That is made up for
        when there is room again."""
        self.open.pop(record.record_id, None)
        if self.fault:
            self._late.append(record)
            return None
        line = _line(record, CallRecord.finish_fields)
        try:
            segment = self._write(line)
        except JournalUnwritableError:
            self._late.append(record)
            return None
        self._ended(record, segment)
        record.finished_at = segment.size
        return segment.number, segment.size - len(line)

    def flushed(self, records: Iterable[CallRecord]) -> None:
        """PostgreSQL has these, in the order of their ends. Notes how far it is, and lets go of files that nothing
        needs any more."""
        through: Place | None = None
        for record in records:
            record.stored = True
            segment = record.finished_in
            if segment is not None:
                segment.unflushed -= 1
                if record.finished_at:
                    through = (segment.number, record.finished_at)
        if through is not None and not self.fault:
            # Only a help: without the note, a successor offers the records to PostgreSQL again, which has them.
            with suppress(JournalUnwritableError):
                self._write(lines.line_of(["w", *through]))
        if self._late:
            self._late = [one for one in self._late if not one.stored or one.begun_in is not None]
        self._trim()

    # Reading back

    @property
    def end(self) -> Place:
        """Where the next line goes."""
        return self._current.number, self._current.size

    def finished(self, start: Place, end: Place) -> Iterator[tuple[CallRecord, Place]]:
        """Records that ended between two places, and where each one's line ends; for another thread to read."""
        return _finished([one for one in self._segments if start[0] <= one.number <= end[0]], start, end)

    # Room

    @property
    def unwritable(self) -> bool:
        """Whether calls are refused."""
        return bool(self.fault) or self._too_large

    def look_for_room(self) -> bool:
        """Tries to write again where that had failed; whether calls are taken."""
        if self._too_large and self.size < self._bytes_max:
            self._too_large = False
        if self.fault and self._new_segment(ROOM_BYTES):
            _log.info("the journal can be written again", late=len(self._late))
        if not self.fault:
            self._make_up()
        return not self.unwritable

    def close(self) -> None:
        """Brings everything to the disk, and takes the folder away unless something in it is needed still. A second
        time does nothing."""
        if self._lock == -1:
            return
        lock, self._lock = self._lock, -1
        needed = bool(self._late) or not all(one.idle for one in self._segments)
        self.fault = "it is closed"
        self._syncer.close()
        if needed:
            os.close(lock)
        else:
            remove(self.folder, lock)

    def _write(self, line: bytes) -> Segment:
        segment = self._current
        try:
            written = os.write(segment.fd, line)
            if written != len(line):
                raise OSError(f"{written} of {len(line)} bytes were written; the disk is full")
            self._syncer.written()
        except OSError as error:
            self._failed(error)
            # Half a line would do no harm, since the next one goes to another file; a whole one that its call was not
            # told of would.
            with suppress(OSError):
                os.ftruncate(segment.fd, segment.size)
            raise JournalUnwritableError(self.fault) from error
        segment.size += written
        self.size += written
        if segment.size >= self._segment_bytes:
            self._new_segment(0)
        return segment

    def _new_segment(self, room_bytes: int) -> bool:
        """Goes on in a new file, if the disk has room for it."""
        try:
            fresh = segments.create(self.folder, self._current.number + 1)
        except OSError as error:
            self._failed(error)
            return False
        try:
            if room_bytes and os.write(fresh.fd, b"\n" * room_bytes) != room_bytes:
                raise OSError("the disk is full")
            os.ftruncate(fresh.fd, 0)
            fresh.size = os.write(fresh.fd, self._head)
            if fresh.size != len(self._head):
                raise OSError("the disk is full")
        except OSError as error:
            self._failed(error)
            os.close(fresh.fd)
            with suppress(OSError):
                fresh.path.unlink()
            return False
        self.fault = ""
        self._current = fresh
        self._segments.append(fresh)
        self._syncer.use(fresh.fd)
        self.size += fresh.size
        if self.size >= self._bytes_max:
            self._too_large = True
        return True

    def _make_up(self) -> None:
        """Writes what ended meanwhile."""
        while self._late:
            record = self._late[-1]
            line = (
                lines.line_of(["e", record.record_id])
                if record.stored
                else _line(record, lambda one: one.finish_fields("r"))
            )
            try:
                segment = self._write(line)
            except JournalUnwritableError:
                return
            self._late.pop()
            if not record.stored:
                self._ended(record, segment)
            elif record.begun_in is not None:
                record.begun_in.open -= 1
                record.begun_in = None

    def _ended(self, record: CallRecord, segment: Segment) -> None:
        if record.begun_in is not None:
            record.begun_in.open -= 1
            record.begun_in = None
        record.finished_in = segment
        segment.unflushed += 1

    def _trim(self) -> None:
        """Takes files away, the oldest first: a begin must not outlive its end. Calls that began in the oldest and go
        on are written again."""
        kept = self._segments
        while len(kept) > 1:
            oldest = kept[0]
            if not oldest.idle:
                if oldest.unflushed or len(kept) <= SEGMENTS_KEPT or self.fault or not self._carry(oldest):
                    return
                continue
            kept.pop(0)
            self.size -= oldest.size
            self._syncer.remove(oldest.path)

    def _carry(self, oldest: Segment) -> bool:
        carried = False
        for record in [one for one in self.open.values() if one.begun_in is oldest]:
            try:
                segment = self._write(_line(record, CallRecord.begin_fields))
            except JournalUnwritableError:
                return False
            oldest.open -= 1
            segment.open += 1
            record.begun_in = segment
            carried = True
        return carried

    def _failed(self, error: OSError) -> None:
        if not self.fault:
            _log.error("the journal cannot be written, so calls of models are refused", error=str(error))
        self.fault = f"{type(error).__name__}: {error}"

    def _sync_failed(self, error: OSError) -> None:
        """Called by the syncer's thread. What it could not bring to the disk may be gone; the next file is another."""
        self._failed(error)


def try_lock(folder: Path) -> int | None:
    """The lock of a folder as a file descriptor, closed to let go; None while its process lives. Raises OSError."""
    fd = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    return fd


def remove(folder: Path, lock: int) -> None:
    """Takes a locked folder away, the oldest file first, the lock last."""
    # In order: half gone, it must not hold a begin without its end, nor forget how far it was stored.
    for path in [*(path for _, path in segments.found(folder)), folder / LOCK]:
        path.unlink(missing_ok=True)
    with suppress(OSError):
        folder.rmdir()
    os.close(lock)


def _line(record: CallRecord, fields: Any) -> bytes:
    try:
        return lines.line_of(fields(record))
    except orjson.JSONEncodeError:
        record.tame()
        return lines.line_of(fields(record))


def _finished(files: list[Segment], start: Place, end: Place) -> Iterator[tuple[CallRecord, Place]]:
    for segment in files:
        first = start[1] if segment.number == start[0] else 0
        last = end[1] if segment.number == end[0] else segment.size
        for fields, offset in lines.read_lines(segment.path, first, last):
            if fields is not None and fields[0] == "f":
                record = record_of(fields)
                record.finished_in = segment
                record.finished_at = offset
                record.ended = True
                yield record, (segment.number, offset)

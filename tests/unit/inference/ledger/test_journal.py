"""The journal of one process: what it holds, when its files go, and what happens where nothing can be written."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from services.inference.ledger import journal as journals
from services.inference.ledger import lines, segments
from services.inference.ledger.journal import Journal, JournalUnwritableError, try_lock
from tests.unit.inference.ledger.records import begun, ended

Make = Callable[..., Journal]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made: list[Journal] = []

    def journal(**changes: Any) -> Journal:
        options: dict[str, Any] = {"sync_s": 0.001, "segment_bytes": 4096, "bytes_max": 1 << 30}
        made.append(Journal(tmp_path / f"journal-{len(made)}", **(options | changes)))
        return made[-1]

    yield journal
    for one in made:
        one.close()


class Disk:
    """`os.write` with room for so many bytes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.room: int | None = None
        self._write = os.write
        monkeypatch.setattr(os, "write", self.write)

    def write(self, fd: int, data: bytes) -> int:
        if self.room is None:
            return self._write(fd, data)
        if not self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = self._write(fd, data[: self.room])
        self.room -= written
        return written


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


def kinds(journal: Journal) -> list[tuple[str, str]]:
    """(kind, id) of the lines about calls."""
    return [
        (fields[0], fields[1])
        for _, path in segments.found(journal.folder)
        for fields, _ in lines.read_lines(path)
        if fields is not None and fields[0] in "bfre"
    ]


def files(journal: Journal) -> list[int]:
    return [number for number, _ in segments.found(journal.folder)]


def test_a_call_is_written_before_begin_and_finish_return(make: Make) -> None:
    journal, record = make(), begun()
    journal.begin(record)
    assert kinds(journal) == [("b", record.record_id)]
    assert list(journal.open) == [record.record_id]
    start = journal.end
    assert journal.finish(ended(record)) == start
    assert kinds(journal) == [("b", record.record_id), ("f", record.record_id)]
    assert not journal.open


def test_texts_that_are_no_unicode_and_numbers_too_large_are_written_all_the_same(make: Make) -> None:
    journal = make()
    record = begun(route="a\ud83db\0", tags={"\ud83d": "x"}, input_tokens=2**70)
    journal.begin(record)
    journal.finish(ended(record, output_text="\udfff", attempts=[("\ud83d", "", "", 2**80, False)]))
    assert [kind for kind, _ in kinds(journal)] == ["b", "f"]
    assert record.route == "a?b"


def test_files_are_bounded_and_go_when_all_in_them_is_stored(make: Make) -> None:
    journal = make()
    records = [begun() for _ in range(40)]
    for record in records:
        journal.begin(record)
        journal.finish(ended(record))
    assert len(files(journal)) > 3
    assert all(path.stat().st_size < 4096 + 2048 for _, path in segments.found(journal.folder))
    journal.flushed(records)
    assert journal.size < 4096 + 2048
    journal.close()
    assert not journal.folder.exists()


def test_a_file_stays_while_one_record_of_it_is_not_stored(make: Make) -> None:
    journal = make()
    records = [begun() for _ in range(40)]
    for record in records:
        journal.begin(record)
        journal.finish(ended(record))
    journal.flushed(records[1:])
    journal.close()
    assert ("f", records[0].record_id) in kinds(journal)


def test_one_long_call_does_not_keep_all_files(make: Make) -> None:
    journal, long = make(), begun()
    journal.begin(long)
    for _ in range(200):
        record = begun()
        journal.begin(record)
        journal.finish(ended(record))
        journal.flushed([record])
    assert journal.size < 4096 * (journals.SEGMENTS_KEPT + 2)
    journal.close()
    # It is still known as under way, and nothing else is.
    open_ids = set()
    for kind, record_id in kinds(journal):
        open_ids.add(record_id) if kind == "b" else open_ids.discard(record_id)
    assert open_ids == {long.record_id}


def test_what_is_open_at_the_end_stays(make: Make) -> None:
    journal, record = make(), begun()
    journal.begin(record)
    journal.close()
    assert kinds(journal) == [("b", record.record_id)]


def test_the_lock_tells_whether_the_process_lives(make: Make) -> None:
    journal = make()
    assert try_lock(journal.folder) is None
    journal.begin(begun())
    journal.close()
    lock = try_lock(journal.folder)
    assert lock is not None
    os.close(lock)


def test_a_full_disk_refuses_calls_and_leaves_no_half_line(make: Make, disk: Disk) -> None:
    journal, before, refused = make(), begun(), begun()
    journal.begin(before)
    disk.room = 100
    with pytest.raises(JournalUnwritableError, match="full"):
        journal.begin(refused)
    with pytest.raises(JournalUnwritableError):
        journal.begin(begun())
    assert journal.unwritable
    assert list(journal.open) == [before.record_id]
    assert journal.finish(ended(before)) is None
    assert not journal.look_for_room()
    disk.room = None
    assert journal.look_for_room()
    assert not journal.unwritable
    # What ended meanwhile is made up for, and counts from here on.
    assert kinds(journal) == [("b", before.record_id), ("r", before.record_id)]
    after = begun()
    journal.begin(after)
    journal.finish(ended(after))
    journal.flushed([before, after])
    journal.close()
    assert not journal.folder.exists()


def test_a_half_line_that_cannot_be_taken_back_hurts_no_other(
    make: Make, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = make()

    def ftruncate(fd: int, size: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "ftruncate", ftruncate)
    disk.room = 50
    with pytest.raises(JournalUnwritableError):
        journal.begin(begun())
    monkeypatch.undo()
    assert journal.look_for_room()
    record = begun()
    journal.begin(record)
    assert kinds(journal) == [("b", record.record_id)]


def test_what_was_stored_while_the_disk_was_full_only_ends(make: Make, disk: Disk) -> None:
    journal, record, unjournaled = make(), begun(), ended(begun())
    journal.begin(record)
    disk.room = 0
    # The first write finds the disk full, the second does not try.
    assert journal.finish(ended(record)) is None
    assert journal.finish(unjournaled) is None
    journal.flushed([record, unjournaled])
    disk.room = None
    journal.look_for_room()
    assert kinds(journal) == [("b", record.record_id), ("e", record.record_id)]
    journal.close()
    assert not journal.folder.exists()


def test_a_little_room_is_no_room(make: Make, disk: Disk) -> None:
    journal = make()
    disk.room = 0
    with pytest.raises(JournalUnwritableError):
        journal.begin(begun())
    disk.room = journals.ROOM_BYTES // 2
    assert not journal.look_for_room()
    with pytest.raises(JournalUnwritableError):
        journal.begin(begun())


def test_a_journal_too_large_refuses_calls_but_takes_ends(make: Make) -> None:
    journal = make(bytes_max=20_000)
    records = []
    while not journal.unwritable:
        record = begun()
        journal.begin(record)
        records.append(record)
    with pytest.raises(JournalUnwritableError, match="PROMPTMESH_JOURNAL_BYTES_MAX"):
        journal.begin(begun())
    assert 20_000 <= journal.size < 30_000
    for record in records:
        assert journal.finish(ended(record)) is not None
    assert not journal.look_for_room()
    journal.flushed(records)
    assert journal.look_for_room()
    journal.begin(begun())


def test_where_each_line_is_brought_to_the_disk_a_failure_of_that_refuses_the_call(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fdatasync", synced.append)
    journal = make(sync_s=0)
    synced.clear()
    record = begun()
    journal.begin(record)
    assert len(synced) == 1

    def fails(fd: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fdatasync", fails)
    with pytest.raises(JournalUnwritableError):
        journal.begin(begun())
    assert kinds(journal) == [("b", record.record_id)]
    monkeypatch.undo()


def test_a_disk_that_fails_in_the_background_refuses_calls_until_another_file_works(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = threading.Event()

    def fails(fd: int) -> None:
        failed.set()
        raise OSError(errno.EIO, "Input/output error")

    journal, record = make(), begun()
    monkeypatch.setattr(os, "fdatasync", fails)
    journal.begin(record)
    assert failed.wait(30)
    while not journal.unwritable:
        pass
    with pytest.raises(JournalUnwritableError, match="Input/output"):
        journal.begin(begun())
    monkeypatch.undo()
    assert journal.look_for_room()
    assert files(journal) == [1, 2]
    journal.finish(ended(record))
    assert kinds(journal) == [("b", record.record_id), ("f", record.record_id)]


def test_ends_are_read_back_between_two_places(make: Make) -> None:
    journal = make()
    places, records = [], [begun() for _ in range(40)]
    for record in records:
        journal.begin(record)
        places.append(journal.finish(ended(record)))
    start = places[10]
    assert start is not None
    read = list(journal.finished(start, journal.end))
    assert [record.record_id for record, _ in read] == [record.record_id for record in records[10:]]
    again = list(journal.finished(read[4][1], journal.end))
    assert [record.record_id for record, _ in again] == [record.record_id for record in records[15:]]
    # They stand for the same places: storing them lets the files go.
    journal.flushed([*records[:10], *(record for record, _ in read)])
    journal.close()
    assert not journal.folder.exists()


def test_a_closed_journal_takes_nothing(make: Make) -> None:
    journal = make()
    journal.close()
    with pytest.raises(JournalUnwritableError, match="closed"):
        journal.begin(begun())
    assert journal.finish(ended(begun())) is None

"""Whatever a process did before it died, its journal tells what is still to be accounted for, and nothing else."""

from __future__ import annotations

import errno
import os
from collections import deque
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.inference.ledger.journal import Journal, JournalUnwritableError
from services.inference.ledger.record import CallRecord
from services.inference.ledger.recovery import _finished, _survey
from tests.unit.inference.ledger.records import begun, ended

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("begin"), st.integers(1, 4)),
        st.tuples(st.just("finish"), st.integers(0, 20)),
        st.tuples(st.just("hit"), st.just(0)),
        st.tuples(st.just("flush"), st.integers(1, 6)),
        st.tuples(st.just("full"), st.integers(0, 700)),
        st.tuples(st.just("room"), st.just(0)),
    ),
    max_size=60,
)

FOREVER_NS = 10**18


class Model:
    """What is under way, and what ended and is not stored."""

    def __init__(self) -> None:
        self.open: list[CallRecord] = []
        self.waiting: deque[CallRecord] = deque()
        self.stored: set[str] = set()
        self.unjournaled: set[str] = set()
        self.room: int | None = None
        self.write = os.write

    def limited(self, fd: int, data: bytes) -> int:
        if self.room is None:
            return self.write(fd, data)
        if not self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = self.write(fd, data[: self.room])
        self.room -= written
        return written

    def step(self, journal: Journal, kind: str, number: int) -> None:
        if kind == "begin":
            for _ in range(number):
                record = begun()
                try:
                    journal.begin(record)
                except JournalUnwritableError:
                    assert self.room is not None
                else:
                    self.open.append(record)
        elif kind == "finish" and self.open:
            self.end(journal, self.open.pop(number % len(self.open)))
        elif kind == "hit":
            self.end(journal, begun())
        elif kind == "flush":
            batch = [self.waiting.popleft() for _ in range(min(number, len(self.waiting)))]
            journal.flushed(batch)
            self.stored.update(one.record_id for one in batch)
        elif kind == "full":
            self.room = number
        elif kind == "room":
            self.room = None
            assert journal.look_for_room()
            self.unjournaled.clear()

    def end(self, journal: Journal, record: CallRecord) -> None:
        if journal.finish(ended(record)) is None:
            self.unjournaled.add(record.record_id)
        self.waiting.append(record)


@settings(max_examples=150, deadline=None)
@given(STEPS)
def test_a_survey_finds_what_is_left(tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int]]) -> None:
    folder = tmp_path_factory.mktemp("journals") / "one"
    journal = Journal(folder, sync_s=0.001, segment_bytes=2500, bytes_max=1 << 30)
    model = Model()
    with mock.patch("os.write", model.limited):
        for kind, number in steps:
            model.step(journal, kind, number)
    # It dies here: nothing is written any more, and its lock is free.
    journal._syncer.close()
    os.close(journal._lock)
    through, open_records, left_ns = _survey(folder)
    found = list(_finished(folder, through, left_ns + FOREVER_NS))
    recent = list(_finished(folder, through, -FOREVER_NS))
    assert [one.record_id for one in recent if not one.stored] == [one.record_id for one in found]
    assert {one.record_id for one in recent if one.stored} <= model.stored
    finished = [one.record_id for one in found]
    left = {one.record_id for one in model.waiting}
    under_way = {one.record_id for one in model.open}
    # What ended while nothing could be written counts as under way, if it is known at all.
    assert under_way <= open_records.keys() <= under_way | model.unjournaled
    assert left - model.unjournaled <= set(finished)
    assert len(finished) == len(set(finished))
    # Offered again at most: what was stored without a place in the order, or after the last note.
    assert set(finished) <= left | model.stored

"""Server-sent events, however they are cut and whatever their line ends."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.inference.providers.sse import MAX_LINE_BYTES, EventSplitter, LineTooLongError

STREAM = (
    b": hello\n\nevent: x\ndata: one\n\ndata:two\r\n\r\nid: 7\n"
    b"data: three\ndata: lines\n\nretry: 5\n\ndata: \n\ndata: last"
)
EVENTS = [b"one", b"two", b"three\nlines", b"", b"last"]


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_any_cut_gives_the_same_events(cuts: list[int]) -> None:
    splitter = EventSplitter()
    events: list[bytes] = []
    places = [0, *sorted(cuts), len(STREAM)]
    for begin, end in itertools.pairwise(places):
        events += splitter.feed(STREAM[begin:end])
    assert events + splitter.end() == EVENTS


def test_a_comment_is_noticed() -> None:
    splitter = EventSplitter()
    splitter.feed(b": thinking\n\n")
    assert splitter.saw_comment
    splitter.feed(b"data: x\n\n")
    assert not splitter.saw_comment


@pytest.mark.parametrize(
    "parts",
    [
        [b"data: " + b"x" * MAX_LINE_BYTES + b"\n"],
        [b"x" * 1000] * (MAX_LINE_BYTES // 1000 + 2),
        [b"data: " + b"x" * 1000 + b"\n"] * (MAX_LINE_BYTES // 1000 + 2),
    ],
)
def test_a_line_or_event_is_bounded(parts: list[bytes]) -> None:
    splitter = EventSplitter()
    with pytest.raises(LineTooLongError):
        [splitter.feed(part) for part in parts]

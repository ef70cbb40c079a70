"""Server-sent events, however they are cut and whatever their line ends."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.inference.providers.sse import MAX_LINE_BYTES, EventSplitter

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
    assert any(splitter.feed(part) or splitter.too_long for part in parts)
    assert splitter.too_long


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
@given(data=st.data())
def test_what_came_whole_before_a_line_that_is_too_long_counts_however_it_is_cut(
    line_end: bytes, data: st.DataObject
) -> None:
    begin = b"data: one" + 2 * line_end + b"data: two" + 2 * line_end
    stream = begin + b"data: " + b"x" * MAX_LINE_BYTES + 2 * line_end + b"data: three" + 2 * line_end
    cuts = data.draw(st.lists(st.integers(0, len(begin) + 10) | st.integers(0, len(stream)), max_size=5))
    splitter = EventSplitter()
    events: list[bytes] = []
    for first, last in itertools.pairwise([0, *sorted(cuts), len(stream)]):
        events += splitter.feed(stream[first:last])
        if splitter.too_long:
            break
    assert events == [b"one", b"two"]
    assert splitter.too_long

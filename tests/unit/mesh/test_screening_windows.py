"""Nothing of a forbidden phrase is ever released, however a stream is cut; what is allowed comes out whole."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.mesh.screening_windows import OVERLAP_CHARS, WINDOW_CHARS, ScreeningWindows

FORBIDDEN = "forbidden phrase"


def pieces_of(text: str, cuts: list[int]) -> list[str]:
    edges = [0, *sorted(cut % (len(text) + 1) for cut in cuts), len(text)]
    return [text[i:j] for i, j in pairwise(edges)]


def stream(pieces: list[str], windows: ScreeningWindows) -> tuple[str, bool]:
    """What is released, and whether the stream was stopped."""
    released = ""
    for piece in pieces:
        for window in windows.feed(piece):
            if FORBIDDEN in window.text:
                return released, True
            released += windows.cleared(window)
    for window in windows.finish():
        if FORBIDDEN in window.text:
            return released, True
        released += windows.cleared(window)
    return released, False


def small() -> ScreeningWindows:
    return ScreeningWindows(window_chars=40, overlap_chars=len(FORBIDDEN), context_chars=6, edge_chars=8)


texts = st.text(alphabet="ab \n🔥", max_size=400)
cuts = st.lists(st.integers(0, 1000), max_size=60)


@given(texts, cuts)
def test_allowed_text_is_released_whole_and_in_order(text: str, cuts: list[int]) -> None:
    assert stream(pieces_of(text, cuts), small()) == (text, False)


@given(texts, texts, cuts)
def test_no_part_of_a_forbidden_phrase_is_released(before: str, after: str, cuts: list[int]) -> None:
    released, stopped = stream(pieces_of(before + FORBIDDEN + after, cuts), small())
    assert stopped
    assert before.startswith(released)


@given(texts, texts)
def test_a_phrase_that_comes_character_by_character_is_stopped(before: str, after: str) -> None:
    released, stopped = stream(list(before + FORBIDDEN + after), small())
    assert stopped
    assert before.startswith(released)


@given(texts, cuts)
def test_windows_bear_to_be_screened_later_in_one_batch(text: str, cuts: list[int]) -> None:
    windows = small()
    made = [window for piece in pieces_of(text, cuts) for window in windows.feed(piece)] + windows.finish()
    for window in made:
        assert len(window.text) <= 40
        assert text[window.start :].startswith(window.text)
    assert "".join(windows.cleared(window) for window in made) == text


def test_released_text_stays_behind_what_was_screened_by_the_overlap() -> None:
    windows = ScreeningWindows()
    screened = released = 0
    for _ in range(300):
        for window in windows.feed("some words go by here, "):
            screened = window.start + len(window.text)
            released += len(windows.cleared(window))
            assert released <= screened - OVERLAP_CHARS
    assert released > 300 * 23 - WINDOW_CHARS - OVERLAP_CHARS


def test_a_window_neither_begins_nor_ends_inside_a_word_where_white_space_is_near() -> None:
    windows = small()
    text = "several short words go by here and never end " * 5
    made = windows.feed(text)
    assert len(made) > 3
    for window in made:
        assert window.start == 0 or text[window.start - 1].isspace()
        assert window.text[-1].isspace()


def test_a_short_stream_is_one_window_and_an_empty_one_none() -> None:
    windows = ScreeningWindows()
    assert windows.feed("short") == []
    (window,) = windows.finish()
    assert (window.start, window.text, window.free) == (0, "short", 5)
    assert windows.cleared(window) == "short"
    empty = ScreeningWindows()
    assert empty.feed("") == []
    assert empty.finish() == []


def test_one_huge_delta_is_cut_into_many_windows() -> None:
    windows = ScreeningWindows()
    text = "x" * 50_000
    made = windows.feed(text) + windows.finish()
    assert max(len(window.text) for window in made) <= WINDOW_CHARS
    assert "".join(windows.cleared(window) for window in made) == text


def test_misuse_is_refused() -> None:
    with pytest.raises(ValueError, match="a window must bring new text"):
        ScreeningWindows(window_chars=100, overlap_chars=80, context_chars=10, edge_chars=10)
    with pytest.raises(ValueError, match="must not be negative"):
        ScreeningWindows(context_chars=-1)
    windows = small()
    first, second, *_ = windows.feed("word " * 40)
    with pytest.raises(RuntimeError, match="window 1 was cleared out of order; expected window 0"):
        windows.cleared(second)
    windows.cleared(first)
    with pytest.raises(RuntimeError, match="out of order"):
        windows.cleared(first)
    windows.finish()
    with pytest.raises(RuntimeError, match="finished"):
        windows.feed("more")
    with pytest.raises(RuntimeError, match="finished already"):
        windows.finish()


def test_memory_does_not_grow_with_the_stream() -> None:
    windows = ScreeningWindows()
    for _ in range(2_000):
        for window in windows.feed("some words go by here, "):
            windows.cleared(window)
    assert len(windows._kept) < 3 * WINDOW_CHARS


@given(texts, texts, cuts, st.lists(st.booleans(), min_size=61, max_size=61))
def test_a_pause_frees_text_and_never_the_overlap(before: str, after: str, cuts: list[int], pauses: list[bool]) -> None:
    windows, released, stopped = small(), "", False
    whole = before + FORBIDDEN + after
    for piece, pause in zip(pieces_of(whole, cuts), pauses, strict=False):
        for window in windows.feed(piece) + (windows.flush() if pause else []):
            stopped = stopped or FORBIDDEN in window.text
            if not stopped:
                released += windows.cleared(window)
    for window in [] if stopped else windows.finish():
        stopped = stopped or FORBIDDEN in window.text
        if not stopped:
            released += windows.cleared(window)
    assert stopped
    assert before.startswith(released)


def test_a_pause_leaves_the_overlap_held_and_nothing_else() -> None:
    windows = ScreeningWindows()
    assert windows.feed("x" * (OVERLAP_CHARS + 7)) == []
    (window,) = windows.flush()
    assert windows.cleared(window) == "x" * 7
    assert windows.flush() == [], "nothing has come since"
    assert windows.feed("y") == []
    (window,) = windows.flush()
    assert windows.cleared(window) == "x"
    (window,) = windows.finish()
    assert windows.cleared(window) == "x" * (OVERLAP_CHARS - 1) + "y"
    assert windows.flush() == []

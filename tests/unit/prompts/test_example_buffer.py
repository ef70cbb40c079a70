"""Watchers see every piece of an example once, in order, whenever they come."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st
from promptmesh.inference.v1.events_pb2 import ExamplePiece

from services.prompts.example_buffer import EVERY_REVISION, ExampleBuffer, Shown, next_delta


class ManualClock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.seconds, UTC)

    def time(self) -> float:
        return self.seconds

    def monotonic(self) -> float:
        return self.seconds


def buffer(posts_max: int = 100, bytes_max: int = 10_000, clock: ManualClock | None = None) -> ExampleBuffer:
    return ExampleBuffer(posts_max=posts_max, bytes_max=bytes_max, age_s=60, clock=clock or ManualClock())


def piece(offset: int, text: str, post_id: str = "p", revision: int = 1) -> ExamplePiece:
    return ExamplePiece(post_id=post_id, revision=revision, offset=offset, text=text)


def take(one: ExampleBuffer, shown: Shown, post_id: str = "p") -> tuple[int, str] | None:
    writing = one.get(post_id)
    delta = None if writing is None else next_delta(writing, shown)
    return None if delta is None else (delta.offset, delta.text)


def test_who_comes_first_gets_piece_by_piece_and_who_comes_later_the_text_so_far() -> None:
    one, early, late = buffer(), Shown(), Shown()
    one.add(piece(0, "Once "))
    assert take(one, early) == (0, "Once ")
    assert take(one, early) is None
    one.add(piece(5, "upon "))
    assert take(one, late) == (0, "Once upon ")
    one.add(piece(10, "a time"))
    assert take(one, early) == (5, "upon a time")
    assert take(one, late) == (10, "a time")


def test_offsets_are_code_points() -> None:
    one, shown = buffer(), Shown()
    one.add(piece(0, "né🙂"))
    one.add(piece(3, "!"))
    assert take(one, shown) == (0, "né🙂!")


def test_a_piece_that_comes_twice_or_overlaps_is_shown_once() -> None:
    one, shown = buffer(), Shown()
    one.add(piece(0, "abc"))
    one.add(piece(3, "def"))
    one.add(piece(3, "def"))
    one.add(piece(4, "efgh"))
    assert take(one, shown) == (0, "abcdefgh")


def test_after_a_gap_nothing_is_shown_until_it_begins_afresh() -> None:
    one, shown, late = buffer(), Shown(), Shown()
    one.add(piece(0, "abc"))
    assert take(one, shown) == (0, "abc")
    one.add(piece(5, "f"))
    one.add(piece(3, "de"))
    assert take(one, shown) is None
    assert take(one, late) is None
    one.add(piece(0, "new"))
    assert take(one, shown) == (0, "new")
    assert take(one, late) == (0, "new")


def test_without_its_beginning_an_example_is_not_shown() -> None:
    one, shown = buffer(), Shown()
    one.add(piece(7, "late"))
    assert one.get("p") is None
    one.published("p", 1, 10, frozenset())
    one.add(piece(7, "late"))
    assert take(one, shown) is None


def test_a_later_revision_replaces_an_earlier_one_and_the_earlier_is_ignored() -> None:
    one, shown = buffer(), Shown()
    one.add(piece(0, "old"))
    assert take(one, shown) == (0, "old")
    one.published("p", 2, 10, frozenset())
    one.add(piece(3, " more"))
    assert take(one, shown) is None
    one.add(piece(0, "fresh", revision=2))
    assert take(one, shown) == (0, "fresh")


def test_what_is_over_stays_over_whoever_says_so_and_in_whichever_order() -> None:
    one = buffer()
    one.finished("p", 1)
    one.published("p", 1, 10, frozenset())
    one.add(piece(0, "late"))
    assert one.get("p") is None
    one.add(piece(0, "next", revision=2))
    assert one.get("p") is not None
    one.finished("p", EVERY_REVISION)
    one.finished("p", 1)
    one.add(piece(0, "never", revision=3))
    assert len(one) == 0
    assert one.size_bytes == 0


def test_it_is_bounded_by_count_bytes_and_age() -> None:
    clock = ManualClock()
    one = buffer(posts_max=3, bytes_max=10, clock=clock)
    for number in range(5):
        one.add(piece(0, "x", post_id=f"p{number}"))
    assert len(one) == 3
    one.add(piece(1, "12345678", post_id="p4"))
    assert one.size_bytes <= 10
    one.add(piece(0, "é" * 6, post_id="big"))
    assert len(one) == 0
    assert one.size_bytes == 0
    one.add(piece(0, "old", post_id="old"))
    clock.seconds += 61
    one.add(piece(0, "new", post_id="new"))
    assert one.get("old") is None
    assert one.get("new") is not None


def test_it_says_of_which_post_there_is_more() -> None:
    more: list[str] = []
    one = ExampleBuffer(posts_max=9, bytes_max=999, age_s=60, on_text=more.append)
    one.add(piece(0, "x"))
    one.add(piece(0, "x", post_id="q"))
    one.add(piece(9, "gap"))
    one.published("p", 1, 10, frozenset())
    one.published("r", 1, 11, frozenset())
    assert more == ["p", "q", "p"]
    assert set(one.posts()) == {"p", "q", "r"}


@given(
    st.lists(st.text(min_size=1, max_size=4), min_size=1, max_size=12),
    st.lists(st.booleans(), max_size=12),
    st.data(),
)
def test_any_watcher_rebuilds_the_very_text(pieces: list[str], repeats: list[bool], data: st.DataObject) -> None:
    """Whatever is delivered twice, and whenever a watcher reads: pieces put at their offsets make the text."""
    one = buffer()
    watchers: list[tuple[Shown, list[str]]] = [(Shown(), [])]
    text = ""
    for number, new in enumerate(pieces):
        one.add(piece(len(text), new))
        if number and repeats and repeats[number % len(repeats)]:
            one.add(piece(len(text), new))
        text += new
        if data.draw(st.booleans()):
            watchers.append((Shown(), []))
        for shown, got in watchers:
            if data.draw(st.booleans()):
                delta = take(one, shown)
                if delta is not None:
                    assert delta[0] == len("".join(got))
                    got.append(delta[1])
    for shown, got in watchers:
        delta = take(one, shown)
        if delta is not None:
            got.append(delta[1])
        assert "".join(got) == text

"""Whatever a phrase is padded with, and however the stream is cut: nothing of it is shown."""

from __future__ import annotations

import sys
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.inference.cleaning import RUN_MAX, UNREAD, Cleaner, clean
from services.mesh.screening_windows import OVERLAP_CHARS, ScreeningWindows
from services.moderation.screening.fold import fold, fold_character

FORBIDDEN = "a forbidden phrase of some thirty letters and more, and yet more"
UNREAD_CHARS = "".join(map(chr, (c for c in range(sys.maxunicode + 1) if fold_character(chr(c)) == "")))
ENGLAND = "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f"


def cut(text: str, cuts: list[int]) -> list[str]:
    edges = [0, *sorted(at % (len(text) + 1) for at in cuts), len(text)]
    return [text[start:end] for start, end in pairwise(edges)]


def cleaned(pieces: list[str]) -> str:
    cleaner = Cleaner()
    return "".join(cleaner.feed(piece) for piece in pieces)


cuts = st.lists(st.integers(0, 5000), max_size=40)
padding = st.builds(
    lambda chars, times: chars * times, st.text(alphabet=UNREAD_CHARS, max_size=6), st.sampled_from([1, 1, 3, 200])
)
mixed = st.text(
    alphabet="ab \n\u0301\u0302\u3164\u200d\ufe0f\u0640\x00\x07\U0001f3f4\U000e0067\U000e007f", max_size=120
)


def test_unread_is_what_moderation_folds_to_nothing() -> None:
    assert {char for char in map(chr, range(sys.maxunicode + 1)) if UNREAD.match(char)} == set(UNREAD_CHARS)


@pytest.mark.parametrize(
    "text",
    [
        "plain\ttext\r\nof two lines",
        "Crème brûlée, cre\u0300me",
        "שָׁלוֹם בְּרֵאשִׁ֖ית",
        "اللُّغَةُ العَرَبِيَّة",
        "می\u200cخواهم",  # noqa: RUF001
        "👩\u200d👩\u200d👧 ❤\ufe0f 1\ufe0f\u20e3",
        f"{ENGLAND} {ENGLAND}",
        "हिन्दी ไทย",
    ],
)
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    assert cleaned([text]) == text
    assert cleaned(list(text)) == text


def test_what_goes() -> None:
    assert cleaned(["a" + "\u0301" * 9 + "b\u3164\u3164c\u200bd\u202ee"]) == "a" + "\u0301" * 4 + "bcde"
    assert cleaned(["x\U000e0041\U000e0042y"]) == "xy"
    assert cleaned(["a\x00b\ud83d"]) == "ab?"
    assert clean("a\x00b\ud83d") == "a\ufffdb?"


@given(mixed, cuts)
def test_it_does_not_matter_where_the_stream_is_cut(text: str, cuts: list[int]) -> None:
    once = cleaned([text])
    assert cleaned(cut(text, cuts)) == once
    assert cleaned([once]) == once
    assert fold(once) == fold(text)
    assert len(once) <= (RUN_MAX + 3) * (len(fold(once)) + 1)


@given(
    st.text(alphabet="xyz \n", max_size=500),
    st.lists(padding, min_size=1, max_size=8),
    st.text("xyz ", max_size=500),
    cuts,
)
def test_no_part_of_a_padded_phrase_is_shown(before: str, pads: list[str], after: str, cuts: list[int]) -> None:
    padded = "".join(letter + pads[number % len(pads)] for number, letter in enumerate(FORBIDDEN))
    cleaner, windows = Cleaner(), ScreeningWindows(uncounted=UNREAD)
    shown, stopped = "", False
    for piece in [*cut(before + padded + after, cuts), None]:
        made = windows.finish() if piece is None else windows.feed(cleaner.feed(piece))
        for window in made:
            stopped = stopped or FORBIDDEN in fold(window.text)
            if not stopped:
                shown += windows.cleared(window)
        if stopped:
            break
    assert stopped
    assert before.startswith(fold(shown))


@given(st.lists(st.tuples(st.text("ab ", max_size=30), padding), max_size=40), cuts)
def test_text_with_much_that_is_unread_comes_out_whole_and_windows_stay_small(
    parts: list[tuple[str, str]], cuts: list[int]
) -> None:
    text = cleaned([word + pad for word, pad in parts])
    windows = ScreeningWindows(uncounted=UNREAD)
    made = [window for piece in cut(text, cuts) for window in windows.feed(piece)] + windows.finish()
    assert "".join(windows.cleared(window) for window in made) == text
    for window in made:
        assert len(fold(window.text)) <= 384
        assert len(window.text) <= 7 * 385
    for window in made[:-1]:
        rest = text[window.free : window.start + len(window.text)]
        assert len(fold(rest)) >= OVERLAP_CHARS

# ruff: noqa: RUF001
"""Readings say what a text says, and where each byte of them came from."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from services.moderation.screening.fold import FOLD, fold, fold_character
from services.moderation.screening.normalise import Kind, Reading, as_sent, folded, hidden_tags, readings

TRICKY = (
    st.sampled_from("aAkKiIlL10!|@$ -._\n\t\x00\x7f")
    | st.sampled_from("аЕοНßİﬁ½ﷺéё\u0301\u200b\u202e\ufe0f\U000e0041\U000e007f\U0001f3f4🔥ｋ𝗄한が中ก้")
    | st.characters()
)
texts = st.text(TRICKY, max_size=120)


def by_kind(text: str) -> dict[Kind, Reading]:
    return {reading.kind: reading for reading in readings(text)}


def reading_of(text: str, kind: Kind) -> str:
    return by_kind(text)[kind].data.decode()


@given(texts)
@example("h a t e 🔥 h-a-t-e, k.i.l.l y.o.u\U000e0041")
@example("a b c    d e f")
def test_every_byte_of_every_reading_comes_from_a_character_of_the_text_in_order(text: str) -> None:
    for reading in (as_sent(text), *readings(text)):
        origins = list(reading.origins)
        assert len(origins) == len(reading.data)
        assert origins == sorted(origins)
        assert all(0 <= origin < len(text) for origin in origins)


@given(texts)
def test_a_span_of_a_reading_maps_to_characters_that_fold_to_it(text: str) -> None:
    reading = folded(text)
    data = reading.data.decode()
    for position, char in enumerate(data):
        begin = len(data[:position].encode())
        start, end = reading.original_span(begin, begin + len(char.encode()))
        assert end == start + 1
        assert char in fold(text[start:end])


@given(texts)
def test_the_joined_reading_keeps_only_bytes_of_the_folded_one(text: str) -> None:
    plain = folded(text)
    of_origin: dict[int, set[int]] = {}
    for byte, origin in zip(plain.data, plain.origins, strict=True):
        of_origin.setdefault(origin, set()).add(byte)
    reading = by_kind(text).get(Kind.JOINED)
    if reading is not None:
        for byte, origin in zip(reading.data, reading.origins, strict=True):
            # Letters that stand for themselves are there; digits and signs may have become letters.
            assert byte in of_origin[origin] or bytes([byte]) in b"oeastbg1"


@given(st.text(TRICKY, max_size=60))
def test_folding_twice_changes_nothing(text: str) -> None:
    assert fold(fold(text)) == fold(text)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
def test_texts_that_are_equal_under_nfkc_fold_alike(text: str) -> None:
    # Canonical order concerns marks alone, and those that can be reordered are mostly dropped: compare per base letter.
    assert sorted(fold(unicodedata.normalize("NFKC", text))) == sorted(fold(unicodedata.normalize("NFKD", text)))


@given(st.text(st.characters(max_codepoint=127), max_size=200))
def test_the_fast_way_for_ascii_is_the_general_way(text: str) -> None:
    assert folded(text).data.decode() == text.translate(FOLD)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("HATE", "hate"),
        ("ｈａｔｅ", "hate"),
        ("𝒽𝕒𝓉𝖊", "hate"),
        ("һатє", "hate"),
        ("ΗΑΤΕ", "hate"),
        ("h\u0301a\u0336t\u0489e\u20dd", "hate"),
        ("h\u200ba\u2060t\ufefe\ufeffe".replace("\ufefe", ""), "hate"),
        ("\u202eh\u2066a\u00adt\u034fe\ufe0f", "hate"),
        ("h\U000e0061ate\U000e0101", "hate"),
        ("h\x00a\x07te", "hate"),
        ("ⓗⓐⓣⓔ", "hate"),
        ("🅷🅰🆃🅴", "hate"),
        ("🇭🇦🇹🇪", "hate"),
        ("ʜᴀᴛᴇ", "hate"),
        ("straße ﬁn", "strasse fin"),
        ("don’t—“quote”…", 'don\'t-"quote"...'),
        ("a\u00a0b\u3000c\u2028d", "a b c\nd"),
        ("한 が 中", unicodedata.normalize("NFKD", "한 が 中")),
        ("ما\u064eء", "ماء"),
        ("\ud800", "\ufffd"),
    ],
)
def test_folding(written: str, read: str) -> None:
    assert folded(written).data.decode() == read


@pytest.mark.parametrize(
    ("written", "kind", "read"),
    [
        ("h4t3 5h0r7", Kind.DECODED, "hate short"),
        ("k1ll h!m w0w!", Kind.DECODED, "k1ll h1m wow!"),
        ("say h a t e now", Kind.DECODED, "say hate now"),
        ("h-a-t-e", Kind.DECODED, "hate"),
        ("h🔥a🔥t🔥e", Kind.DECODED, "hate"),
        ("k i l l   y o u", Kind.DECODED, "kill you"),
        ("k.i.l.l y.o.u", Kind.DECODED, "kill you"),
        ("k i l l y o u", Kind.SPELLED, "killyou"),
        ("it is k i l l   y o u and h-a-t-e", Kind.SPELLED, "\nkillyou\nhate"),
        ("ha-te h.ate ha🔥te who're", Kind.JOINED, "hate hate hate who're"),
        ("kill🔥yourself", Kind.DECODED, "kill yourself"),
        ("\U000e0048\U000e0069 there", Kind.HIDDEN, "hi"),
    ],
)
def test_readings(written: str, kind: Kind, read: str) -> None:
    assert reading_of(written, kind) == read


def test_only_readings_that_differ_are_made() -> None:
    assert list(by_kind("Plain prose, nothing hidden in it.")) == [Kind.FOLDED]


def test_spans_lead_back_through_every_step() -> None:
    text = "say ｈ\u200b-4-т-Е now"
    reading = by_kind(text)[Kind.DECODED]
    begin = reading.data.index(b"hate")
    start, end = reading.original_span(begin, begin + 4)
    assert text[start:end] == "ｈ\u200b-4-т-Е"


def test_flags_of_regions_hide_nothing_and_made_up_flags_do() -> None:
    england = "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f"
    made_up = "\U0001f3f4\U000e0068\U000e0069\U000e007f"
    assert hidden_tags(england) == []
    assert hidden_tags(england + made_up) == [(8, 10)]


@given(st.characters())
def test_no_fold_holds_a_capital_or_an_invisible_character(char: str) -> None:
    for part in fold_character(char):
        assert part == part.casefold() or not part.casefold().isascii()
        assert unicodedata.category(part) != "Cf"
        assert part in "\n\t" or unicodedata.category(part) != "Cc"

"""Detectors that are no patterns."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from services.moderation.screening.detectors import DETECTORS, TEST_CARDS, Span, passes_luhn
from services.moderation.screening.normalise import folded


def find(name: str, text: str, at_least: int | None = None) -> list[Span]:
    detector = DETECTORS[name]
    return detector.find(text, folded(text), at_least or detector.at_least)


def with_check_digit(digits: str) -> str:
    return next(digits + str(last) for last in range(10) if passes_luhn(f"{digits}{last}".encode()))


@given(st.integers(0, 10**14 - 1), st.sampled_from(["", " ", "-"]), st.integers(1, 9))
def test_a_card_number_is_found_and_one_wrong_digit_is_none(body: int, separator: str, wrong: int) -> None:
    number = with_check_digit(f"4{body:014}")
    assume(number.encode() not in TEST_CARDS)
    written = separator.join(number[i : i + 4] for i in range(0, 16, 4))
    text = f"card {written}."
    assert find("card_number", text) == [(5, 5 + len(written))]
    broken = number[:-1] + str((int(number[-1]) + wrong) % 10)
    assert find("card_number", f"card {broken}.") == []


@pytest.mark.parametrize(
    "text",
    [
        "4242 4242 4242 4242",
        "0000 0000 0000 0000",
        "45391488034364670",
        "14539148803436467",
        "0.4539148803436467",
        "4539_1488",
    ],
)
def test_what_is_no_card(text: str) -> None:
    assert find("card_number", text) == []


def test_links_are_counted() -> None:
    assert find("link_flood", "see https://a.test www.b.test", 3) == []
    text = "see https://a.test www.b.test HTTP://c.test"
    ((start, end),) = find("link_flood", text, 3)
    assert text[start:end] == "https://a.test www.b.test HTTP://"


def test_repetition() -> None:
    assert find("repetition", "again and again " * 10) == []
    assert find("repetition", "again and again " * 100) == [(0, 1_600)]
    assert find("repetition", "".join(f"Line {i} says {i * 7919 % 1000}.\n" for i in range(100))) == []


@pytest.mark.parametrize(
    "text", ["p\u200ba\u200bs\u200bs", "\u202ea\u202eb\u202e", "a\ufe0f\ufe01\ufe02", "a\U000e0061\U000e0062\U000e0063"]
)
def test_hidden_characters_are_found(text: str) -> None:
    assert find("hidden_text", text)


@pytest.mark.parametrize("text", ["plain", "❤️ ☎️ 1️⃣ 👨‍👩‍👧", "می‌خواهم نمی‌دانم", "co\u00adoperate", "\ufefffile", "क्‍ष"])
def test_characters_with_a_use_are_left_alone(text: str) -> None:
    assert find("hidden_text", text) == []
    assert find("tag_text", text) == []

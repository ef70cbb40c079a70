"""Patterns mean what the rules of the contracts mean, to every code point and every bound."""

from __future__ import annotations

import re
import unicodedata

import pytest
import re2
from hypothesis import example, given
from hypothesis import strategies as st

from gateway import patterns

LINE = r"this.matches('^[^\\p{Cc}\\x{202A}-\\x{202E}\\x{2066}-\\x{2069}]*$') && this.matches('[^\\s\\p{Cc}\\p{Cf}]')"
ANYWHERE = "abc \t\n\u00a0\u00ad\u200b\u202e\u2066\ufeff\x00\x85\U000e0001ä漢"


@pytest.mark.parametrize(("ours", "theirs"), [(patterns.CONTROL, r"\p{Cc}"), (patterns.FORMAT, r"\p{Cf}")])
def test_classes_are_those_of_re2(ours: str, theirs: str) -> None:
    everything = "".join(map(chr, (*range(0xD800), *range(0xE000, 0x110000))))

    assert re.findall(f"[{ours}]", everything) == re2.findall(theirs, everything)


@given(st.text(st.sampled_from(ANYWHERE)))
@example("\u00a0")
@example("\U000e0001")
def test_a_line_is_one_to_the_pattern_if_it_is_one_to_the_rule(text: str) -> None:
    wanted = patterns.of_cel(LINE)
    is_line = not any(unicodedata.category(each) == "Cc" or each in "\u202e\u2066" for each in text)
    is_visible = any(unicodedata.category(each) not in ("Cc", "Cf") and each != " " for each in text)

    assert wanted is not None
    assert bool(re.fullmatch(wanted, text)) == (is_line and is_visible)


def test_a_pattern_alone_stays_itself() -> None:
    assert patterns.of_cel("this.matches('^[a-z0-9]+(-[a-z0-9]+)*$')") == "^[a-z0-9]+(-[a-z0-9]+)*$"


@pytest.mark.parametrize("rule", ["this.size() > 3", "this.matches('a') && this.matches('b')", "!this.matches('a')"])
def test_what_no_pattern_says_is_left_out(rule: str) -> None:
    assert patterns.of_cel(rule) is None


@given(st.data(), st.integers(-(10**20), 10**20), st.integers(0, 10**20))
def test_a_range_takes_what_lies_in_it(data: st.DataObject, low: int, span: int) -> None:
    high = low + span
    pattern = re.compile(patterns.of_range(low, high))
    near = st.sampled_from([low - 1, low, low + 1, high - 1, high, high + 1])
    number = data.draw(st.one_of(near, st.integers(low, high), st.integers(-(10**21), 10**21)))

    assert bool(pattern.fullmatch(str(number))) == (low <= number <= high)


@pytest.mark.parametrize("text", ["", "-", "-0", "007", "+1", "1.0", " 1", "1e3", "9223372036854775808"])
def test_other_spellings_are_none_of_a_range(text: str) -> None:
    assert not re.fullmatch(patterns.of_range(*patterns.INT64), text)

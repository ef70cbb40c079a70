"""Screening a stream in windows with the default policy: what the two parts promise together."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.mesh.screening_windows import OVERLAP_CHARS, ScreeningWindows
from services.moderation.screening.policy import parse_policy
from services.moderation.screening.result import Surface, Verdict
from services.moderation.screening.screener import RuleScreener, build_screener, default_policy

SCREENER = build_screener(default_policy(), "default_policy.yaml")
CAUGHT = [
    example
    for rule in parse_policy(default_policy()).rules
    if "output" in rule.surfaces and rule.action != "allow"
    for example in rule.examples.caught
]
PROSE = (
    "Iron rusts because it gives electrons to oxygen, slowly, wherever water helps; gold keeps its own. "
    "It's hit or miss with kitchen foil: the class assessed a bass, some grass and a U.S. flag. "
    "To Kill a Mockingbird and Assassin's Creed are fine; so is killing a python process, or a bath bomb.\n\n"
)


def stream(text: str, step: int) -> tuple[str, bool]:
    windows = ScreeningWindows()
    released = ""
    made = [window for i in range(0, len(text), step) for window in windows.feed(text[i : i + step])]
    for window in made + windows.finish():
        if SCREENER.screen_text(window.text, Surface.OUTPUT).verdict is not Verdict.ALLOW:
            return released, True
        released += windows.cleared(window)
    return released, False


@settings(max_examples=200)
@given(st.sampled_from(CAUGHT), st.integers(0, 700), st.integers(0, 400), st.integers(1, 50))
def test_nothing_of_what_the_policy_catches_is_released(bad: str, before: int, after: int, step: int) -> None:
    prose = PROSE * 3
    head = prose[:before] + "\n"
    released, stopped = stream(head + bad + "\n" + prose[:after], step)
    assert stopped
    assert head.startswith(released)


@given(st.integers(0, 300), st.integers(1, 60))
def test_allowed_prose_passes_wherever_its_windows_fall(skip: int, step: int) -> None:
    text = (PROSE * 8)[skip:]
    assert stream(text, step) == (text, False)


@pytest.mark.parametrize("example", CAUGHT)
def test_what_the_policy_catches_fits_in_the_overlap(screener: RuleScreener, example: str) -> None:
    assert max(f.end - f.start for f in screener.screen_text(example).findings) <= OVERLAP_CHARS

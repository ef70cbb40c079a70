"""The bucket of guesses."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.auth.factors.tries import Bucket

buckets = st.builds(Bucket, st.integers(1, 50), st.floats(1, 3600))


@given(buckets, st.floats(-5, 60), st.floats(-3600, 1e7))
def test_it_never_holds_more_than_its_burst(bucket: Bucket, left_over: float, elapsed_s: float) -> None:
    level = bucket.level(left_over, elapsed_s)
    assert level <= bucket.burst
    assert level >= min(left_over, bucket.burst)  # a clock that goes back takes nothing away


@given(buckets, st.floats(-3, 1))
def test_after_the_wait_there_is_one(bucket: Bucket, level: float) -> None:
    assert bucket.level(level, bucket.wait_s(level) * (1 + 1e-9)) >= 1 - 1e-6
    assert bucket.wait_s(1.0) == 0


@given(buckets, st.lists(st.floats(0, 600), max_size=200))
def test_guesses_are_bounded_over_any_time(bucket: Bucket, pauses_s: list[float]) -> None:
    level, guesses = float(bucket.burst), 0
    for pause_s in pauses_s:
        level = bucket.level(level, pause_s)
        if level >= 1:
            guesses += 1
            level -= 1
    assert guesses <= bucket.burst + sum(pauses_s) / bucket.refill_s + 1e-6

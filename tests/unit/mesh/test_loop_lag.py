"""How long the event loop stalls: told for a minute, by a clock that the test moves."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from services.mesh.background import LAG_WINDOW_S, watch_loop_lag
from services.mesh.sliding_max import SlidingMax
from services.mesh.telemetry.metrics import LOOP_LAG


class TheEndError(Exception):
    """Nothing more is to be seen."""


def gauge() -> float:
    (family,) = LOOP_LAG.collect()
    return family.samples[0].value


def test_the_greatest_of_late_is_told_and_then_the_next_greatest() -> None:
    of_late = SlidingMax(60.0)
    assert of_late.see(0.0, 1.0) == 1.0
    assert of_late.see(10.0, 3.0) == 3.0
    assert of_late.see(20.0, 2.0) == 3.0
    assert of_late.see(30.0, 0.5) == 3.0
    assert of_late.see(69.9, 0.1) == 3.0
    assert of_late.see(70.0, 0.1) == 2.0
    assert of_late.see(80.0, 0.1) == 0.5
    assert of_late.see(90.0, 0.1) == 0.1
    assert of_late.see(1000.0, 0.0) == 0.0


def test_it_agrees_with_all_that_was_seen() -> None:
    of_late, seen = SlidingMax(7.0), list[tuple[float, float]]()
    for step in range(500):
        now, value = step * 0.5, float(step * 7919 % 101)
        seen.append((now, value))
        assert of_late.see(now, value) == max(each for when, each in seen if when > now - 7.0)


async def test_a_stall_stays_to_be_seen_for_a_minute() -> None:
    """Ten ticks make a second; one of the third second's takes 2.5 s more than it should."""
    clock, told = 1000.0, list[tuple[float, float]]()

    def late() -> Iterator[float]:
        for tick in range(700):
            yield 2.5 if tick == 25 else 0.0

    lateness = late()

    async def sleep(delay_s: float) -> None:
        nonlocal clock
        told.append((clock, gauge()))
        if (more := next(lateness, None)) is None:
            raise TheEndError
        clock += delay_s + more

    with pytest.raises(TheEndError):
        await watch_loop_lag(lambda: clock, sleep)
    stalled_at = 1000.0 + 3.0 + 2.5  # when it was measured
    during = [value for when, value in told if stalled_at + 0.05 < when < stalled_at + LAG_WINDOW_S - 0.05]
    assert len(during) > 500
    assert all(value == pytest.approx(2.5, abs=1e-6) for value in during)
    after = [value for when, value in told if when > stalled_at + LAG_WINDOW_S + 1.05]
    assert after
    assert all(value == pytest.approx(0.0, abs=1e-6) for value in after)

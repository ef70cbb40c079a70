"""Days of UTC, in which budgets and partitions begin anew: who counts in one begins early enough to end in it."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

_PAST_MIDNIGHT_S = 1.0  # clocks of several processes agree that it is over


def wait_for_whole(
    needed_s: float,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Returns at once, unless fewer than so many seconds are left of the day (and, then, perhaps of the month): it
    waits for the next one."""
    left_s = seconds_left(now())
    if left_s < needed_s:
        sleep(left_s + _PAST_MIDNIGHT_S)


def seconds_left(now: datetime) -> float:
    """Of the day of UTC."""
    tomorrow = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    return (tomorrow - now).total_seconds()

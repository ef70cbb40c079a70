"""A robust slope with its interval, and what counts as growing.

Theil and Sen: the median of the slopes between all pairs of samples, which a burst, a collection or a stall does not
move; its interval by Kendall's variance. Samples ten seconds apart depend on each other, so the interval is narrower
than it says; the limits below are what decides, the interval only keeps noise from being called growth.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

MIB = 1024 * 1024
S_PER_HOUR = 3600.0
_Z_95 = 1.96

MEMORY_LIMIT_MIB_PER_HOUR = 8.0
"""What half an hour tells apart: 4 MiB, some arenas of an allocator. A process that grew so for a day would take 200
MiB, which the least of the memory limits in k8s/ has over what the process takes idle; pods are replaced more often."""
MEMORY_LIMIT_SHARE_PER_HOUR = 0.05
"""Of what the process takes, where that is more: of a large process the allocator's steps are larger."""
COUNT_LIMIT = 6
COUNT_LIMIT_SHARE = 0.1
"""Descriptors, connections, threads: the last third against the first, by their medians. Pools and the edge open
connections as callers coincide, hence some, and a tenth; a leak of one in a thousand calls is hundreds in that time."""


@dataclass(frozen=True, slots=True)
class Slope:
    """Per hour, in the unit of the values; `low` and `high` bound it (95 %)."""

    per_hour: float
    low: float
    high: float


def theil_sen(times_s: Sequence[float], values: Sequence[float]) -> Slope:
    """The slope of values over times, which rise. NaN throughout where there are fewer than three."""
    count = len(values)
    if count < 3:
        return Slope(math.nan, math.nan, math.nan)
    pairs = sorted(
        (values[later] - values[first]) / (times_s[later] - times_s[first]) * S_PER_HOUR
        for first in range(count)
        for later in range(first + 1, count)
    )
    spread = _Z_95 * math.sqrt(count * (count - 1) * (2 * count + 5) / 18)
    low = max(0, round((len(pairs) - spread) / 2))
    high = min(len(pairs) - 1, round((len(pairs) + spread) / 2))
    return Slope(statistics.median(pairs), pairs[low], pairs[high])


@dataclass(frozen=True, slots=True)
class MemoryVerdict:
    """Of one process, in MiB (per hour). `later`: the slope of the second half alone."""

    first: float
    last: float
    most: float
    slope: Slope
    later: Slope
    limit: float

    @property
    def grows(self) -> bool:
        """Over the limit, surely rising, and not just on its way to a level: the second half is over it as well."""
        return self.slope.per_hour > self.limit and self.slope.low > 0 and self.later.per_hour > self.limit


def memory_verdict(times_s: Sequence[float], taken_bytes: Sequence[float]) -> MemoryVerdict:
    """Of samples after the warm-up; at least one."""
    taken = [one / MIB for one in taken_bytes]
    half = len(taken) // 2
    return MemoryVerdict(
        taken[0],
        taken[-1],
        max(taken),
        theil_sen(times_s, taken),
        theil_sen(times_s[half:], taken[half:]),
        max(MEMORY_LIMIT_MIB_PER_HOUR, MEMORY_LIMIT_SHARE_PER_HOUR * statistics.median(taken)),
    )


@dataclass(frozen=True, slots=True)
class CountVerdict:
    """Of descriptors, connections or threads of one process."""

    first: float  # median of the first third
    last: float  # of the last
    most: float

    @property
    def grows(self) -> bool:
        """The last third lies over the first by more than what comes and goes."""
        return self.last - self.first > max(COUNT_LIMIT, COUNT_LIMIT_SHARE * self.first)


def count_verdict(values: Sequence[float]) -> CountVerdict:
    """Of samples after the warm-up; at least one."""
    third = max(1, len(values) // 3)
    return CountVerdict(statistics.median(values[:third]), statistics.median(values[-third:]), max(values))

"""A quantile that forgets: of what was seen lately, in a fixed space, at a fixed cost.

Observations fall into buckets whose bounds grow by a constant factor, so that a quantile read from them is off by at
most half a bucket in relation to its size (DDSketch: Masson, Rim and Lee, VLDB 2019). An observation weighs
2^((t - landmark) / half-life) when it comes, and nothing is touched after: dividing by the weight of now gives its
decayed weight (forward decay: Cormode, Shkapenyuk, Srivastava and Xu, ICDE 2009).
"""

from __future__ import annotations

from math import exp2, log

_LEAST_S = 0.0005
_GROWTH = 1.1  # so that an estimate is off by 5 % at most
_BUCKETS = 148  # up to 600 s, the longest that a provider may take: 0.0005 * 1.1^147
_PER_LOG = 1 / log(_GROWTH)
# Past this many half-lives the weights are brought down again, long before a float's range (2^1023) ends.
_HALF_LIVES_MAX = 64.0
# Less than this of one observation is no knowledge: a single one is forgotten after three half-lives.
_WEIGHT_LEAST = 0.125
_AGE_MAX = 1000.0  # half-lives: 2^1000 is still a float
_FRESH_S = 0.25  # for which a value that was read is good


class DecayedQuantile:
    """Of durations in seconds. `now` is any clock's that does not go back."""

    __slots__ = ("_buckets", "_half_life_s", "_landmark", "_read_time", "_read_value", "_share_above", "_total")

    def __init__(self, half_life_s: float = 60.0, quantile: float = 0.95) -> None:
        self._half_life_s = half_life_s
        self._share_above = 1 - quantile
        self._buckets = [0.0] * _BUCKETS
        self._total = 0.0
        self._landmark: float | None = None
        self._read_time = float("-inf")
        self._read_value: float | None = None

    def add(self, value_s: float, now: float) -> None:
        """One observation."""
        if self._landmark is None:
            self._landmark = now
            self._read_time = float("-inf")  # from nothing to something: seen at once
        age = (now - self._landmark) / self._half_life_s
        if age > _HALF_LIVES_MAX:
            self._bring_down(now, age)
            age = 0.0
        weight = exp2(age)
        index = int(log(value_s / _LEAST_S) * _PER_LOG) + 1 if value_s > _LEAST_S else 0
        self._buckets[index if index < _BUCKETS else _BUCKETS - 1] += weight
        self._total += weight

    def value(self, now: float) -> float | None:
        """The quantile in seconds; None where nothing is known (any more)."""
        if now - self._read_time < _FRESH_S:
            return self._read_value
        self._read_time = now
        self._read_value = self.read(now)
        return self._read_value

    def read(self, now: float) -> float | None:
        """The same, worked out anew and changing nothing: for other threads."""
        if self._landmark is None:
            return None
        age = (now - self._landmark) / self._half_life_s
        # 2^age may be beyond a float where nothing came for days.
        if age > _AGE_MAX or self._total < _WEIGHT_LEAST * exp2(age):
            return None
        left = self._total * self._share_above
        for index in range(_BUCKETS - 1, -1, -1):
            left -= self._buckets[index]
            if left < 0:
                # The middle of the bucket, by ratio.
                return _LEAST_S if index == 0 else float(_LEAST_S * _GROWTH ** (index - 0.5))
        return _LEAST_S

    def _bring_down(self, now: float, age: float) -> None:
        factor = exp2(-min(age, _AGE_MAX))
        self._buckets = [weight * factor for weight in self._buckets]
        self._total *= factor
        self._landmark = now

"""A circuit breaker: leaves a target alone that fails, until a probe of ours (never a caller) has succeeded."""

from __future__ import annotations

from enum import Enum

from services.inference.routing.route import BreakerPolicy

_SECONDS = 64  # that are counted one by one; a power of two, and the longest window


class Phase(Enum):
    """Of a breaker. OPEN and HALF_OPEN alike let no caller through; in HALF_OPEN a probe is under way."""

    CLOSED = "closed"
    HALF_OPEN = "half_open"
    OPEN = "open"


class Breaker:
    """Opens by the policy of the call that failed: a row of failures, or their share of the last seconds.

    Calls that began before it last opened or closed say nothing of how the target is now, and are not counted: the
    timeouts of an outage may come in long after its end. So does a success that began before a row of failures: a
    stream that was begun in good times ends no row.
    """

    __slots__ = (
        "_changed_time",
        "_failed",
        "_ok",
        "_policy",
        "_row_time",
        "_seconds",
        "closed",
        "failures_in_row",
        "open_s",
        "opened",
        "probe_time",
        "probing",
    )

    def __init__(self) -> None:
        self.closed = True
        self.probing = False
        self.probe_time = 0.0  # when the next probe is due, while it is open
        self.open_s = 0.0  # that it stays open this time
        self.failures_in_row = 0
        self.opened = 0  # how often
        self._row_time = 0.0
        self._changed_time = float("-inf")
        self._policy = BreakerPolicy()
        self._seconds = [-1] * _SECONDS
        self._ok = [0] * _SECONDS
        self._failed = [0] * _SECONDS

    @property
    def phase(self) -> Phase:
        """For people and metrics."""
        if self.closed:
            return Phase.CLOSED
        return Phase.HALF_OPEN if self.probing else Phase.OPEN

    def succeeded(self, begin_time: float, now: float) -> None:
        """A call that began then has answered."""
        if self.failures_in_row and begin_time >= self._row_time:
            self.failures_in_row = 0
        self._ok[self._slot(now)] += 1

    def failed(self, policy: BreakerPolicy, begin_time: float, now: float) -> bool:
        """A call that began then has failed; whether the breaker opened by it."""
        if not self.closed or begin_time < self._changed_time:
            return False
        if not self.failures_in_row:
            self._row_time = now
        self.failures_in_row += 1
        self._failed[self._slot(now)] += 1
        if self.failures_in_row < policy.failures and not self._share_reached(policy, now):
            return False
        self.closed = False
        self.opened += 1
        self.open_s = policy.open_s
        self.probe_time = now + policy.open_s
        self._changed_time = now
        self._policy = policy
        return True

    def probe_succeeded(self, now: float) -> None:
        """Closes."""
        self.closed = True
        self.probing = False
        self.failures_in_row = 0
        self._changed_time = now
        self._seconds = [-1] * _SECONDS

    def probe_failed(self, now: float) -> None:
        """Stays open, for twice as long as before, within the policy's bound."""
        self.probing = False
        self.open_s = min(self.open_s * 2, max(self._policy.open_s, self._policy.open_most_s))
        self.probe_time = now + self.open_s

    def _slot(self, now: float) -> int:
        second = int(now)
        slot = second & (_SECONDS - 1)
        if self._seconds[slot] != second:
            self._seconds[slot] = second
            self._ok[slot] = self._failed[slot] = 0
        return slot

    def _share_reached(self, policy: BreakerPolicy, now: float) -> bool:
        oldest = int(now - min(policy.window_s, _SECONDS - 1)) + 1
        ok = failed = 0
        for slot, second in enumerate(self._seconds):
            if second >= oldest:
                ok += self._ok[slot]
                failed += self._failed[slot]
        calls = ok + failed
        return calls >= policy.calls_min and failed >= policy.failure_share * calls

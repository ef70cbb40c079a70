"""When a call is made again, and after how long. Pure: the sync and the async client sleep by themselves."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from promptmesh._errors import DeadlineExceededError, PromptmeshError, RateLimitedError, UnavailableError


@dataclass(frozen=True, slots=True)
class Retries:
    """How calls that may be retried are: those that only read, and creates with a `request_id`.

    Waits double from `first_wait_s` to `longest_wait_s`, each shortened by up to a half at random, so that many clients
    do not come back at one moment. Where the server says how long to wait, it is at least that long. A wait that would
    not end within the call's `timeout_s` is not begun.
    """

    attempts: int = 3  # with the first; 1: no retries
    first_wait_s: float = 0.1
    longest_wait_s: float = 5.0
    random: Callable[[], float] = random.random  # 0 to 1

    def __post_init__(self) -> None:
        if self.attempts < 1 or self.first_wait_s < 0 or self.longest_wait_s < self.first_wait_s:
            raise ValueError("Retries: attempts from 1, waits from 0, and the longest not below the first")

    def wait_s(self, failures: int) -> float:
        """Before the next attempt, after so many failed ones (from 1)."""
        full: float = min(self.longest_wait_s, self.first_wait_s * 2 ** min(failures - 1, 30))
        return full * (1 - self.random() / 2)


class Budget:
    """The time of one call, all its attempts together."""

    def __init__(self, timeout_s: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        if timeout_s is not None and timeout_s <= 0:
            raise ValueError(f"timeout_s must be above 0, not {timeout_s}")
        self._clock = clock
        self._end_s = None if timeout_s is None else clock() + timeout_s

    def left_s(self) -> float | None:
        """What is left; None: there is no limit. Raises DeadlineExceededError where nothing is."""
        if self._end_s is None:
            return None
        left_s = self._end_s - self._clock()
        if left_s <= 0:
            raise DeadlineExceededError("timeout_s was over before an answer came", code="DEADLINE_EXCEEDED")
        return left_s

    def allows(self, wait_s: float) -> bool:
        """Whether the wait would leave time for a call."""
        return self._end_s is None or self._clock() + wait_s < self._end_s


class Attempts:
    """Counts the attempts of one call and decides about the next."""

    def __init__(self, retries: Retries, budget: Budget, *, may_retry: bool) -> None:
        self._retries, self._budget, self._may_retry = retries, budget, may_retry
        self._failures = 0

    def wait_s(self, error: PromptmeshError) -> float | None:
        """How long to wait before another attempt; None: there is none, the error goes to the caller."""
        self._failures += 1
        if not self._may_retry or self._failures >= self._retries.attempts or not is_passing(error):
            return None
        wait_s = max(self._retries.wait_s(self._failures), error.retry_after_s or 0.0)
        return wait_s if self._budget.allows(wait_s) else None


def is_passing(error: PromptmeshError) -> bool:
    """Whether the same call may go well a little later: something is away, or a limit says when it is open again."""
    return isinstance(error, UnavailableError) or (
        isinstance(error, RateLimitedError) and error.retry_after_s is not None
    )

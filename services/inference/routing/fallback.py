"""Where a call goes after an attempt has failed: another target, the same one after a pause, or nowhere."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from services.inference.engine.call import AnswerInfo, ModelCall
from services.inference.routing.failures import RATE_LIMITED, Next, after
from services.inference.routing.plan import Plan
from services.inference.routing.strategies import Lane
from services.mesh.errors import MeshError

Sleep = Callable[[float], Awaitable[object]]


class Fallback:
    """Of one call; made when its first attempt has failed. `rng` gives numbers in [0, 1)."""

    __slots__ = ("_call", "_clock", "_info", "_larger_than", "_plan", "_rng", "_sleep", "_tried")

    def __init__(
        self,
        plan: Plan,
        call: ModelCall,
        info: AnswerInfo,
        *,
        clock: Callable[[], float],
        rng: Callable[[], float],
        sleep: Sleep,
    ) -> None:
        self._plan, self._call, self._info = plan, call, info
        self._clock, self._rng, self._sleep = clock, rng, sleep
        self._tried: list[Lane] = []
        self._larger_than = 0

    def took(self, lane: Lane) -> None:
        """An attempt goes to this lane: no other of this call will, unless it is the only one."""
        if lane not in self._tried:
            self._tried.append(lane)

    async def next(self, lane: Lane, error: MeshError, *, only_others: bool = False) -> Lane:
        """The lane of the next attempt, after that on `lane` ended in `error`; raises `error` where there is none.

        Raises what `before_attempt_again` does where the money does not reach. Never sleeps past the deadline.
        """
        self.took(lane)
        found = self._other(lane, error)
        if found is None and not only_others:
            found = await self._same(lane, error)
        if found is None:
            error.metadata["attempts"] = str(len(self._info.attempts))
            raise error
        if any(attempt.billable for attempt in self._info.attempts):
            await self._call.before_attempt_again(found.target)
        return found

    async def hedge(self) -> Lane | None:
        """A lane for a second attempt beside the one under way; None where there is none, or it is not paid for."""
        if not self._attempts_left or self._past(0.0):
            return None
        found = self._plan.pick(self._call, self._clock(), self._tried, larger_than=self._larger_than)
        if found is not None:
            try:
                await self._call.before_attempt_again(found.target)
            except MeshError:
                return None  # the first attempt goes on
        return found

    def _other(self, lane: Lane, error: MeshError) -> Lane | None:
        where = after(error.reason)
        if where is Next.NOWHERE or not self._attempts_left or self._past(0.0):
            return None
        if where is Next.LARGER:
            if not lane.target.context_tokens:
                return None  # nobody knows what would be larger
            self._larger_than = max(self._larger_than, lane.target.context_tokens)
        return self._plan.pick(self._call, self._clock(), self._tried, larger_than=self._larger_than)

    async def _same(self, lane: Lane, error: MeshError) -> Lane | None:
        """The same lane after a pause, where it is the only one that this call could go to."""
        if after(error.reason) is not Next.ANY or len(self._tried) > 1 or not self._attempts_left:
            return None
        wait_s = self._wait_s(lane, error)
        if wait_s is None or self._past(wait_s) or not lane.health.breaker.closed:
            return None
        await self._sleep(wait_s)
        now = self._clock()
        other = self._plan.pick(self._call, now, self._tried, larger_than=self._larger_than)
        if other is not None:
            return other  # came back meanwhile
        # Others who wait for the same target may have been limited anew: this one waited for its turn.
        return lane if lane.health.breaker.closed and lane.health.in_flight < lane.concurrency_max else None

    def _wait_s(self, lane: Lane, error: MeshError) -> float | None:
        """Backoff with full jitter (AWS Architecture Blog, "Exponential Backoff And Jitter"), after what the provider
        asked for; None where it asks for more than the policy waits."""
        retry = self._plan.retry
        asked_s = error.retry_after_s or 0.0
        if error.reason == RATE_LIMITED:
            asked_s = max(asked_s, lane.health.cooldown_until - self._clock())
        if asked_s > retry.retry_after_most_s:
            return None
        most_s = min(retry.backoff_most_s, retry.backoff_first_s * 2.0 ** (len(self._info.attempts) - 1))
        return asked_s + self._rng() * most_s

    @property
    def _attempts_left(self) -> bool:
        return len(self._info.attempts) < self._plan.retry.attempts_max

    def _past(self, wait_s: float) -> bool:
        deadline = self._call.deadline
        return deadline is not None and self._clock() + wait_s >= deadline

"""What is known of each target's health, over versions of the configuration: how busy, how fast, whether it works.

Of this process alone: replicas see the same providers soon enough, and nothing shared stands on the path of a call.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from services.inference.routing.breaker import Breaker, Phase
from services.inference.routing.failures import AGAINST_BREAKER, CANCELLED, RATE_LIMITED, TIMEOUT
from services.inference.routing.quantiles import DecayedQuantile
from services.inference.routing.route import BreakerPolicy, Route, Target
from services.mesh.telemetry.logs import get_logger

log = get_logger()
# Where a provider limits us and does not say for how long; doubled by each further limit, to the most.
COOLDOWN_FIRST_S = 0.5
COOLDOWN_MOST_S = 30.0
LATENCY_HALF_LIFE_S = 60.0
OK = "ok"


@dataclass(frozen=True, slots=True)
class TargetStatus:
    """A target's health at a moment. Durations in seconds; p95 None: nothing known lately."""

    provider: str
    upstream_model: str
    phase: Phase
    in_flight: int
    cooldown_s: float
    next_probe_s: float | None  # None: the breaker is closed
    first_token_p95_s: float | None
    answer_p95_s: float | None  # of answers that were not streamed
    failures_in_row: int
    breaker_opened: int  # times
    last_reason: str  # of the last attempt that failed
    outcomes: dict[str, int]  # attempts by how they ended: `ok`, `cancelled`, or a reason in lower case


class TargetHealth:
    """One target's, under its key. Whoever calls it raises `in_flight` and reports how the attempt ended, once."""

    __slots__ = (
        "_changed",
        "_limited_row",
        "_limited_time",
        "_stalled",
        "answer",
        "breaker",
        "cooldown_until",
        "first_token",
        "in_flight",
        "key",
        "last_reason",
        "ok",
        "other_outcomes",
        "target",
        "version",
    )

    def __init__(self, target: Target, version: int, changed: Callable[[], None], stalled: Callable[[], bool]) -> None:
        self.key = target.key
        self.target = target  # as the newest version of the configuration has it
        self.version = version
        self.breaker = Breaker()
        self.in_flight = 0
        self.cooldown_until = 0.0
        self.first_token = DecayedQuantile(LATENCY_HALF_LIFE_S)
        self.answer = DecayedQuantile(LATENCY_HALF_LIFE_S)
        self.last_reason = ""
        self.ok = 0
        self.other_outcomes: dict[str, int] = {}
        self._limited_row = 0
        self._limited_time = float("-inf")
        self._changed = changed
        self._stalled = stalled

    def answered(self, begin_time: float, now: float) -> None:
        """An attempt has given a whole answer."""
        self.in_flight -= 1
        self.ok += 1
        self._limited_row = 0
        self.breaker.succeeded(begin_time, now)

    def left(self) -> None:
        """An attempt was left by its caller, or for another one: neither success nor failure."""
        self.in_flight -= 1
        self._count(CANCELLED)

    def failed(
        self, reason: str, policy: BreakerPolicy, begin_time: float, now: float, retry_after_s: float | None = None
    ) -> None:
        """An attempt has ended in an error."""
        self.in_flight -= 1
        self.last_reason = reason
        self._count(reason)
        if reason == RATE_LIMITED:
            self.limited(begin_time, now, retry_after_s)
        elif reason in AGAINST_BREAKER:
            if reason == TIMEOUT and self._stalled():
                return  # a timer of ours went off because our own loop stood still
            if self.breaker.failed(policy, begin_time, now):
                log.warning("a target is left alone", **self.labels(), reason=reason, open_s=self.breaker.open_s)
                self._changed()

    def limited(self, begin_time: float, now: float, retry_after_s: float | None) -> None:
        """The provider limits us: left alone for as long as it says, or for a time that doubles."""
        if begin_time >= self._limited_time:  # else it was under way when the target began to cool down: one limit
            self._limited_row += 1
            self._limited_time = now
        if retry_after_s is None:
            retry_after_s = min(COOLDOWN_MOST_S, COOLDOWN_FIRST_S * 2 ** min(self._limited_row - 1, 16))
        self.cooldown_until = max(self.cooldown_until, now + retry_after_s)

    def labels(self) -> dict[str, str]:
        """For logs."""
        return {"provider": self.target.provider.name, "upstream_model": self.target.upstream_model}

    def status(self, now: float) -> TargetStatus:
        """As of now. Changes nothing: other threads (that of the metrics) may ask."""
        breaker = self.breaker
        outcomes = {reason.lower(): count for reason, count in list(self.other_outcomes.items())}
        return TargetStatus(
            provider=self.target.provider.name,
            upstream_model=self.target.upstream_model,
            phase=breaker.phase,
            in_flight=self.in_flight,
            cooldown_s=max(0.0, self.cooldown_until - now),
            next_probe_s=None if breaker.closed else max(0.0, breaker.probe_time - now),
            first_token_p95_s=self.first_token.read(now),
            answer_p95_s=self.answer.read(now),
            failures_in_row=breaker.failures_in_row,
            breaker_opened=breaker.opened,
            last_reason=self.last_reason,
            outcomes={OK: self.ok, **outcomes},
        )

    def _count(self, reason: str) -> None:
        self.other_outcomes[reason] = self.other_outcomes.get(reason, 0) + 1


def _never() -> bool:
    return False


class Health:
    """Of all targets. `clock`: the event loop's, in seconds. `stalled`: whether our own loop stood still just now."""

    def __init__(self, *, clock: Callable[[], float] | None = None, stalled: Callable[[], bool] = _never) -> None:
        self.clock = clock or asyncio.get_running_loop().time
        self._stalled = stalled
        self._targets: dict[str, TargetHealth] = {}
        self._listeners: list[Callable[[], None]] = []

    def of(self, target: Target, version: int) -> TargetHealth:
        """The health of a target, new where it was never seen. `version`: of the configuration that it is of."""
        key = target.key
        found = self._targets.get(key)
        if found is None:
            found = self._targets[key] = TargetHealth(target, version, self._opened, self._stalled)
        elif version >= found.version:
            found.target, found.version = target, version
        return found

    def configure(self, routes: Iterable[Route]) -> None:
        """Takes what a new version of the configuration holds: targets that are gone are forgotten, probes end."""
        keys = {self.of(target, route.version).key for route in routes for target in route.targets}
        for key in self._targets.keys() - keys:
            del self._targets[key]
        self._opened()

    def on_open(self, listener: Callable[[], None]) -> None:
        """Calls `listener` whenever a breaker has opened."""
        self._listeners.append(listener)

    def open_targets(self) -> list[TargetHealth]:
        """Those whose breaker is not closed."""
        return [one for one in self._targets.values() if not one.breaker.closed]

    def snapshot(self) -> list[TargetStatus]:
        """All targets that were seen, by provider and model."""
        now = self.clock()
        return sorted(
            (one.status(now) for one in list(self._targets.values())),
            key=lambda one: (one.provider, one.upstream_model),
        )

    def _opened(self) -> None:
        for listener in self._listeners:
            listener()

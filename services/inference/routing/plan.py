"""A route made ready: its targets with their health, and the choice among those that may take a call."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from services.inference.engine.call import ModelCall
from services.inference.routing.canary import Canaries, Trial
from services.inference.routing.failures import RATE_LIMITED, UNAVAILABLE
from services.inference.routing.health import Health
from services.inference.routing.route import Midstream, Route, Target
from services.inference.routing.strategies import STRATEGIES, Lane
from services.mesh.errors import MeshError

# A target with all its calls under way is free again when one ends: seconds, as far as anybody can say.
BUSY_RETRY_S = 1.0
_RETRY_LEAST_S = 0.1  # a probe may be under way: "at once" would have callers spin
_NONE: tuple[Lane, ...] = ()


class Plan:
    """Of one route, for answers or for vectors. `rng` gives numbers in [0, 1)."""

    __slots__ = (
        "_choose",
        "_context_most",
        "_rng",
        "breaker",
        "canary",
        "canary_share",
        "hedge_after_s",
        "lanes",
        "restarts",
        "retry",
        "route",
        "single",
        "trial",
    )

    def __init__(self, route: Route, lanes: Sequence[Lane], trial: Trial | None, rng: Callable[[], float]) -> None:
        self.route = route
        self.lanes = tuple(lanes)
        self.single = lanes[0] if len(lanes) == 1 else None
        self.trial = trial
        self.retry = route.retry
        self.breaker = route.breaker
        self.canary = next((lane for lane in lanes if lane.is_canary), None) if len(lanes) > 1 else None
        self.canary_share = route.canary.share_percent / 100 if route.canary and self.canary else 0.0
        several = len(lanes) > 1 and route.retry.attempts_max > 1
        self.restarts = several and route.midstream is Midstream.RESTART
        self.hedge_after_s = route.hedge_after_s if several else None
        self._choose = STRATEGIES[route.strategy]
        self._context_most = max((lane.context_tokens for lane in lanes), default=0)
        self._rng = rng

    def pick(self, call: ModelCall, now: float, tried: Sequence[Lane] = _NONE, *, larger_than: int = 0) -> Lane | None:
        """The lane that the next attempt goes to: eligible, not yet tried, and first by the route's strategy.

        `larger_than`: only targets that are known to have more context than that. None: there is no such lane.
        """
        single = self.single
        if single is not None:
            return single if not tried and single.open(now) else None
        # Where the estimate fits no target, the largest decide for themselves: it is but an estimate.
        needed = call.input_tokens_estimate
        if needed > self._context_most:
            needed = self._context_most
        eligible = []
        for lane in self.lanes:
            health = lane.health
            if (
                health.breaker.closed
                and health.cooldown_until <= now
                and health.in_flight < lane.concurrency_max
                and lane.context_tokens >= needed
                and lane not in tried
                and (not larger_than or lane.target.context_tokens > larger_than)
            ):
                eligible.append(lane)
        if not eligible:
            return None
        if self.canary is not None:
            return self._pick_tried_out(eligible, call, now, first=not tried)
        if len(eligible) == 1:
            return eligible[0]
        return self._choose(eligible, call, self._rng, now)

    def _pick_tried_out(self, eligible: list[Lane], call: ModelCall, now: float, *, first: bool) -> Lane | None:
        """With a canary: its share of first attempts, and what no other target can take."""
        canary = self.canary
        control = [lane for lane in eligible if lane is not canary]
        allowed = canary in eligible and not (self.trial is not None and self.trial.rolled_back)
        if allowed and (not control or (first and self._rng() < self.canary_share)):
            return canary
        if not control:
            return None
        return control[0] if len(control) == 1 else self._choose(control, call, self._rng, now)

    def refusal(self, now: float) -> MeshError:
        """The error where no target may take a call: why, and when one may again."""
        name = self.route.name
        waits: list[tuple[float, str]] = []
        for lane in self.lanes:
            health = lane.health
            if lane.is_canary and self.trial is not None and self.trial.rolled_back:
                continue
            if not health.breaker.closed:
                waits.append((max(_RETRY_LEAST_S, health.breaker.probe_time - now), health.last_reason or UNAVAILABLE))
            elif health.cooldown_until > now:
                waits.append((health.cooldown_until - now, RATE_LIMITED))
            else:
                waits.append((BUSY_RETRY_S, "BUSY"))
        soonest_s = min((wait_s for wait_s, _ in waits), default=BUSY_RETRY_S)
        metadata = {"attempts": "0", "targets": ",".join(sorted({why for _, why in waits}))}
        if limits := [wait_s for wait_s, why in waits if why == RATE_LIMITED]:
            return MeshError(
                RATE_LIMITED,
                f"All targets of {name} are limited by their providers, failing or busy. Nothing was asked of them; "
                "wait, then try again.",
                metadata=metadata,
                retry_after_s=min(limits),
            )
        return MeshError(
            UNAVAILABLE,
            f"All targets of {name} are failing or busy. Nothing was asked of them; they are probed in the background. "
            "Wait, then try again.",
            metadata=metadata,
            retry_after_s=soonest_s,
        )


class Plans:
    """Plans of the routes of the configuration, made when first asked for, and anew for each new version of a route."""

    def __init__(self, health: Health, rng: Callable[[], float], canaries: Canaries | None = None) -> None:
        self._health = health
        self._rng = rng
        self._canaries = canaries
        self._plans: dict[tuple[str, str], tuple[Route, Plan | None, Plan | None]] = {}

    def of(self, route: Route, *, embeds: bool = False) -> Plan:
        """The plan for answers, or for vectors; MeshError INVALID_FIELD where no target of the route makes them."""
        found = self._plans.get((route.name, route.variant))
        # By identity: comparing whole routes costs more than the call's whole way through here.
        if found is None or found[0] is not route:
            found = self._plans[route.name, route.variant] = self._make(route)
        plan = found[2] if embeds else found[1]
        if plan is None:
            makes, instead = ("vectors", "answers") if embeds else ("answers", "vectors")
            raise MeshError(
                "INVALID_FIELD",
                f"The model {route.name} makes {instead}, not {makes}. GET /v1/models says which does (`kind`).",
                metadata={"param": "model"},
            )
        return plan

    def configure(self, routes: Iterable[Route]) -> None:
        """Forgets routes that a new version of the configuration no longer has."""
        names = {route.name for route in routes}
        for key in [key for key in self._plans if key[0] not in names]:
            del self._plans[key]

    def _make(self, route: Route) -> tuple[Route, Plan | None, Plan | None]:
        trial = None if self._canaries is None else self._canaries.trial(route)
        answering = [target for target in route.targets if not target.embeds]
        embedding = [target for target in route.targets if target.embeds]
        return route, self._plan(route, answering, trial), self._plan(route, embedding, trial)

    def _plan(self, route: Route, targets: Sequence[Target], trial: Trial | None) -> Plan | None:
        if not targets:
            return None
        # Loads can be compared only where every target says how many calls it takes.
        bounded = all(target.concurrency_max for target in targets)
        lanes = [
            Lane(
                target,
                self._health.of(target, route.version),
                capacity=max(1, target.weight) * (target.concurrency_max if bounded else 1),
                is_canary=route.canary is not None and route.canary.target == target.name,
            )
            for target in targets
        ]
        return Plan(route, lanes, trial, self._rng)

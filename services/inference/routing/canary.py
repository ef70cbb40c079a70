"""Whether a canary does worse than the targets beside it, and the way back if it does."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from math import sqrt

from services.inference.routing.quantiles import DecayedQuantile
from services.inference.routing.route import CanaryPolicy, Route
from services.mesh.telemetry.logs import get_logger

log = get_logger()
# Once both sides have so many times the calls that a verdict takes, all counts are halved: what was long ago fades,
# however slow or fast the calls come.
_FADE_TIMES = 10
# Of a two-proportion z-test: a few errors more among a few calls are chance, whatever share they make. One-sided 2.3 %.
_SURE_Z = 2.0
_LATENCY_HALF_LIFE_S = 600.0


@dataclass(slots=True)
class Arm:
    """What came of the calls of one side: the canary, or all other targets of its route."""

    calls: int = 0
    errors: int = 0
    cost_calls: int = 0  # with a known price and reported usage
    cost_nanos: int = 0
    latency: DecayedQuantile = field(default_factory=lambda: DecayedQuantile(_LATENCY_HALF_LIFE_S))

    @property
    def error_share(self) -> float:
        """0 to 1."""
        return self.errors / self.calls if self.calls else 0.0

    def fade(self) -> None:
        """Halves what was counted."""
        self.calls //= 2
        self.errors //= 2
        self.cost_calls //= 2
        self.cost_nanos //= 2


class Trial:
    """Of one canary of one route, in this process. Every attempt counts, whatever the reason that it failed for:
    callers come to both sides by chance, so what is their own fault comes to both alike."""

    def __init__(self, route: Route, policy: CanaryPolicy, key: str, roll_back: Callable[[Route, str], None]) -> None:
        self.route = route
        self.policy = policy
        self.key = key
        self.canary = Arm()
        self.control = Arm()
        self.rolled_back = False
        self._roll_back = roll_back

    def observe(
        self, is_canary: bool, *, failed: bool, latency_s: float | None, cost_nanos: int | None, now: float
    ) -> None:
        """One attempt has ended. `latency_s`: to the first token, or to the whole answer if not streamed."""
        arm = self.canary if is_canary else self.control
        arm.calls += 1
        if failed:
            arm.errors += 1
        if latency_s is not None:
            arm.latency.add(latency_s, now)
        if cost_nanos is not None:
            arm.cost_calls += 1
            arm.cost_nanos += cost_nanos
        if self.rolled_back or self.canary.calls < self.policy.calls_min or self.control.calls < self.policy.calls_min:
            return
        # Only what the canary itself did can condemn it.
        why = self.worse(now) if is_canary else ""
        if why:
            self.rolled_back = True
            log.error("a canary does worse than its control", route=self.route.name, canary=self.policy.target, why=why)
            self._roll_back(self.route, why)
        elif min(self.canary.calls, self.control.calls) >= _FADE_TIMES * self.policy.calls_min:
            self.canary.fade()
            self.control.fade()

    def worse(self, now: float) -> str:
        """In which way the canary is worse than the policy allows; empty where it is not."""
        canary, control, policy = self.canary, self.control, self.policy
        if canary.error_share - control.error_share > policy.error_share_more and _more_errors(canary, control):
            return (
                f"{canary.error_share:.1%} of the calls of {policy.target} failed, {control.error_share:.1%} of the "
                f"others'; at most {policy.error_share_more:.1%} more are allowed"
            )
        canary_p95_s, control_p95_s = canary.latency.value(now), control.latency.value(now)
        allowed_p95_s = None if control_p95_s is None else control_p95_s * policy.first_token_p95_times
        if canary_p95_s is not None and allowed_p95_s is not None and canary_p95_s > allowed_p95_s:
            return (
                f"the first token of {policy.target} takes {canary_p95_s:.3g} s (p95), of the others "
                f"{control_p95_s:.3g} s; at most {policy.first_token_p95_times:g} times that is allowed"
            )
        # As many calls with a cost as calls at all, before a mean is believed. Compared without dividing, exactly.
        known = min(canary.cost_calls, control.cost_calls) >= policy.calls_min
        if (
            known
            and canary.cost_nanos * control.cost_calls > policy.cost_times * control.cost_nanos * canary.cost_calls
        ):
            return (
                f"a call of {policy.target} costs {canary.cost_nanos // canary.cost_calls} nano-dollars, of the others "
                f"{control.cost_nanos // control.cost_calls}; at most {policy.cost_times:g} times that is allowed"
            )
        return ""


def _more_errors(canary: Arm, control: Arm) -> bool:
    """Whether the canary fails more often than by chance."""
    share = (canary.errors + control.errors) / (canary.calls + control.calls)
    deviation = sqrt(share * (1 - share) * (1 / canary.calls + 1 / control.calls))
    return canary.error_share - control.error_share >= _SURE_Z * deviation


class Canaries:
    """The trials of all routes. `roll_back(route, why)` is called once for each that fails; from then on the canary
    gets no calls, until a later version of the configuration has it (again)."""

    def __init__(self, roll_back: Callable[[Route, str], None]) -> None:
        self._roll_back = roll_back
        self._trials: dict[str, Trial] = {}

    def trial(self, route: Route) -> Trial | None:
        """The route's; None where it has no canary. Counts go on over versions in which the canary is the same."""
        policy = route.canary
        target = None if policy is None else next((one for one in route.targets if one.name == policy.target), None)
        if policy is None or target is None:
            return None  # of this call: its route may have been narrowed to some of its targets
        found = self._trials.get(route.name)
        if found is not None and found.policy == policy and found.key == target.key:
            if not found.rolled_back:
                found.route = route
                return found
            if route.version <= found.route.version:
                return found
        found = self._trials[route.name] = Trial(route, policy, target.key, self._roll_back)
        return found

    def configure(self, routes: Iterable[Route]) -> None:
        """Forgets the trials of routes that are gone, or have no canary any more."""
        names = {route.name for route in routes if route.canary is not None}
        for name in self._trials.keys() - names:
            del self._trials[name]

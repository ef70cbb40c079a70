"""Which of the targets that may take a call takes it, by each strategy of a route.

A strategy is a function of the lanes that are eligible (one at least), the call, a source of randomness in [0, 1) and
the time. It is asked anew for each attempt: what is known of the targets changes meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from services.inference.engine.call import ModelCall
from services.inference.providers.base import Provider, UpstreamCall
from services.inference.routing import complexity
from services.inference.routing.health import TargetHealth
from services.inference.routing.route import OnLeave, Strategy, Target

_UNBOUNDED = 1 << 62  # tokens of context where the configuration does not know them


class Lane:
    """A target as a route goes to it: what a choice looks at, laid out for it."""

    __slots__ = (
        "capacity",
        "concurrency_max",
        "context_tokens",
        "drains",
        "health",
        "is_canary",
        "output_tokens_max",
        "provider",
        "target",
        "target_name",
        "upstream_model",
        "weight",
    )

    def __init__(self, target: Target, health: TargetHealth, *, capacity: int, is_canary: bool) -> None:
        self.target = target
        self.health = health
        self.provider: Provider = target.provider
        self.target_name = target.name
        self.upstream_model = target.upstream_model
        self.output_tokens_max = target.max_output_tokens
        self.context_tokens = target.context_tokens or _UNBOUNDED
        self.concurrency_max = target.concurrency_max or _UNBOUNDED
        self.weight = target.weight
        self.capacity = capacity
        self.drains = target.on_leave is OnLeave.DRAIN
        self.is_canary = is_canary

    def open(self, now: float) -> bool:
        """Whether a caller may be sent there at all."""
        health = self.health
        return health.breaker.closed and health.cooldown_until <= now and health.in_flight < self.concurrency_max

    def upstream(self, call: ModelCall) -> UpstreamCall:
        """The call for this target; the lower of the two caps, where there are any."""
        cap, most = call.output_cap, self.output_tokens_max
        if not cap or (most and most < cap):
            cap = most
        return UpstreamCall(call.body, self.target_name, self.upstream_model, cap or None, call.wants_usage)


Choose = Callable[[Sequence[Lane], ModelCall, Callable[[], float], float], Lane]


def least_busy(lanes: Sequence[Lane], _call: ModelCall, rng: Callable[[], float], _now: float) -> Lane:
    """Fewest calls under way for what it can take (its `capacity`); ties at random."""
    best = lanes[0]
    least = best.health.in_flight / best.capacity
    ties = 1
    for lane in lanes[1:]:
        load = lane.health.in_flight / lane.capacity
        if load < least:
            best, least, ties = lane, load, 1
        elif load == least:
            ties += 1
            if rng() * ties < 1:  # each of the tied is as likely as the others
                best = lane
    return best


def lowest_cost(lanes: Sequence[Lane], call: ModelCall, rng: Callable[[], float], now: float) -> Lane:
    """Least expected cost: the input as estimated, an answer up to its cap. Unknown prices last. Ties: least busy."""
    costs = [_expected_cost_picos(lane, call) for lane in lanes]
    known = [cost for cost in costs if cost is not None]
    least = min(known) if known else None
    return least_busy([lane for lane, cost in zip(lanes, costs, strict=True) if cost == least], call, rng, now)


def _expected_cost_picos(lane: Lane, call: ModelCall) -> int | None:
    price = lane.target.price
    if price is None:
        return None
    cap, most = call.output_cap, lane.output_tokens_max
    output = min(cap, most) if cap and most else cap or most
    return call.input_tokens_estimate * price.input_token_picos + output * price.output_token_picos


def lowest_latency(lanes: Sequence[Lane], call: ModelCall, rng: Callable[[], float], now: float) -> Lane:
    """Least p95, of the time to the first token where the call is streamed, else to the whole answer.

    A target that nothing is known of (any more) is explored by one call at a time. Ties: least busy.
    """
    best: list[Lane] = []
    least = float("inf")
    for lane in lanes:
        health = lane.health
        p95_s = (health.first_token if call.streamed else health.answer).value(now)
        if p95_s is None:
            p95_s = 0.0 if health.in_flight == 0 else float("inf")
        if p95_s < least or not best:
            best, least = [lane], p95_s
        elif p95_s == least:
            best.append(lane)
    return best[0] if len(best) == 1 else least_busy(best, call, rng, now)


def weighted(lanes: Sequence[Lane], _call: ModelCall, rng: Callable[[], float], _now: float) -> Lane:
    """At random by weight. Weight 0: only where nothing else is left."""
    total = 0
    for lane in lanes:
        total += lane.weight
    left = rng() * total
    for lane in lanes:
        left -= lane.weight
        if left < 0:
            return lane
    return lanes[-1] if not total else next(lane for lane in reversed(lanes) if lane.weight)


def quality(lanes: Sequence[Lane], call: ModelCall, rng: Callable[[], float], now: float) -> Lane:
    """The smallest tier that is up to the prompt's complexity; where there is none, the highest. Ties: lowest cost."""
    needed = complexity.tier(call.body)
    tiers = {lane.target.tier for lane in lanes}
    up_to_it = [tier for tier in tiers if tier >= needed]
    chosen = min(up_to_it) if up_to_it else max(tiers)
    return lowest_cost([lane for lane in lanes if lane.target.tier == chosen], call, rng, now)


def ordered(lanes: Sequence[Lane], _call: ModelCall, _rng: Callable[[], float], _now: float) -> Lane:
    """The first, in the route's order."""
    return lanes[0]


STRATEGIES: Mapping[Strategy, Choose] = {
    Strategy.LEAST_BUSY: least_busy,
    Strategy.LOWEST_COST: lowest_cost,
    Strategy.LOWEST_LATENCY: lowest_latency,
    Strategy.WEIGHTED: weighted,
    Strategy.QUALITY: quality,
    Strategy.ORDERED: ordered,
}

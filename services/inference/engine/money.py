"""What a call may cost at most, and what it did cost."""

from __future__ import annotations

from services.inference.engine.call import AttemptRecord, ModelCall
from services.inference.providers.base import TokenUsage
from services.inference.routing.route import Route, Target
from services.inference.usage import estimate_tokens


def largest_tokens(call: ModelCall) -> int:
    """Tokens that the call takes at most: its input, and as many answers as were asked for."""
    return call.input_tokens_max + call.output_cap * call.choices


def largest_cost_nanos(call: ModelCall, target: Target) -> int | None:
    """What one call of a target costs at most, in nano-US-dollars; None where its price is unknown."""
    price = target.price
    if price is None:
        return None
    return price.cost_nanos(call.input_tokens_max, min(call.output_cap, target.max_output_tokens) * call.choices)


def largest_route_cost_nanos(call: ModelCall) -> int | None:
    """What the call costs at most, whichever target answers; None where the price of one is unknown."""
    most = 0
    for target in call.route.targets:
        cost = largest_cost_nanos(call, target)
        if cost is None:
            return None
        most = max(most, cost)
    return most


def priced(route: Route) -> tuple[Target, ...]:
    """Its targets whose price is known."""
    return tuple(target for target in route.targets if target.price is not None)


def usage_of(call: ModelCall, attempt: AttemptRecord) -> TokenUsage:
    """What an attempt took: as the provider counted; estimated, and marked so, where it did not."""
    reported = attempt.record.usage
    if reported is not None:
        return reported
    return TokenUsage(call.input_tokens_estimate, estimate_tokens(attempt.record.output_bytes), estimated=True)


def cost_nanos(target: Target, usage: TokenUsage) -> int | None:
    """In nano-US-dollars; None where the price is unknown."""
    price = target.price
    return None if price is None else price.cost_nanos(usage.input_tokens, usage.output_tokens)

"""What a caller is told whose limits do not allow a call."""

from __future__ import annotations

from services.inference.limits.metrics import REFUSED, UNDECIDED
from services.inference.limits.model import MINUTE_S, Period, Unit
from services.inference.limits.slices import Slice
from services.inference.money import dollars
from services.mesh.errors import MeshError, QuotaViolation

HELD_RETRY_S = 1.0
"""After this much, what idle processes held has come back (within some 300 ms), and calls may have ended."""
RETRY_LEAST_S = 0.1
SPENT, HELD = "spent", "held"


def refusal(one: Slice, need: int, now: float) -> MeshError:
    """Of a call that needs `need` of a limit. Metadata `state`: "spent" where it is used up until RetryInfo's time,
    "held" where only calls under way, or what other processes hold leased, stand in the way."""
    spec, limit = one.meter.spec, one.meter.limit
    used = one.used_at(now)
    left = max(0, limit - used)
    spent = spec.period != Period.ALWAYS and need > left
    amount = dollars if spec.unit == Unit.NANOS else str
    if spec.unit == Unit.SLOTS:
        reason = "CONCURRENCY_LIMIT"
        says = "as many calls run already"
        retry_after_s = HELD_RETRY_S
    else:
        reason = "BUDGET_EXHAUSTED" if spec.unit == Unit.NANOS else "LIMIT_REACHED"
        says = f"{amount(left)} of it are left, and this call needs up to {amount(need)}"
        if not spent:
            says += "; calls under way hold some of that until they end"
        retry_after_s = max(RETRY_LEAST_S, wait_s(one, need, now)) if spent else HELD_RETRY_S
    state = SPENT if spent else HELD
    REFUSED.labels(spec.name, state).inc()
    description = f"{spec.name}: at most {amount(limit)} {spec.what}"
    return MeshError(
        reason,
        f"The limit {spec.name} of {one.meter.subject} is {amount(limit)} {spec.what}, and {says}. "
        "Retry after the delay in RetryInfo" + (", or with a smaller call." if spec.unit != Unit.SLOTS else "."),
        metadata={
            "limit": spec.name,
            "subject": one.meter.subject,
            "limit_value": str(limit),
            "remaining": str(left),
            "needed": str(need),
            "state": state,
        },
        retry_after_s=retry_after_s,
        quota=[QuotaViolation(one.meter.subject, description)],
    )


def wait_s(one: Slice, need: int, now: float) -> float:
    """Until a used-up limit can have `need` free: the end of the window, or for minutes, which slide, perhaps less or
    more than that."""
    if one.meter.spec.period != Period.MINUTE:
        return one.end - now
    limit = one.meter.limit
    if one.before and one.used + need <= limit:
        # used + before * share = limit - need
        share = (limit - one.used - need) / one.before
        return (one.end - now) - share * MINUTE_S
    rest_s = one.end - now
    if 0 < limit - need < one.used:
        rest_s += MINUTE_S * (1 - (limit - need) / one.used)
    return rest_s


def price_unknown() -> MeshError:
    """A limit on money cannot be held without a price."""
    return MeshError(
        "PRICE_UNKNOWN",
        "A limit on money holds for this caller, and the price of this model is unknown, so the call was not made. "
        "Name a model with a price, or ask an operator to state one in the configuration.",
    )


def unavailable(one: Slice) -> MeshError:
    """What counts this limit is away, and this process holds too little of it."""
    UNDECIDED.labels(one.meter.spec.name).inc()
    return MeshError(
        "DEPENDENCY_UNAVAILABLE",
        f"The limit {one.meter.spec.name} of {one.meter.subject} cannot be checked right now, so the call was not "
        "made. Retry after the delay in RetryInfo.",
        metadata={"limit": one.meter.spec.name, "subject": one.meter.subject},
        retry_after_s=HELD_RETRY_S,
    )

"""What a failed attempt means: where the call may go next, and what it says of the target.

| reason | the call | the target |
|---|---|---|
| PROVIDER_UNAVAILABLE, PROVIDER_TIMEOUT, PROVIDER_ANSWER_BROKEN | next target, or the only one again | breaker |
| PROVIDER_RATE_LIMITED | the same | cools down |
| PROVIDER_CREDENTIAL_REFUSED | next target | breaker |
| MODEL_NOT_FOUND | next target | none |
| CONTEXT_LENGTH_EXCEEDED | a target with more context | none |
| everything else (refused content, wrong requests, limits of ours) | passed on | none |

A target that answers "no" to a request is well: only what it would do to any request counts against it.
"""

from __future__ import annotations

from enum import Enum

RATE_LIMITED = "PROVIDER_RATE_LIMITED"
TIMEOUT = "PROVIDER_TIMEOUT"
UNAVAILABLE = "PROVIDER_UNAVAILABLE"
CANCELLED = "CANCELLED"  # of an attempt whose caller left, or that lost to another; no reason of an error
INTERNAL = "INTERNAL"  # of an attempt that ended in an error of ours

AGAINST_BREAKER = frozenset({UNAVAILABLE, TIMEOUT, "PROVIDER_ANSWER_BROKEN", "PROVIDER_CREDENTIAL_REFUSED"})


class Next(Enum):
    """Where a call may go after an attempt has failed."""

    ANY = "any"  # another target; the same one if there is no other
    OTHER = "other"
    LARGER = "larger"
    NOWHERE = "nowhere"


_NEXT = {
    UNAVAILABLE: Next.ANY,
    TIMEOUT: Next.ANY,
    "PROVIDER_ANSWER_BROKEN": Next.ANY,
    RATE_LIMITED: Next.ANY,
    "PROVIDER_CREDENTIAL_REFUSED": Next.OTHER,
    "MODEL_NOT_FOUND": Next.OTHER,
    "CONTEXT_LENGTH_EXCEEDED": Next.LARGER,
}


def after(reason: str) -> Next:
    """Where a call may go after an error with this reason."""
    return _NEXT.get(reason, Next.NOWHERE)

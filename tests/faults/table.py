"""What must come of every fault under every policy of a route: written down here, not read from the code.

`expected` is what the tests assert and what docs/reliability.md shows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum

from tests.support.provider import FAULTS, Behaviour, Breaks, FaultCase, Retry

UNAVAILABLE = "PROVIDER_UNAVAILABLE"
TIMEOUT = "PROVIDER_TIMEOUT"
BROKEN = "PROVIDER_ANSWER_BROKEN"
LIMITED = "PROVIDER_RATE_LIMITED"
CREDENTIAL = "PROVIDER_CREDENTIAL_REFUSED"
REJECTED = "PROVIDER_REJECTED"
REFUSED = "PROVIDER_CONTENT_REFUSED"
OVERFLOW = "CONTEXT_LENGTH_EXCEEDED"
UNKNOWN_MODEL = "MODEL_NOT_FOUND"
CANCELLED = "CANCELLED"
REVOKED = "CREDENTIAL_REVOKED"

ATTEMPTS_MAX = 3
SHOWN = "Hello from"  # of the text, before what goes wrong in the middle
HEDGE_AFTER_S = 0.05
NEVER_S = 600.0
ANSWER_BYTES_MAX = 512 * 1024  # in place of 32 MiB, for `oversized`

# How an attempt ends that meets a fault, unless it ends in an answer.
_BY_REASON: dict[str, tuple[str, ...]] = {
    LIMITED: (
        *("rate_limit", "rate_limit_date", "rate_limit_ms", "rate_limit_no_hint", "rate_limit_broken_hint"),
        "rate_limit_long",
    ),
    UNAVAILABLE: (
        *("server_error", "unavailable", "unavailable_hint", "unavailable_long", "gateway_timeout", "overloaded"),
        *("bad_gateway_html", "error_body_stalled", "redirect", "reset_before_headers", "close_before_headers"),
        *("error_in_stream", "error_at_once"),
    ),
    CREDENTIAL: ("unauthorized", "payment_required", "forbidden"),
    UNKNOWN_MODEL: ("not_found",),
    TIMEOUT: ("request_timeout", "silence", "headers_unfinished", "head_only", "stall", "only_comments"),
    REJECTED: ("too_large", "unprocessable", "bad_request"),
    OVERFLOW: ("context_openai", "context_anthropic", "context_vllm"),
    REFUSED: ("policy_openai", "policy_azure"),
    BROKEN: (
        *("not_http", "huge_headers", "cut", "cut_reset", "cut_at_once", "cut_cleanly", "bad_framing", "gzip"),
        *("wrong_content_type", "broken_chunk", "not_an_object", "broken_utf8", "huge_line", "no_finish"),
        *("empty_body", "no_choices", "oversized"),
    ),
}
REASONS = {name: reason for reason, names in _BY_REASON.items() for name in names}
# FAULTS says what may be made of a fault; of what is left to whoever calls, the mesh makes this.
RETRIES = {
    "too_large": Retry.NEVER,  # a limit on bytes, as far as its words go: not known to be one on tokens
    "redirect": Retry.SAME,  # from a balancer, that of the next moment may not be one
    "oversized": Retry.SAME,
}
TOLERATED = frozenset({"close_if_reused", "cut_at_end"})  # of the tolerable ones; the others fail cleanly
# What a provider of vectors does not do: they have no text, no finish reason and no choices.
NOT_OF_VECTORS = frozenset(
    {
        *("cut_cleanly", "no_finish", "finish_length", "finish_content_filter", "no_choices", "made_up_tool"),
        *("more_than_asked", "oversized"),
    }
)
# FAULTS says of these that a breaker counts them; here it does not.
NOT_COUNTED = frozenset({"not_found"})  # the next configuration names it right; other callers' models are well
SAID_WHOLE = frozenset({"no_finish"})  # the text is said to its end before the fault shows
# Slow enough for a hedge; all others end at once, or never.
SLOW = frozenset({"slow_head", "slow_first_token"})


class Policy(Enum):
    """Of a route. The first target, `a`, does wrong each time it is asked unless it says otherwise."""

    SINGLE = "one target"
    RECOVERS = "one target, wrong once"
    FALLBACK = "two in order"
    RESTART = "two, restart"
    HEDGED = "two, hedged"
    CANARY = "canary"
    LARGER = "a larger third"
    EXHAUSTED = "two, both wrong"
    CACHED = "two, cached"

    @property
    def letters(self) -> str:
        """Of its targets, in order."""
        if self in (Policy.SINGLE, Policy.RECOVERS):
            return "a"
        return "abc" if self is Policy.LARGER else "ab"

    @property
    def wrong(self) -> str:
        """Letters of those that do wrong."""
        return "ab" if self is Policy.EXHAUSTED else "a"


class Surface(Enum):
    """What is called, and how."""

    CHAT = "chat"
    CHAT_STREAM = "chat, streamed"
    RESPONSES = "responses"
    RESPONSES_STREAM = "responses, streamed"
    GENERATE = "Generate"
    EMBED = "Embed"
    EMBEDDINGS = "embeddings"

    @property
    def streamed(self) -> bool:
        """Whether the provider is asked for a stream."""
        return self in (Surface.CHAT_STREAM, Surface.RESPONSES_STREAM, Surface.GENERATE)

    @property
    def embeds(self) -> bool:
        """Whether it makes vectors."""
        return self in (Surface.EMBED, Surface.EMBEDDINGS)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One call of a provider. `reason` empty: it answered."""

    letter: str
    reason: str
    hedge: bool = False


@dataclass(frozen=True, slots=True)
class Expected:
    """What comes of one call. `shown`: the texts that the caller saw, a new one after each restart."""

    attempts: tuple[Attempt, ...]
    shown: tuple[str, ...]

    @property
    def reason(self) -> str:
        """Why the call failed; empty: it did not."""
        last = self.attempts[-1]
        return "" if last.hedge else last.reason

    @property
    def seen(self) -> dict[str, int]:
        """Requests that each provider must see."""
        seen: dict[str, int] = {}
        for attempt in self.attempts:
            seen[attempt.letter] = seen.get(attempt.letter, 0) + 1
        return seen


MORE_FAULTS = {
    "rate_limit_long": replace(
        FAULTS["rate_limit"], name="rate_limit_long", about="429 with a Retry-After that is longer than a call waits"
    ),
    "unavailable_long": replace(
        FAULTS["unavailable_hint"], name="unavailable_long", about="503 with such a Retry-After"
    ),
}
# What is changed of their behaviours: the same faults, over sooner.
CHANGES: dict[str, dict[str, object]] = {
    "rate_limit": {"retry_after_s": 0.05},
    "rate_limit_ms": {"retry_after_s": 0.05},
    "rate_limit_date": {"retry_after_s": 1.0},
    "unavailable_hint": {"retry_after_s": 0.05},
    "rate_limit_long": {"retry_after_s": 30.0},
    "unavailable_long": {"retry_after_s": 30.0},
    "slow_head": {"latency_s": 0.05},
    "slow_first_token": {"first_token_s": 0.05},
    "slow_body": {"drip_bytes": 97},
    "oversized": {"padding_bytes": 2 * ANSWER_BYTES_MAX},
}
CASES: dict[str, FaultCase] = {**FAULTS, **MORE_FAULTS}


def behaviour_of(case: FaultCase, policy: Policy) -> Behaviour:
    """What a wrong provider does in this case."""
    changes = dict(CHANGES.get(case.name, {}))
    if policy is Policy.HEDGED and case.name in SLOW:
        changes = dict.fromkeys(changes, NEVER_S)
    return replace(case.behaviour, **changes)  # type: ignore[arg-type]


def happens(case: FaultCase, surface: Surface) -> bool:
    """Whether a call of this kind meets the fault at all."""
    if surface.embeds and case.name in NOT_OF_VECTORS:
        return False
    return case.happens(surface.streamed)


def breaks_at(case: FaultCase, surface: Surface) -> Breaks:
    """When the answer breaks."""
    if case.name in TOLERATED:
        return Breaks.NEVER
    return case.breaks_at(surface.streamed)


def expected(case: FaultCase, policy: Policy, surface: Surface) -> Expected:
    """What must come of a call. An answer is shown as "a", "b", "c": the text of that target."""
    breaks, reason = breaks_at(case, surface), REASONS.get(case.name, "")
    restarts = policy is Policy.RESTART and surface is Surface.GENERATE
    if policy is Policy.HEDGED and is_hedged(case, surface):
        return Expected((Attempt("a", CANCELLED), Attempt("b", "", hedge=True)), ("b",))
    if breaks is Breaks.NEVER:
        return Expected((Attempt("a", ""),), ("a",))
    if breaks is Breaks.AFTER_FIRST_TOKEN:
        said = "a" if case.name in SAID_WHOLE else SHOWN
        if restarts:
            return Expected((Attempt("a", reason), Attempt("b", "")), (said, "b"))
        return Expected((Attempt("a", reason),), (said,))
    return _made_good(case, policy, Attempt("a", reason))


def is_hedged(case: FaultCase, surface: Surface) -> bool:
    """Whether it takes so long to begin that another target is asked."""
    return case.name in SLOW or (case.hangs and breaks_at(case, surface) is Breaks.BEFORE_FIRST_TOKEN)


def _made_good(case: FaultCase, policy: Policy, first: Attempt) -> Expected:
    """Where nothing was shown yet."""
    failed = Expected((first,), ())
    match RETRIES.get(case.name, case.retry):
        case Retry.NEVER | Retry.NOT_NEEDED:
            return failed
        case Retry.LARGER:
            return Expected((first, Attempt("c", "")), ("c",)) if policy is Policy.LARGER else failed
        case Retry.OTHER if policy.letters == "a":
            return failed
        case _:
            pass
    match policy:
        case Policy.SINGLE | Policy.RECOVERS if case.name.endswith("_long"):
            return failed
        case Policy.SINGLE:
            return Expected((first,) * ATTEMPTS_MAX, ())
        case Policy.RECOVERS:
            return Expected((first, Attempt("a", "")), ("a",))
        case Policy.EXHAUSTED:
            return Expected((first, Attempt("b", first.reason)), ())
        case _:
            return Expected((first, Attempt("b", "")), ("b",))


def combinations(case: FaultCase) -> Iterator[tuple[Policy, Surface]]:
    """All that a fault is tried in."""
    for policy in Policy:
        for surface in Surface:
            if happens(case, surface):
                yield policy, surface

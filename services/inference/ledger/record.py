"""The record of one call, as the engine fills it, and as it stands in the journal.

In the journal a record is a JSON array, by place. Places are only ever added at the end, so that a process reads what
an older or a newer release has left.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from promptmesh.inference.v1 import receipt_pb2 as pb

from services.inference.money import Price

if TYPE_CHECKING:
    from services.inference.ledger.segments import Segment


INT32_MAX = 2**31 - 1
# $9 million: no call costs that, and sums of these stay within 64 bits.
COST_NANOS_MAX = 2**53

RUNNING: int = pb.OUTCOME_RUNNING
OK: int = pb.OUTCOME_OK
FAILED: int = pb.OUTCOME_FAILED
CANCELLED: int = pb.OUTCOME_CANCELLED
LOST: int = pb.OUTCOME_LOST
REPORTED: int = pb.BASIS_REPORTED
ESTIMATED: int = pb.BASIS_ESTIMATED
NONE: int = pb.BASIS_NONE


AttemptEntry = tuple[str, str, str, int, bool]
"""One call of a provider: model, provider, reason (empty: it answered, or was left), duration in µs, if a hedge."""


@dataclass(slots=True, eq=False)
class CallRecord:
    """Everything of a receipt, and what was reserved. Numbers of enums are promptmesh.inference.v1's.

    `org_id`, `user_id`, `api_key_id`: UUIDs or empty. Before `Ledger.begin`, `input_tokens` is the bound that is part
    of `reserved_tokens`: a call that is lost is accounted with that input and the rest of the reservation as output.
    `reserved_nanos` and `cost_nanos` None: the price is unknown. `price` is for whoever computes the cost; it is not
    kept, since `config_version` tells it.
    """

    record_id: str  # UUIDv7, made when the call began
    request_id: str
    begin_time_ns: int  # since the epoch
    org_id: str = ""
    user_id: str = ""
    api_key_id: str = ""
    service: str = ""
    surface: int = 0
    route: str = ""
    model: str = ""
    provider: str = ""
    config_version: int = 0
    streamed: bool = False
    reserved_tokens: int = 0
    reserved_nanos: int | None = None
    limit_subjects: Sequence[str] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    price: Price | None = None

    duration_us: int = 0
    first_token_us: int | None = None
    outcome: int = RUNNING
    reason: str = ""
    finish_reason: str = ""
    attempts: Sequence[AttemptEntry] = ()
    cache: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    basis: int = 0
    cost_nanos: int | None = None
    input_text: str = ""
    output_text: str = ""

    # The ledger's own
    begun_in: Segment | None = field(default=None, repr=False)
    finished_in: Segment | None = field(default=None, repr=False)
    finished_at: int = field(default=0, repr=False)  # end of its line in `finished_in`; 0: it has no place in the order
    ended: bool = field(default=False, repr=False)
    stored: bool = field(default=False, repr=False)  # PostgreSQL has it

    def begin_fields(self) -> tuple[Any, ...]:
        """What the journal knows of a call under way."""
        return (
            "b",
            self.record_id,
            self.request_id,
            self.begin_time_ns,
            self.org_id,
            self.user_id,
            self.api_key_id,
            self.service,
            self.surface,
            self.route,
            self.model,
            self.provider,
            self.config_version,
            self.streamed,
            self.reserved_tokens,
            self.reserved_nanos,
            self.limit_subjects,
            self.tags,
            self.input_tokens,
            self.cache,
            self.input_text,
        )

    def finish_fields(self, kind: str = "f") -> tuple[Any, ...]:
        """All of it; needs no line before it."""
        return (
            kind,
            self.record_id,
            self.request_id,
            self.begin_time_ns,
            self.org_id,
            self.user_id,
            self.api_key_id,
            self.service,
            self.surface,
            self.route,
            self.model,
            self.provider,
            self.config_version,
            self.streamed,
            self.reserved_tokens,
            self.reserved_nanos,
            self.limit_subjects,
            self.tags,
            self.input_tokens,
            self.cache,
            self.input_text,
            self.output_tokens,
            self.duration_us,
            self.first_token_us,
            self.outcome,
            self.reason,
            self.finish_reason,
            self.attempts,
            self.basis,
            self.cost_nanos,
            self.output_text,
        )

    def lose(self, duration_us: int) -> None:
        """The process that ran it is gone: it counts as its whole reservation."""
        self.outcome = LOST
        self.reason = ""
        self.basis = ESTIMATED
        self.duration_us = max(0, duration_us)
        self.input_tokens = min(self.input_tokens, self.reserved_tokens)
        self.output_tokens = self.reserved_tokens - self.input_tokens
        self.cost_nanos = self.reserved_nanos

    def tame(self) -> None:
        """Makes it what JSON and PostgreSQL take: no U+0000, no lone surrogates, numbers within their columns."""
        for name in _TEXTS:
            setattr(self, name, _tamed(getattr(self, name)))
        self.tags = {_tamed(str(key)): _tamed(str(value)) for key, value in self.tags.items()}
        self.limit_subjects = [_tamed(one) for one in self.limit_subjects]
        self.attempts = [
            (_tamed(one[0]), _tamed(one[1]), _tamed(one[2]), _within(one[3], COST_NANOS_MAX), bool(one[4]))
            for one in self.attempts
        ]
        self.input_tokens = _within(self.input_tokens, INT32_MAX)
        self.output_tokens = _within(self.output_tokens, INT32_MAX)
        self.reserved_tokens = _within(self.reserved_tokens, INT32_MAX)
        self.duration_us = _within(self.duration_us, COST_NANOS_MAX)
        if self.first_token_us is not None:
            self.first_token_us = _within(self.first_token_us, COST_NANOS_MAX)
        if self.cost_nanos is not None:
            self.cost_nanos = _within(self.cost_nanos, COST_NANOS_MAX)
        if self.reserved_nanos is not None:
            self.reserved_nanos = _within(self.reserved_nanos, COST_NANOS_MAX)


_TEXTS = (
    *("record_id", "request_id", "org_id", "user_id", "api_key_id", "service", "route", "model", "provider"),
    *("reason", "finish_reason", "input_text", "output_text"),
)
# The fields of a line after its kind. A begin line has those before `output_tokens`.
_PLACES = (
    *("record_id", "request_id", "begin_time_ns", "org_id", "user_id", "api_key_id", "service", "surface", "route"),
    *("model", "provider", "config_version", "streamed", "reserved_tokens", "reserved_nanos", "limit_subjects"),
    *("tags", "input_tokens", "cache", "input_text", "output_tokens", "duration_us", "first_token_us", "outcome"),
    *("reason", "finish_reason", "attempts", "basis", "cost_nanos", "output_text"),
)


def record_of(fields: Sequence[Any]) -> CallRecord:
    """The record of a begin or finish line. Places that it lacks keep their defaults; those unknown are left out."""
    return CallRecord(**dict(zip(_PLACES, fields[1:], strict=False)))


def _tamed(text: str) -> str:
    return text.replace("\0", "").encode("utf-8", "replace").decode()


def _within(value: int, most: int) -> int:
    return min(max(0, value), most)

"""What a caller asked for, and what became of it, as every part of the engine sees it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from services.inference.limits.reservation import Remaining
from services.inference.providers.base import AnswerRecord, TokenUsage
from services.inference.routing.route import Route, Target
from services.mesh.call import Caller

NO_USAGE = TokenUsage(0, 0)
_LEFT = frozenset({"", "CANCELLED", "PROVIDER_TIMEOUT"})  # ends of attempts that the provider did not end itself


@dataclass(frozen=True, slots=True)
class CacheControl:
    """What the caller lets the cache do. `ttl_s` 0: the route's."""

    bypass: bool = False
    refresh: bool = False
    ttl_s: int = 0


async def _nothing_more(_target: Target) -> None:
    return


@dataclass(slots=True)
class AttemptRecord:
    """One call of a provider. Times of the event loop's clock, in seconds. `reason` empty: it answered, or was left."""

    target: Target
    begin_time: float
    record: AnswerRecord
    end_time: float = 0.0
    reason: str = ""
    hedge: bool = False

    @property
    def billable(self) -> bool:
        """Whether the provider may charge for it: something of an answer came, or it was left while it worked, whether
        its caller's patience had ended or ours."""
        return self.record.began or (self.record.sent and self.reason in _LEFT)


@dataclass(slots=True)
class AnswerInfo:
    """What is known of an answer while it is made; filled before its first part goes out, and completed at its end."""

    target: Target | None = None  # that answers
    attempts: list[AttemptRecord] = field(default_factory=list)
    record: AnswerRecord = field(default_factory=AnswerRecord)  # of the attempt that answers
    first_token_time: float | None = None  # of the event loop's clock
    restarted: bool = False  # the parts before the last start are void
    aborted: bool = False  # the mesh itself ends the answer: its provider is not read to its end

    @property
    def usage(self) -> TokenUsage | None:
        """As the provider counted."""
        return self.record.usage


@dataclass(slots=True)
class ModelCall:
    """One call of a model. `body` is OpenAI's, checked, and never changed once the call is made; where personal data is
    masked the engine puts another in its place.

    `output_cap`: largest answer in tokens that caller, key and route allow; a target's own cap comes on top.
    `input_tokens_max`: a bound that no tokeniser exceeds. `before_attempt_again` is awaited before a further call of a
    provider while an earlier one of this call may be billed: it raises MeshError where the money does not reach.
    """

    surface: int  # a number of promptmesh.inference.v1.Surface
    caller: Caller
    request_id: str
    record_id: str  # UUIDv7, of the receipt
    route: Route
    body: Mapping[str, Any]
    streamed: bool = False
    wants_usage: bool = False
    output_cap: int = 0
    input_tokens_max: int = 0
    input_tokens_estimate: int = 0
    tags: Mapping[str, str] = field(default_factory=dict)
    cache: CacheControl = CacheControl()
    deadline: float | None = None  # of the event loop's clock
    choices: int = 1  # answers asked for (`n`)
    restartable: bool = True  # a stream of it can say that what came before is void: OpenAI's cannot
    before_attempt_again: Callable[[Target], Awaitable[None]] = _nothing_more
    # What becomes of it; the engine's.
    info: AnswerInfo = field(default_factory=AnswerInfo)
    decision: int = 0  # a number of promptmesh.inference.v1.CacheDecision
    answer_model: str = ""
    answer_provider: str = ""
    usage: TokenUsage = NO_USAGE  # of all attempts together, once it is over
    cost_nanos: int | None = None  # once it is known
    finish_reasons: Mapping[int, str] = field(default_factory=dict)
    remaining: Callable[[], Remaining] | None = None  # what is left of the limits

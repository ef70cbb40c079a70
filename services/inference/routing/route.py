"""A route over targets, as the configuration says: immutable, made once for each version."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from services.inference.money import Price
from services.inference.providers.base import Provider


class Strategy(Enum):
    """How a route orders its targets."""

    LEAST_BUSY = "least_busy"
    LOWEST_COST = "lowest_cost"
    LOWEST_LATENCY = "lowest_latency"
    WEIGHTED = "weighted"
    QUALITY = "quality"
    ORDERED = "ordered"


class Midstream(Enum):
    """What a route does where a stream breaks after its first token has gone out."""

    ERROR = "error"  # the caller gets a typed error
    RESTART = "restart"  # the answer begins anew on another target, and the caller is told so


class OnLeave(Enum):
    """What becomes of the call of a provider when its caller has gone."""

    ABORT = "abort"
    DRAIN = "drain"  # read to its end, within bounds, for exact usage


@dataclass(frozen=True, slots=True)
class Target:
    """A model of a provider that a route goes to. `price` None: unknown. Zero limits: none."""

    name: str  # of the model in the configuration: what answers and bills name
    provider: Provider
    upstream_model: str
    context_tokens: int  # 0: unknown
    max_output_tokens: int
    price: Price | None
    weight: int = 1
    tier: int = 0  # for QUALITY: 0 the simplest prompts; higher ones harder
    concurrency_max: int = 0  # calls at once, of this process; 0: no limit
    on_leave: OnLeave = OnLeave.ABORT
    embeds: bool = False  # makes vectors, not answers

    @property
    def key(self) -> str:
        """Under which its health is remembered over versions of the configuration."""
        return f"{self.provider.name}\x00{self.upstream_model}"


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how soon a call is tried again. Seconds."""

    attempts_max: int = 3  # calls of providers in all, hedges included
    backoff_first_s: float = 0.1
    backoff_most_s: float = 2.0
    retry_after_most_s: float = 2.0  # a target that asks for longer is left alone instead


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """When a target is left alone. Seconds."""

    failures: int = 5  # in a row, or
    failure_share: float = 0.5  # of the calls of the window, from calls_min on
    calls_min: int = 20
    window_s: float = 10.0
    open_s: float = 5.0  # until the first probe; doubled by each that fails
    open_most_s: float = 60.0


@dataclass(frozen=True, slots=True)
class CachePolicy:
    """What the cache keeps of a route's answers."""

    ttl_s: float
    entry_bytes_max: int = 1024 * 1024


@dataclass(frozen=True, slots=True)
class ModerationPolicy:
    """What moderation does on the way. All off by default."""

    screen_input: bool = False
    screen_output: bool = False
    mask_personal_data: bool = False
    restore_personal_data: bool = False

    @property
    def any(self) -> bool:
        """Whether anything is done at all."""
        return self.screen_input or self.screen_output or self.mask_personal_data


@dataclass(frozen=True, slots=True)
class CanaryPolicy:
    """A target that is tried out: its share, and when the mesh goes back by itself."""

    target: str  # name of the target
    share_percent: float
    calls_min: int = 100  # of the canary and of the others, each, before it is judged
    error_share_more: float = 0.05  # worse than the control by more than this, and not by chance: back
    first_token_p95_times: float = 1.5
    cost_times: float = 2.0


@dataclass(frozen=True, slots=True)
class Route:
    """What callers name. A model alone is a route with one target."""

    name: str
    targets: tuple[Target, ...]
    version: int  # of the configuration
    strategy: Strategy = Strategy.LEAST_BUSY
    retry: RetryPolicy = RetryPolicy()
    breaker: BreakerPolicy = BreakerPolicy()
    midstream: Midstream = Midstream.ERROR
    hedge_after_s: float | None = None  # None: never
    cache: CachePolicy | None = None
    moderation: ModerationPolicy = ModerationPolicy()
    canary: CanaryPolicy | None = None
    max_output_tokens: int = 0  # cap of the route on top of its targets'; 0: none
    refuses_unknown: bool = False  # parameters of a body that we do not know: refused, or passed on
    variant: str = ""  # "": as it was configured; else what the mesh made of it for a purpose of its own
    organisations: frozenset[str] = frozenset()  # whose it is; empty: everybody's
    is_model: bool = field(default=True)  # stands for one model, not written as a route

    @property
    def embeds(self) -> bool:
        """Whether it makes vectors, not answers: all targets of a route are of one kind."""
        return self.targets[0].embeds

    @property
    def output_tokens_max(self) -> int:
        """Largest answer of any of its targets, under the route's own cap."""
        most = max(target.max_output_tokens for target in self.targets)
        return min(most, self.max_output_tokens) if self.max_output_tokens else most

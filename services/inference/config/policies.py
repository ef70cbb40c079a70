"""Routes: the targets behind a name that callers use, and how the mesh goes about them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from services.inference.config.base import Name, Organisations, Part, Seconds, Share

StrategyName = Literal["least_busy", "lowest_cost", "lowest_latency", "weighted", "quality", "ordered"]
MidstreamName = Literal["error", "restart"]
UnknownParameters = Literal["pass", "refuse"]
OnLeaveName = Literal["abort", "drain"]

Tier = Annotated[int, Field(ge=0, le=100)]
Concurrency = Annotated[int, Field(ge=1, le=100_000)]
OutputTokens = Annotated[int, Field(ge=1, le=1_000_000)]
CACHE_TTL_MOST_S = 30 * 24 * 3600
CACHE_ENTRY_MOST_BYTES = 8 * 1024 * 1024  # what the edge lets through


class TargetConfig(Part):
    """A model that a route goes to; what is not set is the model's own."""

    model: Name
    weight: Annotated[int, Field(ge=0, le=1_000_000)] = 1
    tier: Tier | None = None
    concurrency: Concurrency | None = None


class BreakerConfig(Part):
    """When a target is left alone. What is not set is as in routing/route.py."""

    failures: Annotated[int, Field(ge=1, le=1000)] | None = None
    failure_share: Annotated[float, Field(gt=0, le=1)] | None = None
    calls_min: Annotated[int, Field(ge=1, le=100_000)] | None = None
    window_s: Seconds | None = None
    open_s: Seconds | None = None
    open_most_s: Seconds | None = None


class CacheConfig(Part):
    """Which answers are kept. `ttl_s` 0: none."""

    ttl_s: Annotated[float, Field(ge=0, le=CACHE_TTL_MOST_S)]
    entry_bytes_max: Annotated[int, Field(ge=1024, le=CACHE_ENTRY_MOST_BYTES)] | None = None


class ModerationConfig(Part):
    """What moderation does on the way."""

    input: bool = False
    output: bool = False
    mask: bool = False
    restore: bool = False


class CanaryConfig(Part):
    """A target that is tried out. `share_percent` 0: it rests. What is not set is as in routing/route.py."""

    target: Name
    share_percent: Annotated[float, Field(ge=0, lt=100)]
    calls_min: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    error_share_more: Share | None = None
    first_token_p95_times: Annotated[float, Field(ge=1, le=1000)] | None = None
    cost_times: Annotated[float, Field(ge=1, le=1000)] | None = None


class RouteConfig(Part):
    """A name over several models. What is None comes from `defaults:`, or is as in routing/route.py."""

    name: Name
    targets: Annotated[tuple[TargetConfig, ...], Field(min_length=1, max_length=64)]
    strategy: StrategyName = "least_busy"
    attempts: Annotated[int, Field(ge=1, le=20)] | None = None
    backoff_first_s: Annotated[float, Field(ge=0, le=60)] | None = None
    backoff_most_s: Annotated[float, Field(ge=0, le=60)] | None = None
    retry_after_most_s: Annotated[float, Field(ge=0, le=300)] | None = None
    breaker: BreakerConfig = BreakerConfig()
    midstream: MidstreamName | None = None
    hedge_after_s: Annotated[float, Field(gt=0, le=600)] | None = None
    cache: CacheConfig | None = None
    moderation: ModerationConfig | None = None
    canary: CanaryConfig | None = None
    max_output_tokens: OutputTokens | None = None
    unknown_parameters: UnknownParameters | None = None
    organisations: Organisations = ()
    default: bool = False

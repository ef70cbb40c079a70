"""The parts of the file as they are written: each field with its type and bounds."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from services.inference.config.base import Dollars, ExactDollars, Name, Organisations, Part, Seconds
from services.inference.config.limits import LimitsConfig
from services.inference.config.policies import (
    CacheConfig,
    Concurrency,
    MidstreamName,
    ModerationConfig,
    OnLeaveName,
    OutputTokens,
    RouteConfig,
    Tier,
    UnknownParameters,
)
from services.inference.money import FREE, Price, dollars_to_nanos

DEMO = "demo"  # name of the provider and of the model that are always there
DEMO_TOKENS_PER_SECOND = 200.0
# What a first start without a models.yaml applies: what is found is offered.
DISCOVER_YAML = """\
# Offers what the inference service finds by itself (docs/models.md).
discover: true
models:
  # Vectors without any model, for trying things out.
  - {name: demo-embeddings, provider: demo, embeds: true}
"""
KEYS_MOST = 32  # of a provider, in variables

# The *name* of an environment variable of the inference service, never the key.
Variable = Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]{0,127}$")]


class TimeoutsConfig(Part):
    """How long a provider may take; what is not set comes from the service's settings. Seconds."""

    connect_s: Seconds | None = None
    first_token_s: Seconds | None = None
    idle_s: Seconds | None = None
    total_s: Seconds | None = None


class ProviderConfig(Part):
    """Where models are called."""

    name: Name
    kind: Literal["openai", "litellm", "demo"]
    base_url: str | None = None
    api_key_env: Variable | None = None
    api_key_envs: Annotated[tuple[Variable, ...], Field(max_length=KEYS_MOST)] = ()  # more of them
    timeouts: TimeoutsConfig = TimeoutsConfig()
    # openai: asks for usage on streams (`stream_options.include_usage`); off for upstreams that refuse it.
    stream_usage: bool = True
    # openai: the field that carries the cap on the answer.
    output_cap_field: Literal["max_tokens", "max_completion_tokens"] | None = None
    # demo: how fast it writes; 0: at once.
    tokens_per_second: Annotated[float, Field(ge=0, le=100_000)] | None = None

    @field_validator("base_url")
    @classmethod
    def _url(cls, value: str | None) -> str | None:
        if value is None:
            return None
        try:
            parts = urlsplit(value)
            host = parts.hostname
            _ = parts.port
        except ValueError as error:
            raise ValueError(f"is not a URL: {error}") from error
        if parts.scheme not in {"http", "https"} or not host:
            raise ValueError("must be an http:// or https:// URL with a host")
        if parts.username or parts.password:
            raise ValueError("must not carry a user or password; name a variable in api_key_env")
        if parts.query or parts.fragment:
            raise ValueError("must not carry a query or fragment")
        return value.rstrip("/")

    @property
    def key_variables(self) -> tuple[str, ...]:
        """Names of the variables that hold keys, in order, each once."""
        first = (self.api_key_env,) if self.api_key_env else ()
        return tuple(dict.fromkeys((*first, *self.api_key_envs)))


class PriceConfig(Part):
    """Dollars a million tokens, at most six decimals. Only a model that makes vectors may leave the output out."""

    input_per_million_usd: Dollars
    output_per_million_usd: Dollars | None = None

    @field_validator("input_per_million_usd", "output_per_million_usd")
    @classmethod
    def _exact(cls, value: Decimal | None) -> Decimal | None:
        if value is not None:
            Price.per_million(value, value)
        return value

    def price(self) -> Price:
        """In pico-dollars a token."""
        return Price.per_million(self.input_per_million_usd, self.output_per_million_usd or Decimal(0))


class ModelConfig(Part):
    """A model on offer."""

    name: Name
    provider: Name
    upstream_model: Annotated[str, Field(min_length=1, max_length=256)] | None = None
    context_tokens: Annotated[int, Field(ge=0, le=100_000_000)] = 0
    max_output_tokens: OutputTokens = 4096
    price: PriceConfig | None = None
    tier: Tier = 0  # what it is good for; `quality` routes give harder prompts to higher tiers
    embeds: bool = False  # makes vectors, not answers
    concurrency: Concurrency | None = None  # calls at once, of a process
    on_leave: OnLeaveName = "abort"  # what becomes of a call whose caller has gone
    organisations: Organisations = ()
    default: bool = False


class DefaultsConfig(Part):
    """Policies of models, and of routes that say nothing else."""

    cache: CacheConfig | None = None
    midstream: MidstreamName = "error"
    moderation: ModerationConfig = ModerationConfig()
    unknown_parameters: UnknownParameters = "pass"


class ExamplesConfig(Part):
    """Which model writes the examples of posts, and what it may cost a day (UTC)."""

    model: Name = DEMO
    daily_cap_usd: ExactDollars | None = None

    @property
    def daily_cap_nanos(self) -> int | None:
        """In nano-US-dollars."""
        return None if self.daily_cap_usd is None else dollars_to_nanos(self.daily_cap_usd)


class Config(Part):
    """The whole file. The provider and the model `demo` are there whether it names them or not."""

    providers: Annotated[tuple[ProviderConfig, ...], Field(max_length=200)] = ()
    models: Annotated[tuple[ModelConfig, ...], Field(max_length=1000)] = ()
    routes: Annotated[tuple[RouteConfig, ...], Field(max_length=1000)] = ()
    defaults: DefaultsConfig = DefaultsConfig()
    limits: LimitsConfig = LimitsConfig()
    examples: ExamplesConfig = ExamplesConfig()
    # Offers also what the service finds by itself.
    discover: bool = False


def price_of(model: ModelConfig, kind: str) -> Price | None:
    """The price of a model; None: unknown. A demo is known to cost nothing."""
    if kind == DEMO:
        return FREE
    return model.price.price() if model.price else None

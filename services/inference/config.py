"""`models.yaml`: providers, models, prices and what examples use (docs/models.md), validated whole.

`parse` answers a Config or raises ConfigError, which names every fault by its place and line.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from services.inference.money import FREE, Price, dollars_to_nanos
from services.inference.yaml_places import Document, Fault

DEMO = "demo"  # name of the provider and of the model that are always there
DEMO_TOKENS_PER_SECOND = 200.0
# What a first start without a models.yaml applies: what is found is offered.
DISCOVER_YAML = "# Offers what the inference service finds by itself (docs/models.md).\ndiscover: true\n"

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,127}$")]
Seconds = Annotated[float, Field(gt=0, le=3600)]
Dollars = Annotated[Decimal, Field(ge=0, le=1_000_000)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TimeoutsConfig(_Part):
    """How long a provider may take; what is not set comes from the service's settings. Seconds."""

    connect_s: Seconds | None = None
    first_token_s: Seconds | None = None
    idle_s: Seconds | None = None
    total_s: Seconds | None = None


class ProviderConfig(_Part):
    """Where models are called."""

    name: Name
    kind: Literal["openai", "litellm", "demo"]
    base_url: str | None = None
    # The *name* of an environment variable of the inference service, never the key.
    api_key_env: Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]{0,127}$")] | None = None
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


class PriceConfig(_Part):
    """Dollars a million tokens, at most six decimals."""

    input_per_million_usd: Dollars
    output_per_million_usd: Dollars

    @field_validator("input_per_million_usd", "output_per_million_usd")
    @classmethod
    def _exact(cls, value: Decimal) -> Decimal:
        Price.per_million(value, value)
        return value

    def price(self) -> Price:
        """In pico-dollars a token."""
        return Price.per_million(self.input_per_million_usd, self.output_per_million_usd)


class ModelConfig(_Part):
    """A model on offer."""

    name: Name
    provider: Name
    upstream_model: Annotated[str, Field(min_length=1, max_length=256)] | None = None
    context_tokens: Annotated[int, Field(ge=0, le=100_000_000)] = 0
    max_output_tokens: Annotated[int, Field(ge=1, le=1_000_000)] = 4096
    price: PriceConfig | None = None
    default: bool = False


class ExamplesConfig(_Part):
    """Which model writes the examples of posts, and what it may cost a day (UTC)."""

    model: Name = DEMO
    daily_cap_usd: Dollars | None = None

    @field_validator("daily_cap_usd")
    @classmethod
    def _exact(cls, value: Decimal | None) -> Decimal | None:
        if value is not None:
            dollars_to_nanos(value)
        return value

    @property
    def daily_cap_nanos(self) -> int | None:
        """In nano-US-dollars."""
        return None if self.daily_cap_usd is None else dollars_to_nanos(self.daily_cap_usd)


class Config(_Part):
    """The whole file. The provider and the model `demo` are there whether it names them or not."""

    providers: Annotated[tuple[ProviderConfig, ...], Field(max_length=200)] = ()
    models: Annotated[tuple[ModelConfig, ...], Field(max_length=1000)] = ()
    examples: ExamplesConfig = ExamplesConfig()
    # Offers also what the service finds by itself.
    discover: bool = False


class ConfigError(Exception):
    """The configuration is refused; `faults`: every fault, in order of place."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__(faults)
        self.faults = faults

    def __str__(self) -> str:
        lines = "\n".join(f"  {fault}" for fault in self.faults)
        return f"The configuration has {len(self.faults)} fault(s); nothing was applied:\n{lines}"


def parse(text: str) -> Config:
    """Reads and checks a configuration; ConfigError names everything that is wrong with it."""
    document = Document.parse(text)
    config: Config | None = None
    if not document.faults:
        if document.data is not None and not isinstance(document.data, dict):
            document.fault("", "must be a mapping with `providers`, `models`, `examples` or `discover`")
        else:
            config = _validate(document)
    if config is not None:
        _cross_check(config, document)
    if config is None or document.faults:
        raise ConfigError(sorted(document.faults, key=lambda fault: (fault.line, fault.place)))
    return config


def digest(text: str) -> bytes:
    """Identity of a configuration's text (SHA-256)."""
    return hashlib.sha256(text.encode()).digest()


def missing_keys(config: Config, environment: Iterable[str]) -> list[Fault]:
    """Variables that `api_key_env` names and that are not set. A fault when it is applied, a warning afterwards."""
    present = set(environment)
    return [
        Fault(
            f"providers[{i}].api_key_env",
            0,
            f"the variable {provider.api_key_env} is not set where inference runs; set it there and start it anew",
        )
        for i, provider in enumerate(config.providers)
        if provider.api_key_env and provider.api_key_env not in present
    ]


def _validate(document: Document) -> Config | None:
    try:
        return Config.model_validate(document.data or {})
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            document.fault(_place(detail["loc"]), _message(detail))
        return None


def _cross_check(config: Config, document: Document) -> None:
    providers = {provider.name: provider for provider in config.providers}
    _unique((provider.name for provider in config.providers), "providers", document)
    _unique((model.name for model in config.models), "models", document)
    for i, provider in enumerate(config.providers):
        _check_provider(provider, f"providers[{i}]", document)
    for i, model in enumerate(config.models):
        _check_model(model, providers, f"models[{i}]", document)
    defaults = [i for i, model in enumerate(config.models) if model.default]
    for i in defaults[1:]:
        document.fault(f"models[{i}].default", f"models[{defaults[0]}] is the default already; there can be one")
    _check_examples(config, providers, document)


def _check_provider(provider: ProviderConfig, place: str, document: Document) -> None:
    if provider.name == DEMO and provider.kind != DEMO:
        document.fault(f"{place}.name", "is taken by the built-in demo; choose another name")
    if provider.kind == "openai" and provider.base_url is None:
        document.fault(f"{place}.base_url", "is missing: where the provider answers, such as https://api.openai.com/v1")
    allowed = {
        "openai": {"base_url", "api_key_env", "timeouts", "stream_usage", "output_cap_field"},
        "litellm": {"base_url", "api_key_env", "timeouts"},
        "demo": {"tokens_per_second"},
    }[provider.kind]
    for field in sorted(provider.model_fields_set - allowed - {"name", "kind"}):
        document.fault(f"{place}.{field}", f"means nothing for a provider of kind {provider.kind}")
    if provider.api_key_env and provider.api_key_env.startswith("PROMPTMESH_"):
        # Otherwise whoever applies configurations could have the mesh's own secrets sent to an address of theirs.
        document.fault(f"{place}.api_key_env", "must not be one of the mesh's own variables (PROMPTMESH_…)")


def _check_model(model: ModelConfig, providers: dict[str, ProviderConfig], place: str, document: Document) -> None:
    provider = providers.get(model.provider)
    if provider is None and model.provider != DEMO:
        known = ", ".join(sorted({*providers, DEMO}))
        document.fault(f"{place}.provider", f"names no provider of this file: {model.provider!r}; there are {known}")
    is_demo = model.provider == DEMO or (provider is not None and provider.kind == DEMO)
    if model.name == DEMO and not is_demo:
        document.fault(f"{place}.name", "is taken by the built-in demo; choose another name")
    if is_demo and model.price is not None and not model.price.price().is_zero:
        document.fault(f"{place}.price", "a demo costs nothing; leave the price out")
    if not is_demo and model.upstream_model is None:
        document.fault(f"{place}.upstream_model", "is missing: the name that the provider gives the model")
    if model.context_tokens and model.max_output_tokens > model.context_tokens:
        document.fault(
            f"{place}.max_output_tokens",
            f"is {model.max_output_tokens:,}, more than context_tokens, which is {model.context_tokens:,}",
        )


def _check_examples(config: Config, providers: dict[str, ProviderConfig], document: Document) -> None:
    name = config.examples.model
    model = next((model for model in config.models if model.name == name), None)
    if model is None:
        if name != DEMO:
            document.fault("examples.model", f"names no model of this file: {name!r}")
        return
    provider = providers.get(model.provider)
    if model.provider == DEMO or (provider is not None and provider.kind == DEMO):
        return
    if config.examples.daily_cap_usd is None:
        document.fault(
            "examples.daily_cap_usd",
            f"is missing: {name!r} may cost money, so say how many US dollars a day examples may spend",
        )
    if model.price is None:
        document.fault(
            "examples.model",
            f"{name!r} has no price, so a cap could not be kept; give it one (0 where it costs nothing)",
        )


def _unique(names: Iterable[str], part: str, document: Document) -> None:
    seen: dict[str, int] = {}
    for i, name in enumerate(names):
        if name in seen:
            document.fault(f"{part}[{i}].name", f"is the name of {part}[{seen[name]}] too: {name!r}")
        else:
            seen[name] = i


def _place(location: tuple[int | str, ...]) -> str:
    path = ""
    for step in location:
        path += f"[{step}]" if isinstance(step, int) else f".{step}" if path else str(step)
    return path


def _message(detail: Any) -> str:
    shown = repr(detail.get("input"))[:60]
    match detail["type"]:
        case "missing":
            return "is missing"
        case "extra_forbidden":
            return "is not known here; see docs/models.md for what may stand"
        case "value_error":
            return str(detail["ctx"]["error"])
        case "string_pattern_mismatch":
            return f"must match {detail['ctx']['pattern']}, but is {shown}"
        case _:
            return f"{detail['msg'][0].lower()}{detail['msg'][1:]}, but is {shown}"


def price_of(model: ModelConfig, kind: str) -> Price | None:
    """The price of a model; None: unknown. A demo is known to cost nothing."""
    if kind == DEMO:
        return FREE
    return model.price.price() if model.price else None

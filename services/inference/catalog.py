"""What is on offer right now: the configuration with its providers made and what was found, as one immutable value.

Calls take `Offers.catalog` once and keep it; a new configuration replaces it whole, so that no call sees a mixture.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import aiohttp

from services.inference.config import (
    DEMO,
    DEMO_TOKENS_PER_SECOND,
    Config,
    ModelConfig,
    ProviderConfig,
    TimeoutsConfig,
    price_of,
)
from services.inference.money import FREE, Price
from services.inference.providers.base import Provider
from services.inference.providers.demo import Demo
from services.inference.providers.http import Timeouts
from services.inference.providers.litellm_provider import LiteLlm
from services.inference.providers.openai_compatible import OpenAiCompatible
from services.mesh.errors import MeshError

OPENAI_HOST = "://api.openai.com/"
DEMO_OUTPUT_TOKENS = 4096


@dataclass(frozen=True, slots=True)
class OfferedModel:
    """A model that callers can name. `price` None: unknown."""

    name: str
    provider: Provider
    upstream_model: str
    context_tokens: int
    max_output_tokens: int
    price: Price | None

    def cap(self, asked: int | None) -> int:
        """Largest answer in tokens, given what the caller asked for."""
        return min(asked or self.max_output_tokens, self.max_output_tokens)


@dataclass(frozen=True, slots=True)
class Catalog:
    """Everything on offer under one version of the configuration. `models` is in order of name."""

    version: int
    models: Mapping[str, OfferedModel]
    default: OfferedModel
    examples: OfferedModel
    examples_daily_cap_nanos: int | None

    def model(self, name: str) -> OfferedModel:
        """The model of a name, or the default one for none; MeshError MODEL_NOT_FOUND."""
        if not name:
            return self.default
        found = self.models.get(name)
        if found is None:
            raise MeshError(
                "MODEL_NOT_FOUND",
                f"No model {name[:128]!r} is offered; ListModels (GET /v1/models) names those that are.",
                metadata={"model": name[:128]},
            )
        return found


@dataclass(frozen=True, slots=True)
class Found:
    """What discovery found: providers, each with models. Names are unique over all."""

    providers: tuple[ProviderConfig, ...] = ()
    models: tuple[ModelConfig, ...] = ()


class Offers:
    """The catalog in force, made from a configuration and from what was found; either may change."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        environment: Mapping[str, str],
        timeouts: Timeouts,
        demo_tokens_per_second: float = DEMO_TOKENS_PER_SECOND,
    ) -> None:
        self._session = session
        self._environment = environment
        self._timeouts = timeouts
        self._demo_pace = demo_tokens_per_second
        self._config = Config()
        self._found = Found()
        self._version = 0
        self.catalog = self._make()
        self._watchers: list[Callable[[], None]] = []

    @property
    def version(self) -> int:
        """Version of the configuration in force; 0: none was applied yet."""
        return self._version

    @property
    def discovers(self) -> bool:
        """Whether the configuration wants what is found to be offered."""
        return self._config.discover

    def on_change(self, watcher: Callable[[], None]) -> None:
        """Calls `watcher` after each change."""
        self._watchers.append(watcher)

    def configure(self, version: int, config: Config) -> None:
        """A version comes into force."""
        self._version, self._config = version, config
        self._swap()

    def found(self, found: Found) -> None:
        """Discovery found something else than before."""
        if found != self._found:
            self._found = found
            self._swap()

    def _swap(self) -> None:
        self.catalog = self._make()
        for watcher in self._watchers:
            watcher()

    def _make(self) -> Catalog:
        config, found = self._config, self._found if self._config.discover else Found()
        known = {provider.name for provider in config.providers}
        demo = ProviderConfig(name=DEMO, kind="demo")
        configs: Sequence[ProviderConfig] = (
            *config.providers,
            *(provider for provider in found.providers if provider.name not in known),
            *(() if DEMO in known else (demo,)),
        )
        kinds = {provider.name: provider.kind for provider in configs}
        providers = {provider.name: self._provider(provider) for provider in configs}
        models = {model.name: _offered(model, providers, kinds) for model in config.models}
        for model in found.models:
            # What an operator wrote stands above what was found.
            if model.name not in models and model.provider not in known:
                models[model.name] = _offered(model, providers, kinds)
        if DEMO not in models:
            models[DEMO] = OfferedModel(DEMO, providers[DEMO], DEMO, 0, DEMO_OUTPUT_TOKENS, FREE)
        # Without a word of the operator's, the default costs nobody anything.
        default = next((model.name for model in config.models if model.default), None)
        if default is None:
            default = config.models[0].name if config.models else DEMO
        return Catalog(
            version=self._version,
            models=dict(sorted(models.items())),
            default=models[default],
            examples=models[config.examples.model],
            examples_daily_cap_nanos=config.examples.daily_cap_nanos,
        )

    def _provider(self, config: ProviderConfig) -> Provider:
        key = self._environment.get(config.api_key_env or "", "")
        timeouts = _timeouts(config.timeouts, self._timeouts)
        match config.kind:
            case "demo":
                pace = config.tokens_per_second
                return Demo(config.name, self._demo_pace if pace is None else pace)
            case "litellm":
                return LiteLlm(config.name, base_url=config.base_url, key=key, timeouts=timeouts)
            case "openai":
                assert config.base_url is not None, "validated"
                # OpenAI's own newer models refuse max_tokens; most others know only that.
                own = OPENAI_HOST in f"{config.base_url}/"
                return OpenAiCompatible(
                    self._session,
                    config.name,
                    config.base_url,
                    key=key,
                    timeouts=timeouts,
                    stream_usage=config.stream_usage,
                    output_cap_field=config.output_cap_field or ("max_completion_tokens" if own else "max_tokens"),
                )


def _offered(model: ModelConfig, providers: Mapping[str, Provider], kinds: Mapping[str, str]) -> OfferedModel:
    return OfferedModel(
        name=model.name,
        provider=providers[model.provider],
        upstream_model=model.upstream_model or model.name,
        context_tokens=model.context_tokens,
        max_output_tokens=model.max_output_tokens,
        price=price_of(model, kinds[model.provider]),
    )


def _timeouts(config: TimeoutsConfig, defaults: Timeouts) -> Timeouts:
    return Timeouts(
        connect_s=config.connect_s or defaults.connect_s,
        first_token_s=config.first_token_s or defaults.first_token_s,
        idle_s=config.idle_s or defaults.idle_s,
        total_s=config.total_s or defaults.total_s,
    )

"""From the parts of a configuration to the routes that calls take."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from services.inference.config import (
    DEMO,
    CacheConfig,
    CanaryConfig,
    Config,
    ModelConfig,
    ModerationConfig,
    RouteConfig,
    TargetConfig,
)
from services.inference.config.parts import price_of
from services.inference.providers.base import Provider
from services.inference.routing.route import (
    BreakerPolicy,
    CachePolicy,
    CanaryPolicy,
    Midstream,
    ModerationPolicy,
    OnLeave,
    RetryPolicy,
    Route,
    Strategy,
    Target,
)

DEMO_OUTPUT_TOKENS = 4096
DEMO_MODEL = ModelConfig(name=DEMO, provider=DEMO, max_output_tokens=DEMO_OUTPUT_TOKENS)


class RouteMaker:
    """Makes the routes of one version. `kinds`: of the providers, by name."""

    def __init__(
        self, version: int, config: Config, providers: Mapping[str, Provider], kinds: Mapping[str, str]
    ) -> None:
        self._version = version
        self._config = config
        self._providers = providers
        self._kinds = kinds

    def routes(self, found: Iterable[ModelConfig]) -> dict[str, Route]:
        """Every name that callers may use, in order. What an operator wrote stands above what was found."""
        targets = {model.name: self._target(model) for model in self._config.models}
        # The demo is there under its name whatever the file says.
        targets.setdefault(DEMO, self._target(DEMO_MODEL))
        written = {*targets, *(route.name for route in self._config.routes)}
        owners = {model.name: frozenset(model.organisations) for model in self._config.models}
        routes = {name: self._of_model(target, owners.get(name, frozenset())) for name, target in targets.items()}
        routes |= {route.name: self._of_route(route, targets) for route in self._config.routes}
        routes |= {model.name: self._of_model(self._target(model)) for model in found if model.name not in written}
        return dict(sorted(routes.items()))

    def _target(self, model: ModelConfig) -> Target:
        return Target(
            name=model.name,
            provider=self._providers[model.provider],
            upstream_model=model.upstream_model or model.name,
            context_tokens=model.context_tokens,
            max_output_tokens=0 if model.embeds else model.max_output_tokens,
            price=price_of(model, self._kinds[model.provider]),
            tier=model.tier,
            concurrency_max=model.concurrency or 0,
            on_leave=OnLeave(model.on_leave),
            embeds=model.embeds,
        )

    def _of_model(self, target: Target, organisations: frozenset[str] = frozenset()) -> Route:
        defaults = self._config.defaults
        return Route(
            name=target.name,
            targets=(target,),
            version=self._version,
            midstream=Midstream(defaults.midstream),
            cache=_cache(defaults.cache),
            moderation=_moderation(defaults.moderation, embeds=target.embeds),
            refuses_unknown=defaults.unknown_parameters == "refuse",
            organisations=organisations,
        )

    def _of_route(self, route: RouteConfig, models: Mapping[str, Target]) -> Route:
        defaults = self._config.defaults
        canary = route.canary if route.canary and route.canary.share_percent else None
        resting = route.canary.target if route.canary and canary is None else None
        targets = tuple(_own(models[one.model], one) for one in route.targets if one.model != resting)
        return Route(
            name=route.name,
            targets=targets,
            version=self._version,
            strategy=Strategy(route.strategy),
            retry=_retry(route),
            breaker=BreakerPolicy(**route.breaker.model_dump(exclude_none=True)),
            midstream=Midstream(route.midstream or defaults.midstream),
            hedge_after_s=route.hedge_after_s,
            cache=_cache(route.cache or defaults.cache),
            moderation=_moderation(route.moderation or defaults.moderation, embeds=targets[0].embeds),
            canary=_canary(canary),
            max_output_tokens=route.max_output_tokens or 0,
            refuses_unknown=(route.unknown_parameters or defaults.unknown_parameters) == "refuse",
            organisations=frozenset(route.organisations),
            is_model=False,
        )


def default_name(config: Config) -> str:
    """The route of calls that name none: the one that is marked, or else the first of everybody's that answers."""
    marked = [model.name for model in config.models if model.default]
    marked += [route.name for route in config.routes if route.default]
    if marked:
        return marked[0]
    # Without a word of the operator's, the default costs nobody anything.
    return next((model.name for model in config.models if not model.embeds and not model.organisations), DEMO)


def default_embedding(config: Config, routes: Mapping[str, Route]) -> Route:
    """The route of calls that want vectors and name none: the default one if it makes them, or else the first of
    everybody's models that does. Without any, the default one, which is refused for what it makes."""
    default = routes[default_name(config)]
    if default.embeds:
        return default
    return next((routes[model.name] for model in config.models if model.embeds and not model.organisations), default)


def _own(model: Target, target: TargetConfig) -> Target:
    return replace(
        model,
        weight=target.weight,
        tier=model.tier if target.tier is None else target.tier,
        concurrency_max=target.concurrency or model.concurrency_max,
    )


def _retry(route: RouteConfig) -> RetryPolicy:
    given: dict[str, Any] = {
        "attempts_max": route.attempts,
        "backoff_first_s": route.backoff_first_s,
        "backoff_most_s": route.backoff_most_s,
        "retry_after_most_s": route.retry_after_most_s,
    }
    return replace(RetryPolicy(), **{name: value for name, value in given.items() if value is not None})


def _cache(config: CacheConfig | None) -> CachePolicy | None:
    if config is None or not config.ttl_s:
        return None
    policy = CachePolicy(ttl_s=config.ttl_s)
    return replace(policy, entry_bytes_max=config.entry_bytes_max) if config.entry_bytes_max else policy


def _moderation(config: ModerationConfig, *, embeds: bool) -> ModerationPolicy:
    return ModerationPolicy(
        screen_input=config.input,
        screen_output=config.output and not embeds,  # vectors are no text
        mask_personal_data=config.mask,
        restore_personal_data=config.restore and not embeds,
    )


def _canary(config: CanaryConfig | None) -> CanaryPolicy | None:
    return None if config is None else CanaryPolicy(**config.model_dump(exclude_none=True))


def for_examples(route: Route) -> Route:
    """The route as examples take it: each target once, since a job that failed is tried again later; nothing that is
    screened window by window may begin anew; each example is its own, so none comes from a cache."""
    return replace(
        route,
        variant="examples",
        retry=replace(route.retry, attempts_max=min(route.retry.attempts_max, len(route.targets))),
        midstream=Midstream.ERROR,
        hedge_after_s=None,
        cache=None,
        moderation=ModerationPolicy(),
    )

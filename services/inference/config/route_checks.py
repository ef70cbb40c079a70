"""What a route must be to its targets and to itself."""

from __future__ import annotations

from collections.abc import Mapping

from services.inference.config.parts import DEMO, Config, ModelConfig
from services.inference.config.policies import RouteConfig
from services.inference.routing.route import BreakerPolicy, RetryPolicy
from services.mesh.yaml_places import Document

_DEMO_MODEL = ModelConfig(name=DEMO, provider=DEMO)


def check_routes(config: Config, document: Document) -> None:
    """Adds a fault for everything that is wrong with a route."""
    models = {DEMO: _DEMO_MODEL, **{model.name: model for model in config.models}}
    routes = {route.name for route in config.routes}
    for i, route in enumerate(config.routes):
        place = f"routes[{i}]"
        if route.name == DEMO:
            document.fault(f"{place}.name", "is taken by the built-in demo; choose another name")
        _check_targets(route, models, routes, place, document)
        _check_canary(route, place, document)
        _check_weights(route, place, document)
        _check_times(route, place, document)
        known = [models[target.model] for target in route.targets if target.model in models]
        _check_kinds(route, known, place, document)
        _check_output(route, known, place, document)


def _check_targets(
    route: RouteConfig, models: Mapping[str, ModelConfig], routes: set[str], place: str, document: Document
) -> None:
    seen: set[str] = set()
    for j, target in enumerate(route.targets):
        where = f"{place}.targets[{j}].model"
        if target.model in seen:
            document.fault(where, f"{target.model!r} is a target of this route already; give that one more weight")
        elif target.model in models:
            pass
        elif target.model in routes:
            document.fault(where, f"{target.model!r} is a route; targets are models")
        else:
            document.fault(where, f"names no model of this file: {target.model!r}")
        seen.add(target.model)
    if route.strategy == "quality":
        tiers = {
            models[target.model].tier if target.tier is None else target.tier
            for target in route.targets
            if target.model in models
        }
        if len(route.targets) > 1 and len(tiers) == 1:
            document.fault(
                f"{place}.strategy", "quality goes by tiers, but all targets have the same; give models or targets one"
            )


def _check_canary(route: RouteConfig, place: str, document: Document) -> None:
    if route.canary is None:
        return
    names = [target.model for target in route.targets]
    if route.canary.target not in names:
        document.fault(
            f"{place}.canary.target", f"is no target of this route: {route.canary.target!r}; {', '.join(names)} are"
        )
    elif len(set(names)) == 1:
        document.fault(f"{place}.canary.target", "is the only target, so there is nothing to compare it with")


def _check_weights(route: RouteConfig, place: str, document: Document) -> None:
    canary = route.canary.target if route.canary else None
    weights = [target.weight for target in route.targets if target.model != canary]
    if weights and not any(weights):
        besides = " besides the canary" if canary else ""
        document.fault(f"{place}.targets", f"all weights{besides} are 0, so no call could go anywhere")


def _check_times(route: RouteConfig, place: str, document: Document) -> None:
    retry, breaker = RetryPolicy(), BreakerPolicy()
    first = retry.backoff_first_s if route.backoff_first_s is None else route.backoff_first_s
    most = retry.backoff_most_s if route.backoff_most_s is None else route.backoff_most_s
    if most < first:
        where = "backoff_most_s" if route.backoff_most_s is not None else "backoff_first_s"
        document.fault(f"{place}.{where}", f"backoff_most_s is {most:g}, less than backoff_first_s, which is {first:g}")
    opens, opens_most = route.breaker.open_s or breaker.open_s, route.breaker.open_most_s or breaker.open_most_s
    if opens_most < opens:
        where = "open_most_s" if route.breaker.open_most_s is not None else "open_s"
        document.fault(
            f"{place}.breaker.{where}", f"open_most_s is {opens_most:g}, less than open_s, which is {opens:g}"
        )


def _check_kinds(route: RouteConfig, known: list[ModelConfig], place: str, document: Document) -> None:
    embeds = {model.embeds for model in known}
    moderation = route.moderation
    if moderation is not None and moderation.restore and not moderation.mask:
        document.fault(f"{place}.moderation.restore", "nothing is masked, so there is nothing to restore; set `mask`")
    if len(embeds) == 2:
        vectors = ", ".join(model.name for model in known if model.embeds)
        document.fault(f"{place}.targets", f"models that make vectors ({vectors}) and models that answer do not mix")
    elif embeds == {True}:
        if moderation is not None:
            for field in ("output", "restore"):
                if getattr(moderation, field):
                    document.fault(
                        f"{place}.moderation.{field}", "vectors are no text; only the input can be looked at"
                    )
        if route.max_output_tokens is not None:
            document.fault(f"{place}.max_output_tokens", "means nothing for models that make vectors")
        if route.strategy == "quality":
            document.fault(f"{place}.strategy", "quality goes by the prompt, which models that make vectors have not")


def _check_output(route: RouteConfig, known: list[ModelConfig], place: str, document: Document) -> None:
    contexts = [model.context_tokens for model in known if not model.embeds]
    if route.max_output_tokens is None or not contexts or not all(contexts):
        return
    if route.max_output_tokens > max(contexts):
        document.fault(
            f"{place}.max_output_tokens",
            f"is {route.max_output_tokens:,}, more than the context_tokens of every target (at most {max(contexts):,})",
        )

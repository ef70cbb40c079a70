"""What the parts of a configuration must be to one another; faults are named by place."""

from __future__ import annotations

from collections.abc import Mapping

from services.inference.config.parts import DEMO, Config, ModelConfig, ProviderConfig
from services.inference.config.policies import RouteConfig
from services.inference.config.route_checks import check_routes
from services.mesh.yaml_places import Document

_FIELDS_OF_KIND = {
    "openai": {"base_url", "api_key_env", "api_key_envs", "timeouts", "stream_usage", "output_cap_field"},
    "litellm": {"base_url", "api_key_env", "api_key_envs", "timeouts"},
    "demo": {"tokens_per_second"},
}


def check(config: Config, document: Document) -> None:
    """Adds a fault for everything that does not fit together."""
    providers = {provider.name: provider for provider in config.providers}
    _unique([("providers", i, provider.name) for i, provider in enumerate(config.providers)], document)
    # Callers name models and routes alike.
    named = [("models", i, model.name) for i, model in enumerate(config.models)]
    named += [("routes", i, route.name) for i, route in enumerate(config.routes)]
    _unique(named, document)
    for i, provider in enumerate(config.providers):
        _check_provider(provider, f"providers[{i}]", document)
    for i, model in enumerate(config.models):
        _check_model(model, providers, f"models[{i}]", document)
    check_routes(config, document)
    _check_default(config, document)
    if config.defaults.moderation.restore and not config.defaults.moderation.mask:
        document.fault("defaults.moderation.restore", "nothing is masked, so there is nothing to restore; set `mask`")
    _check_examples(config, providers, document)


def is_demo(model: ModelConfig, providers: Mapping[str, ProviderConfig]) -> bool:
    """Whether the demo answers, which costs nothing."""
    provider = providers.get(model.provider)
    return model.provider == DEMO or (provider is not None and provider.kind == DEMO)


def _check_provider(provider: ProviderConfig, place: str, document: Document) -> None:
    if provider.name == DEMO and provider.kind != DEMO:
        document.fault(f"{place}.name", "is taken by the built-in demo; choose another name")
    if provider.kind == "openai" and provider.base_url is None:
        document.fault(f"{place}.base_url", "is missing: where the provider answers, such as https://api.openai.com/v1")
    for field in sorted(provider.model_fields_set - _FIELDS_OF_KIND[provider.kind] - {"name", "kind"}):
        document.fault(f"{place}.{field}", f"means nothing for a provider of kind {provider.kind}")
    variables = [(f"{place}.api_key_env", provider.api_key_env or "")]
    variables += [(f"{place}.api_key_envs[{j}]", name) for j, name in enumerate(provider.api_key_envs)]
    seen: set[str] = set()
    for where, variable in variables:
        if variable.startswith("PROMPTMESH_"):
            # Otherwise whoever applies configurations could have the mesh's own secrets sent to an address of theirs.
            document.fault(where, "must not be one of the mesh's own variables (PROMPTMESH_…)")
        if variable and variable in seen:
            document.fault(where, f"names {variable} a second time")
        seen.add(variable)


def _check_model(model: ModelConfig, providers: Mapping[str, ProviderConfig], place: str, document: Document) -> None:
    if model.provider not in providers and model.provider != DEMO:
        known = ", ".join(sorted({*providers, DEMO}))
        document.fault(f"{place}.provider", f"names no provider of this file: {model.provider!r}; there are {known}")
    demo = is_demo(model, providers)
    if model.name == DEMO and not demo:
        document.fault(f"{place}.name", "is taken by the built-in demo; choose another name")
    if demo and model.price is not None and not model.price.price().is_zero:
        document.fault(f"{place}.price", "a demo costs nothing; leave the price out")
    if not demo and model.upstream_model is None:
        document.fault(f"{place}.upstream_model", "is missing: the name that the provider gives the model")
    if model.embeds:
        for field in sorted({"max_output_tokens", "tier"} & model.model_fields_set):
            document.fault(f"{place}.{field}", "means nothing for a model that makes vectors")
        return
    if model.price is not None and model.price.output_per_million_usd is None:
        document.fault(f"{place}.price.output_per_million_usd", "is missing")
    if model.context_tokens and model.max_output_tokens > model.context_tokens:
        document.fault(
            f"{place}.max_output_tokens",
            f"is {model.max_output_tokens:,}, more than context_tokens, which is {model.context_tokens:,}",
        )


def _check_default(config: Config, document: Document) -> None:
    marked = [f"models[{i}]" for i, model in enumerate(config.models) if model.default]
    marked += [f"routes[{i}]" for i, route in enumerate(config.routes) if route.default]
    for place in marked[1:]:
        document.fault(f"{place}.default", f"{marked[0]} is the default already; there can be one")
    named: list[tuple[str, ModelConfig | RouteConfig]] = [(f"models[{i}]", one) for i, one in enumerate(config.models)]
    named += [(f"routes[{i}]", route) for i, route in enumerate(config.routes)]
    for place, one in named:
        if one.default and one.organisations:
            document.fault(f"{place}.default", "the default is everybody's; this one has `organisations`")
        if one.name == DEMO and one.organisations:
            document.fault(f"{place}.organisations", "the demo is everybody's")


def _check_examples(config: Config, providers: Mapping[str, ProviderConfig], document: Document) -> None:
    name = config.examples.model
    models = {model.name: model for model in config.models}
    route = next((route for route in config.routes if route.name == name), None)
    if route is None and name not in models:
        if name != DEMO:
            document.fault("examples.model", f"names no model or route of this file: {name!r}")
        return
    names = [target.model for target in route.targets] if route else [name]
    paid = [models[one] for one in names if one in models and not is_demo(models[one], providers)]
    if any(model.embeds for model in paid):
        document.fault("examples.model", f"{name!r} makes vectors, not answers")
        return
    if paid and config.examples.daily_cap_usd is None:
        document.fault(
            "examples.daily_cap_usd",
            f"is missing: {name!r} may cost money, so say how many US dollars a day examples may spend",
        )
    for model in dict.fromkeys(model.name for model in paid if model.price is None):
        document.fault(
            "examples.model",
            f"{model!r} has no price, so a cap could not be kept; give it one (0 where it costs nothing)",
        )


def _unique(named: list[tuple[str, int, str]], document: Document) -> None:
    """Names with the part and index where each stands."""
    seen: dict[str, str] = {}
    for part, i, name in named:
        place = f"{part}[{i}]"
        if name in seen:
            document.fault(f"{place}.name", f"is the name of {seen[name]} too: {name!r}")
        else:
            seen[name] = place

"""Under which name the cost map has a model of `models.yaml`."""

from __future__ import annotations

from urllib.parse import urlsplit

from services.inference.config import ModelConfig, ProviderConfig
from services.inference.prices.cost_map import CostMap, NoPriceError

# Whose prices an upstream at this host has, as LiteLLM calls them. Others may be anybody's: a model of a known name on
# a machine of one's own costs something else.
HOSTS = {
    "api.openai.com": "openai",
    "api.anthropic.com": "anthropic",
    "api.cerebras.ai": "cerebras",
    "api.deepseek.com": "deepseek",
    "api.fireworks.ai": "fireworks_ai",
    "api.groq.com": "groq",
    "api.mistral.ai": "mistral",
    "api.perplexity.ai": "perplexity",
    "api.together.xyz": "together_ai",
    "api.x.ai": "xai",
    "generativelanguage.googleapis.com": "gemini",
    "openrouter.ai": "openrouter",
}


def key_of(model: ModelConfig, provider: ProviderConfig | None, costs: CostMap) -> str:
    """The name; NoPriceError where none is sure."""
    upstream = model.upstream_model or model.name
    if provider is None or provider.kind == "demo":
        raise NoPriceError("a demo costs nothing")
    if provider.kind == "litellm":
        owner, _, rest = upstream.partition("/")
        if not rest:
            owner, rest = "", upstream
    else:
        host = urlsplit(provider.base_url or "").hostname or ""
        owner, rest = HOSTS.get(host, ""), upstream
        if not owner:
            raise NoPriceError(
                f"nothing is known of prices at {host}; say which are its own with --as {model.name}=NAME"
            )
    for key in dict.fromkeys((f"{owner}/{rest}" if owner else rest, rest)):
        listed_by = costs.provider(key)
        # Vertex and Azure, for instance, list the names of others at prices of their own.
        if listed_by is not None and (listed_by == owner or (not owner and provider.kind == "litellm")):
            return key
    raise NoPriceError(f"the map has no {rest!r} of {owner or 'anybody'}; name one with --as {model.name}=NAME")

"""`models.yaml`: providers, models, routes, limits, prices and what examples use (docs/models.md), validated whole.

`parse` answers a Config or raises ConfigError, which names every fault by its place and line.
"""

from services.inference.config.parts import (
    DEMO,
    DEMO_TOKENS_PER_SECOND,
    DISCOVER_YAML,
    Config,
    DefaultsConfig,
    ExamplesConfig,
    ModelConfig,
    PriceConfig,
    ProviderConfig,
    TimeoutsConfig,
)
from services.inference.config.policies import CacheConfig, CanaryConfig, ModerationConfig, RouteConfig, TargetConfig
from services.inference.config.reading import ConfigError, digest, missing_keys, parse
from services.mesh.yaml_places import Fault

__all__ = [
    "DEMO",
    "DEMO_TOKENS_PER_SECOND",
    "DISCOVER_YAML",
    "CacheConfig",
    "CanaryConfig",
    "Config",
    "ConfigError",
    "DefaultsConfig",
    "ExamplesConfig",
    "Fault",
    "ModelConfig",
    "ModerationConfig",
    "PriceConfig",
    "ProviderConfig",
    "RouteConfig",
    "TargetConfig",
    "TimeoutsConfig",
    "digest",
    "missing_keys",
    "parse",
]

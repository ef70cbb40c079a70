"""A mesh to break: its parts reach one another over links that can be cut, and its provider can be made to lie.

What is asked of it:

| model or route | provider | |
|---|---|---|
| `steady` | `steady` | is never made to lie |
| `shaky` | `shaky` | lies at times |
| `fallback` (route) | `shaky`, then `steady` | |
| `kept` (route) | `steady` | answers are kept for five minutes |
| `screened` (route) | `steady` | what is asked is screened |
| `vectors` | `steady` | makes vectors |
| examples of posts | `examples` | lies at times |
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from services.local.testing import LocalMesh
from tests.support.provider import RemoteProviders

STEADY, SHAKY, EXAMPLES = "steady", "shaky", "examples"
FALLBACK, KEPT, SCREENED, VECTORS = "fallback", "kept", "screened", "vectors"
PROVIDERS = (STEADY, SHAKY, EXAMPLES)
MODEL_OF_PROVIDERS = "mock-small"  # what every provider is asked for

#: Nobody meets the edge's own limits.
EDGE = {
    "rate_per_second": 10_000,
    "rate_burst": 20_000,
    "credential_rate_per_second": 10_000,
    "credential_rate_burst": 20_000,
}
#: People log in once.
ENVIRONMENT = {
    "PROMPTMESH_ACCESS_LIFETIME_S": "3600",
    "PROMPTMESH_STEP_UP_S": "3600",
    "PROMPTMESH_LOG_LEVEL": "warning",
}


@dataclass
class World:
    """A running mesh and what is around it. `folder` is for whatever a run writes down."""

    mesh: LocalMesh
    provider: RemoteProviders
    folder: Path
    seed: int
    others: set[str] = field(default_factory=set)  # request ids of posts that somebody beside the load made


def models_yaml(base_urls: Mapping[str, str]) -> str:
    """Providers, models and routes, all with a price. base_urls: provider → address as the mesh shall call it."""
    lines = ["providers:"]
    for name in PROVIDERS:
        lines += [f"  - name: {name}", "    kind: openai", f"    base_url: {base_urls[name]}"]
    lines += ["models:"]
    for name in PROVIDERS:
        lines += [f"  - name: {name}", f"    provider: {name}", f"    upstream_model: {MODEL_OF_PROVIDERS}"]
        lines += ["    max_output_tokens: 1024"]
        lines += ['    price: {input_per_million_usd: "1", output_per_million_usd: "2"}']
    lines += [f"  - name: {VECTORS}", f"    provider: {STEADY}", f"    upstream_model: {MODEL_OF_PROVIDERS}"]
    lines += ["    embeds: true", '    price: {input_per_million_usd: "1"}']
    lines += ["routes:"]
    lines += [f"  - name: {FALLBACK}", f"    targets: [{{model: {SHAKY}}}, {{model: {STEADY}}}]"]
    lines += [f"  - name: {KEPT}", f"    targets: [{{model: {STEADY}}}]", "    cache: {ttl_s: 300}"]
    lines += [f"  - name: {SCREENED}", f"    targets: [{{model: {STEADY}}}]", "    moderation: {input: true}"]
    lines += ["examples:", f"  model: {EXAMPLES}", "  daily_cap_usd: 1000"]
    return "\n".join(lines) + "\n"

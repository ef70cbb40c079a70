"""The mesh that is held: models, people, caches so small that the warm-up fills them."""

from __future__ import annotations

from services.local.testing import LocalMesh

MODEL, CACHED = "calls", "cached"
CACHE_TTL_S = 60
PEOPLE = 8
PASSWORD = "a long enough password"
POSTS_SCOPES = ("posts:read", "posts:write")
CALLS_SCOPES = ("inference:invoke",)

#: The provider: an answer takes 0.2 s to its first word, and a stream of 20 words 0.4 s more.
BEHAVIOUR = {"tokens": 20, "latency_s": 0.1, "first_token_s": 0.1, "pace_s": 0.02}

#: What legitimately grows up to a cap gets one that is reached within the warm-up, so that it is seen to stop there.
CAPS = {
    "PROMPTMESH_CACHE_MEMORY_BYTES_MAX": str(2 * 1024 * 1024),  # default 64 MiB: answers in inference
    "PROMPTMESH_TOKEN_CACHE_MAX": "200",  # default 50,000: verified access tokens, in each service
    "PROMPTMESH_KEY_CACHE_MAX": "200",  # default 100,000: API keys
    "PROMPTMESH_SCREENING_CLEARED_MAX": "500",  # default 20,000: texts that were screened
    "PROMPTMESH_LOG_LEVEL": "warning",
}


def models_yaml(base_url: str) -> str:
    """A provider, its model, a route of it with a cache; examples by the same model."""
    return f"""
providers:
  - name: {MODEL}
    kind: openai
    base_url: {base_url}
models:
  - name: {MODEL}
    provider: {MODEL}
    upstream_model: mock-small
    context_tokens: 8192
    max_output_tokens: 256
    price: {{input_per_million_usd: "0", output_per_million_usd: "1"}}
    default: true
routes:
  - {{name: {CACHED}, targets: [{{model: {MODEL}}}], cache: {{ttl_s: {CACHE_TTL_S}}}}}
examples:
  model: {MODEL}
  daily_cap_usd: "1000"
"""


def people_of(mesh: LocalMesh) -> list[dict[str, str]]:
    """Registers those who call: `email`, `posts` and `calls` (API keys)."""
    found = []
    for number in range(PEOPLE):
        _, token = mesh.register(f"person{number}", PASSWORD)
        found.append(
            {
                "email": f"person{number}@example.com",
                "posts": mesh.api_key(token, *POSTS_SCOPES),
                "calls": mesh.api_key(token, *CALLS_SCOPES),
            }
        )
    return found

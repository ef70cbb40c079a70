"""The providers that the mesh of the tests calls, and the models.yaml that names them."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass

from tests.mesh.client import PATIENCE_S, eventually
from tests.support.provider import MisbehavingProvider, SeenCall, running_provider

MODEL = "mock"  # what callers ask for; the default
MODEL_WITH_SLASH = "acme/mock-large"
VECTORS = "vectors"  # makes vectors
CACHED = "cached"  # a route with a cache
PRIVATE = "private"  # of an organisation that nobody in the tests is in
WRITER = "writer"  # the model of examples
# For tests of failures, one each: what fails is left alone for a while, which is no other test's business.
FRAGILE = tuple(f"fragile-{number}" for number in range(20))


@dataclass(frozen=True)
class Upstreams:
    """Two providers, so that examples of posts do not take what a test has prepared for its own call."""

    calls: MisbehavingProvider
    examples: MisbehavingProvider


@contextlib.asynccontextmanager
async def running_upstreams() -> AsyncIterator[Upstreams]:
    """Serves both on the running loop."""
    async with running_provider() as calls, running_provider() as examples:
        yield Upstreams(calls, examples)


def models_yaml(upstreams: Upstreams) -> str:
    """Their models, a route over one, and one whose examples cost nothing."""
    fragile = "\n".join(f"  - {{name: {name}, provider: calls, upstream_model: mock-{name}}}" for name in FRAGILE)
    return f"""
providers:
  - name: calls
    kind: openai
    base_url: {upstreams.calls.base_url}
  - name: examples
    kind: openai
    base_url: {upstreams.examples.base_url}
models:
  - name: {MODEL}
    provider: calls
    upstream_model: mock-small
    context_tokens: 8192
    max_output_tokens: 1024
    price: {{input_per_million_usd: "1", output_per_million_usd: "2"}}
    default: true
  - name: {MODEL_WITH_SLASH}
    provider: calls
    upstream_model: mock-large
  - name: {VECTORS}
    provider: calls
    upstream_model: mock-embed
    embeds: true
    price: {{input_per_million_usd: "0.5"}}
  - name: {PRIVATE}
    provider: calls
    upstream_model: mock-small
    organisations: [01900000-0000-7000-8000-000000000001]
  - name: {WRITER}
    provider: examples
    upstream_model: mock-small
    price: {{input_per_million_usd: "0", output_per_million_usd: "0"}}
{fragile}
routes:
  - name: {CACHED}
    targets: [{{model: {MODEL}}}]
    cache: {{ttl_s: 300}}
examples:
  model: {WRITER}
  daily_cap_usd: "1"
"""


def unique_words() -> str:
    """A prompt that no other test writes."""
    return f"Write about the number {uuid.uuid4().hex}."


async def example_call(provider: MisbehavingProvider, words: str) -> SeenCall:
    """The provider's request that holds these words, as soon as it is there."""

    async def found() -> SeenCall | None:
        for call in reversed(provider.calls):
            if any(words in str(message.get("content")) for message in call.body["messages"]):
                return call
        return None

    call: SeenCall = await eventually("the provider was asked", found)
    return call


async def given_up(call: SeenCall) -> None:
    """Waits until the provider saw its client leave before the answer was whole."""
    async with asyncio.timeout(PATIENCE_S):
        await call.ended.wait()
    assert call.aborted.is_set(), "the provider's answer was taken to its end"

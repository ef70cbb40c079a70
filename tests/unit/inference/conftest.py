"""A provider that misbehaves on command, and ours pointed at it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import pytest

from services.inference.providers.http import HttpClient, Timeouts, open_session
from services.inference.providers.keys import KeyRing
from services.inference.providers.openai_compatible import OpenAiCompatible
from tests.support.provider import MisbehavingProvider, running_provider

KEY = "sk-test-1234567890abcdef"


@pytest.fixture
async def upstream() -> AsyncIterator[MisbehavingProvider]:
    async with running_provider() as provider:
        yield provider


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with open_session(connections=64) as session:
        yield session


@pytest.fixture
async def client() -> AsyncIterator[HttpClient]:
    client = HttpClient(connections_max=64)
    yield client
    await client.close()


@pytest.fixture
def provider_at(client: HttpClient) -> Callable[..., OpenAiCompatible]:
    """Makes a provider of kind `openai`; short timeouts, so that a silent upstream is found out soon."""

    def make(base_url: str, **options: Any) -> OpenAiCompatible:
        options.setdefault("timeouts", Timeouts(connect_s=2, first_token_s=0.4, idle_s=0.3, total_s=5))
        options.setdefault("keys", KeyRing([KEY]))
        return OpenAiCompatible(client, "mock", base_url, **options)

    return make


@pytest.fixture
def ours(upstream: MisbehavingProvider, provider_at: Callable[..., OpenAiCompatible]) -> OpenAiCompatible:
    return provider_at(upstream.base_url)

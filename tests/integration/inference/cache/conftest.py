"""Replicas on a real Redis."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import pytest

from services.inference.cache.answers import AnswerCache, CacheOptions
from services.mesh import redis as mesh_redis
from services.mesh.redis import Redis
from tests.integration.inference.cache.replicas import PATIENT, Replicas


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    client = mesh_redis.open(redis_url, 5.0)
    yield client
    await client.aclose()


@pytest.fixture
async def replicas(redis_url: str) -> AsyncIterator[Replicas]:
    async with contextlib.AsyncExitStack() as stack:

        def make(count: int, options: CacheOptions = PATIENT) -> list[AnswerCache]:
            made = []
            for _ in range(count):
                client = mesh_redis.open(redis_url, 5.0)
                stack.push_async_callback(client.aclose)
                cache = AnswerCache(client, options=options)
                stack.push_async_callback(cache.close)
                made.append(cache)
            return made

        yield make

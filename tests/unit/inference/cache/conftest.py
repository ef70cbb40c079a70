"""A cache of one process."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from services.inference.cache.answers import AnswerCache
from tests.unit.inference.cache.world import (
    Clock,
)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def cache(clock: Clock) -> AsyncIterator[AnswerCache]:
    cache = AnswerCache(None, monotonic=clock)
    yield cache
    await cache.close()

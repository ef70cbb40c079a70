"""A world of a producer and a consumer, fresh for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.integration.mesh_data.world import World, open_world


@pytest.fixture(autouse=True)
def _in_one_day(one_day: None) -> None:
    """Budgets, sums and partitions of days are looked at nearly everywhere here."""


@pytest.fixture
async def world(database_url: str, redis_url: str) -> AsyncIterator[World]:
    async with open_world(database_url, redis_url) as opened:
        yield opened

"""One set of toy services and one Envoy for each module of tests, all on one event loop."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.edge.harness import Edge, running_edge
from tests.edge.toys import Seen, Toys, start_toys


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def toys() -> AsyncIterator[Toys]:
    running = await start_toys()
    yield running
    await running.stop()


@pytest.fixture(scope="module")
def edge_settings() -> dict[str, Any]:
    """Settings of the module's edge beyond addresses; a module overrides it."""
    return {}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def edge(
    toys: Toys, edge_settings: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Edge]:
    async with running_edge(tmp_path_factory.mktemp("edge"), toys, **edge_settings) as running:
        yield running


@pytest.fixture
def seen(toys: Toys) -> Seen:
    """What reaches the services during a test."""
    toys.seen.calls.clear()
    toys.seen.cancelled.clear()
    toys.seen.unavailable_left = 0
    return toys.seen

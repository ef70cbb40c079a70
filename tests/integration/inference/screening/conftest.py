"""One process with everything real around it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.inference.providers.http import Client
from services.mesh.database import Database
from services.mesh.redis import Redis
from tests.integration.inference.screening.world import World, running_world
from tests.support.provider import MisbehavingProvider


@pytest.fixture
async def world(
    upstreams: Client, upstream: MisbehavingProvider, database: Database, redis: Redis, tmp_path: Path
) -> AsyncIterator[World]:
    async with running_world(upstreams, upstream, database, redis, tmp_path) as running:
        yield running

"""The inference service's parts on a real PostgreSQL, Redis and provider."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.inference.providers.http import Client, HttpClient
from services.local.database_urls import with_user
from services.mesh import redis as mesh_redis
from services.mesh.database import Database
from services.mesh.database.migrate import migrations_of
from services.mesh.database.provision import role_of
from services.mesh.database.setup import set_up
from services.mesh.events import Outbox
from tests.integration.inference.api import Api, running_api
from tests.integration.inference.moderation import ToyModeration, running_moderation
from tests.support.provider import MisbehavingProvider, running_provider

SECRET = "secret-of-a-test"
NEWEST = max(one.number for one in migrations_of("inference") if one.component == "inference")


@pytest.fixture(autouse=True)
def _in_one_day(one_day: None) -> None:
    """Budgets, sums and partitions of days are looked at nearly everywhere here."""


@pytest.fixture(scope="session")
def database_service() -> str:
    return "inference"


@pytest.fixture
async def inference_url(database_url: str) -> str:
    """DSN of the service's own role, its schema migrated."""
    url = with_user(database_url, role_of("inference"), SECRET)
    await set_up({"inference": url}, database_url, ("inference",))
    return url


@pytest.fixture
async def database(inference_url: str) -> AsyncIterator[Database]:
    opened = await Database.open(inference_url, schema="inference", serves=(NEWEST, NEWEST))
    yield opened
    await opened.close()


@pytest.fixture
def outbox() -> Outbox:
    return Outbox("inference", 4)


@pytest.fixture
async def upstream() -> AsyncIterator[MisbehavingProvider]:
    async with running_provider() as provider:
        yield provider


@pytest.fixture
async def upstreams() -> AsyncIterator[Client]:
    opened = HttpClient(connections_max=64)
    yield opened
    await opened.close()


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[mesh_redis.Redis]:
    opened = mesh_redis.open(redis_url, op_timeout_s=1.0)
    yield opened
    await opened.aclose()


@pytest.fixture
async def moderation() -> AsyncIterator[ToyModeration]:
    async with running_moderation() as running:
        yield running


@pytest.fixture
async def api(
    upstreams: Client, upstream: MisbehavingProvider, database: Database, redis: mesh_redis.Redis, tmp_path: Path
) -> AsyncIterator[Api]:
    async with running_api(upstreams, upstream, database, redis, tmp_path) as running:
        yield running

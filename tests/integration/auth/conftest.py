"""One service of auth for the tests of a file; each makes people of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import asyncpg
import pytest

from services.local.embedded.redis import RedisServer
from tests.integration.auth.world import Client, Place, auth_place, client_of
from tests.integration.support.service_process import ServiceProcess
from tests.support.databases import Databases


@pytest.fixture(scope="module")
def place(databases: Databases, redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Database and settings of the file's own."""
    with auth_place(databases, redis_server.url(), tmp_path_factory.mktemp("auth")) as place:
        yield place


@pytest.fixture(scope="module")
def service(place: Place) -> Iterator[ServiceProcess]:
    """The service."""
    with place.running() as process:
        yield process


@pytest.fixture
async def client(service: ServiceProcess) -> AsyncIterator[Client]:
    """Calls it without a credential."""
    async with client_of(service) as client:
        yield client


@pytest.fixture
def peer(client: Client, place: Place) -> Client:
    """Calls it as the prompts service."""
    return client.bearing(place.secrets.service_token("prompts"))


@pytest.fixture
async def rows(place: Place) -> AsyncIterator[asyncpg.Connection]:
    """The database as its superuser sees it; the schema is `auth`."""
    connection = await asyncpg.connect(place.admin_url, server_settings={"search_path": "auth"})
    yield connection
    await connection.close()

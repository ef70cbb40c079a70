"""The prompts service's schema in a database of the test's own, and its store."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from services.mesh.database import Database, DatabaseOptions
from services.mesh.database.setup import set_up
from services.mesh.events import Outbox
from services.prompts.main import SERVES
from services.prompts.store import PostStore
from tests.integration.prompts.support import Bench
from tests.integration.prompts.world import World, running_world

PASSWORD = "prompts-of-the-tests"
PARTITIONS = 4


@pytest.fixture(scope="session")
def database_service() -> str:
    return "prompts"


@pytest.fixture
async def prompts_url(database_url: str) -> str:
    """DSN of the prompts service's role; its schema is migrated."""
    place = database_url.partition("@")[2]
    url = f"postgresql://promptmesh_prompts:{PASSWORD}@{place}"
    await set_up({"prompts": url}, database_url, services=("prompts",))
    return url


@pytest.fixture
async def database(prompts_url: str) -> AsyncIterator[Database]:
    """The pool."""
    database = await Database.open(
        prompts_url, schema="prompts", serves=SERVES, options=DatabaseOptions(max_connections=20)
    )
    yield database
    await database.close()


@pytest.fixture
def bench(database: Database) -> Bench:
    """Store and handlers over the database."""
    outbox = Outbox("prompts", PARTITIONS)
    return Bench(database, outbox, PostStore(database, outbox))


@pytest.fixture
async def world(database_url: str, redis_url: str) -> AsyncIterator[World]:
    """The service as it runs."""
    async with running_world(database_url, redis_url) as world:
        yield world

"""The moderation service's schema on a real PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from services.local.database_urls import with_user
from services.mesh.database import Database
from services.mesh.database.provision import role_of
from services.mesh.database.setup import set_up
from services.mesh.events import Outbox
from services.moderation.policies import Policies


@pytest.fixture(scope="session")
def database_service() -> str:
    return "moderation"


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """The service's own database, as its own role."""
    url = with_user(database_url, role_of("moderation"), "secret-of-a-test")
    await set_up({"moderation": url}, database_url, ("moderation",))
    opened = await Database.open(url, schema="moderation", serves=(2, 2))
    yield opened
    await opened.close()


@pytest.fixture
def outbox() -> Outbox:
    return Outbox("moderation", 4)


@pytest.fixture
async def policies(database: Database) -> Policies:
    return await Policies.open(database, None)

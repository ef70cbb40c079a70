"""The ledger on a real PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from services.local.plan import with_user
from services.mesh.database import Database
from services.mesh.database.provision import role_of
from services.mesh.database.setup import set_up

SECRET = "secret-of-a-test"


@pytest.fixture
async def inference_url(database_url: str) -> str:
    """DSN of the service's own role, its schema migrated."""
    url = with_user(database_url, role_of("inference"), SECRET)
    await set_up({"inference": url}, database_url, ("inference",))
    return url


@pytest.fixture
async def database(inference_url: str) -> AsyncIterator[Database]:
    opened = await Database.open(inference_url, schema="inference")
    yield opened
    await opened.close()

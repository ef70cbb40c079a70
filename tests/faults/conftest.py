"""One world for the tests of a module, on a database and a Redis that no other test uses."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from services.local.database_urls import with_user
from services.local.embedded.postgres import PostgresCluster
from services.local.embedded.redis import running_redis, temporary_redis
from services.mesh import redis as mesh_redis
from services.mesh.database import Database
from services.mesh.database.migrate import migrations_of
from services.mesh.database.provision import role_of
from services.mesh.database.setup import set_up
from tests.faults.world import World, running_world

SECRET = "secret-of-a-test"
NEWEST = max(one.number for one in migrations_of("inference") if one.component == "inference")
_numbers = itertools.count(1)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(postgres: PostgresCluster, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """Running until the module's last test."""
    name = f"faults_{next(_numbers)}"
    postgres.run_sql(f"CREATE DATABASE {name}")
    owner = postgres.url(name)
    url = with_user(owner, role_of("inference"), SECRET)
    await set_up({"inference": url}, owner, ("inference",))
    server = temporary_redis(tmp_path_factory.mktemp("redis"))
    with running_redis(server):
        database = await Database.open(url, schema="inference", serves=(NEWEST, NEWEST))
        redis = mesh_redis.open(server.url(), op_timeout_s=5.0)
        async with running_world(database, redis, tmp_path_factory.mktemp("worker")) as running:
            yield running
        await redis.aclose()
        await database.close()
    postgres.run_sql(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

"""Databases of earlier releases are brought up to date, and what they hold is still there."""

from __future__ import annotations

import gzip
from pathlib import Path

import asyncpg
import pytest
from promptmesh.prompts.v1 import posts_pb2

from services.local.database_urls import with_user
from services.local.embedded.postgres import PostgresCluster
from services.mesh.database import Database, queries
from services.mesh.database.migrate import migrations_of
from services.mesh.database.provision import role_of
from services.mesh.database.setup import SERVICES, set_up

FIXTURES = Path(__file__).parents[2] / "fixtures"
RELEASES = sorted(path.parent.name for path in FIXTURES.glob("*/database.sql.gz"))
EVERYONE = "ffffffff-ffff-ffff-ffff-ffffffffffff"
NOBODY = "00000000-0000-0000-0000-000000000000"


@pytest.fixture(params=RELEASES)
async def urls(
    request: pytest.FixtureRequest, postgres: PostgresCluster, database_url: str, tmp_path: Path
) -> dict[str, str]:
    """A database of a release, set up by today's code; a DSN for each service."""
    sql = tmp_path / "database.sql"
    sql.write_bytes(gzip.decompress((FIXTURES / request.param / "database.sql.gz").read_bytes()))
    conn = await asyncpg.connect(database_url)
    for service in SERVICES:
        if not await conn.fetchval("SELECT true FROM pg_roles WHERE rolname = $1", role_of(service)):
            await conn.execute(f"CREATE ROLE {role_of(service)}")
    await conn.close()
    name = database_url.rpartition("/")[2]
    postgres.run_tool("psql", "-Xq", "-v", "ON_ERROR_STOP=1", "-d", name, "-f", str(sql))
    urls = {service: with_user(database_url, role_of(service), "secret-of-a-test") for service in SERVICES}
    await set_up(urls, database_url)
    return urls


async def test_every_service_can_serve_it(urls: dict[str, str]) -> None:
    for service, url in urls.items():
        newest = max(one.number for one in migrations_of(service) if one.component == service)
        database = await Database.open(url, schema=service, serves=(newest, newest))
        await database.close()


async def test_what_was_published_still_is(urls: dict[str, str]) -> None:
    database = await Database.open(urls["prompts"], schema="prompts")
    async with database.connection() as conn:
        rows = await conn.fetch(queries("services.prompts")["list_published"], EVERYONE, 10, NOBODY)
    await database.close()
    assert [row["title"] for row in rows] == ["Recursion", "A lighthouse"]
    assert [row["revision"] for row in rows] == [2, 1]
    assert [row["like_count"] for row in rows] == [0, 1]
    states = [posts_pb2.Example.FromString(row["example"]).state for row in rows]
    assert states == [posts_pb2.EXAMPLE_STATE_READY] * 2


def test_there_is_a_release_to_come_from() -> None:
    assert RELEASES

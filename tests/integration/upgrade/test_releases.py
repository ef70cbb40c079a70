"""Databases of earlier releases are brought up to date, what they hold is still there, and the release still fits."""

from __future__ import annotations

import asyncio
import gzip
import json
import subprocess
import sys
from pathlib import Path

import asyncpg
import pytest
from promptmesh.prompts.v1 import posts_pb2

from services.local.database_urls import with_user
from services.local.embedded.postgres import PostgresCluster
from services.mesh.database import Database, queries
from services.mesh.database.migrate import migrations_of
from services.mesh.database.provision import role_of
from services.mesh.database.setup import SERVICES, set_up, url_variable
from tools.release_code import CODE, python_path, unpack

FIXTURES = Path(__file__).parents[2] / "fixtures"
RELEASES = sorted(path.parent.name for path in FIXTURES.glob("*/database.sql.gz"))
#: Run by the release's own code: what its set-up and its services do at their start.
OLD_SET_UP = """
import asyncio, json, os, pathlib, services
from services.mesh.database import Database
from services.mesh.database.migrate import migrations_of
from services.mesh.database.setup import SERVICES, set_up, url_variable

async def main():
    urls = {service: os.environ[url_variable(service)] for service in SERVICES}
    done = await set_up(urls, None)
    for service, url in urls.items():
        newest = max(one.number for one in migrations_of(service) if one.component == service)
        await (await Database.open(url, schema=service, serves=(newest, newest))).close()
    root = str(pathlib.Path(services.__file__).parent.parent)
    print(json.dumps({"applied": [name for one in done for name in one.applied], "from": root}))

asyncio.run(main())
"""
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


async def test_the_release_itself_still_starts_on_it(
    request: pytest.FixtureRequest, urls: dict[str, str], tmp_path: Path
) -> None:
    """A process of the old release that dies during a rollout comes up again; its own set-up leaves all as it is."""
    release = request.node.callspec.params["urls"]
    unpack(FIXTURES / release / CODE, tmp_path / "code")
    environment = {"PYTHONPATH": python_path(tmp_path / "code")} | {
        url_variable(name): url for name, url in urls.items()
    }
    before = await recorded(urls)
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-P", "-c", OLD_SET_UP],
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"applied": [], "from": str(tmp_path / "code")}
    assert await recorded(urls) == before


async def recorded(urls: dict[str, str]) -> list[asyncpg.Record]:
    """All rows that tell of migrations."""
    rows = []
    for url in urls.values():
        conn = await asyncpg.connect(url)
        rows += await conn.fetch("SELECT * FROM schema_migrations ORDER BY component, number")
        await conn.close()
    return rows


def test_there_is_a_release_to_come_from() -> None:
    assert RELEASES

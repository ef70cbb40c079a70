"""The pool: bounded, its errors our own, back by itself; versions; PgBouncer's settings."""

from __future__ import annotations

import asyncio
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest

from services.local.embedded.postgres import running_postgres, temporary_cluster
from services.local.ports import free_ports
from services.mesh.database import Database, DatabaseOptions
from services.mesh.database.after_commit import after_commit
from services.mesh.database.starting import Patience, until_done
from services.mesh.database.versions import SchemaVersionError
from services.mesh.errors import MeshError
from services.mesh.ids import uuid7
from tests.integration.mesh_data.world import World, make_schema, until

QUICK = DatabaseOptions(max_connections=2, acquire_timeout_s=0.2, statement_timeout_s=0.3, start_timeout_s=10.0)


async def test_uuids_are_strings_both_ways(world: World) -> None:
    ids = [uuid7(), uuid7()]
    async with world.producer.connection() as connection:
        row = await connection.fetchrow("SELECT $1::uuid AS one, $2::uuid[] AS many, NULL::uuid AS none", ids[0], ids)
        assert tuple(row) == (ids[0], ids, None)
        assert await connection.fetchval("SELECT $1::uuid", UUID(ids[1])) == ids[1]


async def test_a_transaction_commits_or_rolls_back_and_tells_of_the_commit(world: World) -> None:
    told: list[str] = []

    def tell() -> None:
        told.append("committed")

    async def undone() -> None:
        async with world.consumer.transaction() as connection:
            after_commit(tell)
            await connection.execute("INSERT INTO effects (label) VALUES ('undone')")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await undone()
    assert told == []
    async with world.consumer.transaction() as connection:
        after_commit(tell)
        after_commit(tell)
        await connection.execute("INSERT INTO effects (label) VALUES ('done')")
        assert told == []
    assert told == ["committed"]
    assert await world.effects() == ["done"]


async def test_a_start_waits_out_a_statement_that_is_too_slow(database_url: str) -> None:
    url = await make_schema(database_url, "prompts")
    database = await Database.open(url, schema="prompts", options=QUICK)
    tries = 0

    async def slow_at_first() -> int:
        nonlocal tries
        tries += 1
        async with database.transaction() as connection:
            await connection.execute("SELECT pg_sleep($1)", 0.0 if tries > 2 else 5.0)  # QUICK allows 0.3 s
        return tries

    assert await until_done("it", slow_at_first) == 3
    tries = 0
    with pytest.raises(MeshError) as caught:
        await until_done("it", slow_at_first, Patience(0.0))
    assert (caught.value.reason, tries) == ("DEPENDENCY_UNAVAILABLE", 1)

    async def wrong() -> None:
        nonlocal tries
        tries += 1
        async with database.connection() as connection:
            await connection.execute("SELECT nonsense")

    tries = 0
    with pytest.raises(asyncpg.UndefinedColumnError):
        await until_done("it", wrong)
    assert tries == 1
    await database.close()


async def test_a_schema_that_is_locked_for_a_moment_does_not_end_a_start(database_url: str) -> None:
    url = await make_schema(database_url, "prompts")
    holder = await asyncpg.connect(database_url)
    held = holder.transaction()
    await held.start()
    await holder.execute("LOCK TABLE prompts.schema_migrations IN ACCESS EXCLUSIVE MODE")
    opening = asyncio.create_task(Database.open(url, schema="prompts", serves=(0, 99), options=QUICK))
    ended = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    look = await asyncpg.connect(database_url)
    async with asyncio.timeout(30):
        while not await look.fetchval(ended):
            await asyncio.sleep(0.01)
        while await look.fetchval(ended):  # its statement was cancelled: the start goes on trying
            await asyncio.sleep(0.01)
    await held.rollback()
    await (await opening).close()
    await look.close()
    await holder.close()


async def test_all_connections_in_use(database_url: str) -> None:
    url = await make_schema(database_url, "prompts")
    database = await Database.open(url, schema="prompts", options=QUICK)
    async with database.connection(), database.connection():
        with pytest.raises(MeshError) as caught:
            async with database.connection():
                pass
    assert (caught.value.reason, caught.value.retry_after_s) == ("DEPENDENCY_UNAVAILABLE", 1.0)
    async with database.connection() as connection:
        assert await connection.fetchval("SELECT 1") == 1
    await database.close()


async def test_a_statement_that_takes_too_long(database_url: str) -> None:
    url = await make_schema(database_url, "prompts")
    database = await Database.open(url, schema="prompts", options=QUICK)
    with pytest.raises(MeshError, match="DEPENDENCY_UNAVAILABLE"):
        async with database.transaction() as connection:
            await connection.execute("SELECT pg_sleep(20)")
    await database.close()


async def test_postgresql_goes_away_and_comes_back(tmp_path: Path) -> None:
    cluster = temporary_cluster(tmp_path / "postgres")
    with running_postgres(cluster):
        url = await make_schema(cluster.url(), "prompts")
        database = await Database.open(url, schema="prompts", options=QUICK)
        async with database.connection() as connection:
            assert await connection.fetchval("SELECT 1") == 1
    for _ in range(3):
        with pytest.raises(MeshError, match="DEPENDENCY_UNAVAILABLE"):
            async with database.connection() as connection:
                await connection.fetchval("SELECT 1")
    with running_postgres(cluster):

        async def answers() -> bool:
            try:
                async with database.connection() as connection:
                    return bool(await connection.fetchval("SELECT true"))
            except MeshError:
                return False

        await until(answers)
        await database.close()


async def test_postgresql_is_cut_in_a_transaction(world: World) -> None:
    async def cut() -> None:
        async with world.consumer.transaction() as connection:
            await connection.execute("INSERT INTO effects (label) VALUES ('cut')")
            await world.kill_connections()
            await connection.execute("SELECT 1")

    with pytest.raises(MeshError, match="DEPENDENCY_UNAVAILABLE"):
        await cut()
    assert await world.effects() == []


async def test_errors_of_the_statement_itself_stay_what_they_are(world: World) -> None:
    with pytest.raises(asyncpg.UndefinedTableError):
        async with world.consumer.transaction() as connection:
            await connection.execute("SELECT * FROM nowhere")


async def test_nobody_answers_at_the_start() -> None:
    port = free_ports(1)[0]
    with pytest.raises(MeshError, match="PROMPTMESH_DATABASE_URL"):
        await Database.open(
            f"postgresql://a:b@127.0.0.1:{port}/x", schema="prompts", options=DatabaseOptions(start_timeout_s=0.2)
        )


async def test_a_start_waits_for_postgresql(tmp_path: Path) -> None:
    cluster = temporary_cluster(tmp_path / "postgres")
    cluster.initialise()
    opening = asyncio.create_task(Database.open(cluster.url(), schema="public"))
    with running_postgres(cluster):
        database = await opening
        await database.close()


async def test_a_schema_that_the_code_does_not_fit_is_refused(database_url: str) -> None:
    with pytest.raises(SchemaVersionError, match=r"never set up.*services\.mesh\.database\.setup"):
        await Database.open(database_url, schema="prompts", serves=(0, 0))
    url = await make_schema(database_url, "prompts")
    database = await Database.open(url, schema="prompts", serves=(0, 3))
    await database.close()
    with pytest.raises(SchemaVersionError, match="needs 1 or later"):
        await Database.open(url, schema="prompts", serves=(1, 1))
    own = await asyncpg.connect(url)
    await own.execute("INSERT INTO schema_migrations VALUES ('prompts', 7, 'later', 'x')")
    await own.close()
    with pytest.raises(SchemaVersionError, match="knows 3 at most"):
        await Database.open(url, schema="prompts", serves=(0, 3))


async def test_behind_pgbouncer_no_statement_is_kept_and_every_use_is_a_transaction(database_url: str) -> None:
    url = await make_schema(database_url, "prompts")
    database = await Database.open(url, schema="prompts", options=DatabaseOptions(pgbouncer=True))
    for _ in range(2):
        async with database.connection() as connection:
            assert connection.is_in_transaction()
            assert await connection.fetchval("SELECT $1::uuid", ident := uuid7()) == ident
            assert await connection.fetchval("SELECT count(*) FROM pg_prepared_statements") == 0
            # What PgBouncer would not pass on comes from the role.
            assert await connection.fetchval("SHOW search_path") == "prompts"
            assert await connection.fetchval("SHOW statement_timeout") == "10s"
            sources = await connection.fetch(
                "SELECT name, source FROM pg_settings WHERE name IN ('search_path', 'statement_timeout')"
            )
            assert {row["source"] for row in sources} == {"database user"}
    await database.close()

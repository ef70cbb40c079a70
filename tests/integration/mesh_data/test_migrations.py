"""Migrations, roles, and the set-up command."""

from __future__ import annotations

import asyncio
import hashlib
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import asyncpg
import pytest

import services.mesh.database.migrate as migrating
from services.mesh.database import Database, DatabaseOptions, setup
from services.mesh.database.migrate import Migration, MigrationError, migrate, migrations_of
from services.mesh.database.provision import ProvisionError, provision, role_of
from services.mesh.database.setup import ADMIN_VARIABLE, SERVICES, SetupError, set_up, url_variable
from services.mesh.database.versions import LEVEL_NAME, SchemaVersionError, check_versions
from services.mesh.errors import MeshError
from tests.integration.mesh_data.world import KIT, PASSWORD, make_schema, url_of

REPO = Path(__file__).parents[3]


def migration(number: int, sql: str, component: str = "prompts") -> Migration:
    return Migration(component, number, f"step_{number}", sql, hashlib.sha256(sql.encode()).hexdigest())


ONE, TWO = migration(1, "CREATE TABLE one (id int)"), migration(2, "CREATE TABLE two (id int)")


async def test_applied_once_in_order_by_however_many_at_once(database_url: str) -> None:
    url = await make_schema(database_url, "prompts")
    connections = [await asyncpg.connect(url) for _ in range(4)]
    done = await asyncio.gather(*(migrate(one, [*KIT, ONE, TWO]) for one in connections))
    assert sorted(str(one) for part in done for one in part) == ["prompts 0001_step_1", "prompts 0002_step_2"]
    assert await migrate(connections[0], [*KIT, ONE, TWO]) == []
    for connection in connections:
        await connection.close()


async def test_a_failing_migration_leaves_those_before_it_and_nothing_of_itself(database_url: str) -> None:
    connection = await asyncpg.connect(await make_schema(database_url, "prompts"))
    bad = migration(2, "CREATE TABLE two (id int); SELECT * FROM nowhere")
    with pytest.raises(MigrationError, match=r"prompts 0002_step_2 failed and was rolled back.*nowhere"):
        await migrate(connection, [*KIT, ONE, bad])
    assert await connection.fetchval("SELECT to_regclass('one')") == "one"
    assert await connection.fetchval("SELECT to_regclass('two')") is None
    assert [one.number for one in await migrate(connection, [*KIT, ONE, TWO])] == [2]
    await connection.close()


async def test_a_changed_or_missing_migration_is_refused(database_url: str) -> None:
    connection = await asyncpg.connect(await make_schema(database_url, "prompts"))
    await migrate(connection, [*KIT, ONE, TWO])
    with pytest.raises(MigrationError, match=r"prompts 0001_step_1 was applied with another text.*prompts 0003"):
        await migrate(connection, [*KIT, replace(ONE, checksum="0" * 64), TWO])
    with pytest.raises(MigrationError, match="0001_step_1 was applied, but its file is gone"):
        await migrate(connection, [*KIT, TWO])
    # An older release meets a newer schema: not the set-up's business, services check what they serve.
    assert await migrate(connection, [*KIT, ONE]) == []
    await connection.close()


SERVES_ONE = (1, 1)  # as v0.1.0 does, which looks at the highest number of its component alone
_HIGHEST = "SELECT max(number) FROM schema_migrations WHERE component = 'prompts'"
_LOG = "SELECT component, number, name FROM schema_migrations WHERE component LIKE 'prompts%' ORDER BY 1, 2"


async def test_code_of_an_older_release_is_refused_once_a_migration_contracts(database_url: str) -> None:
    connection = await asyncpg.connect(await make_schema(database_url, "prompts"))
    third = replace(migration(3, "ALTER TABLE one DROP COLUMN id"), level=2)
    fourth = replace(migration(4, "DROP TABLE two"), level=2)
    await migrate(connection, [*KIT, ONE, TWO])
    await check_versions(connection, "prompts", SERVES_ONE)
    await check_versions(connection, "prompts", (2, 2))
    assert await connection.fetchval(_HIGHEST) == 1
    assert len(await migrate(connection, [*KIT, ONE, TWO, third, fourth])) == 2
    with pytest.raises(SchemaVersionError, match="knows migration 2 of 'prompts' or later; this code knows 1 at most"):
        await check_versions(connection, "prompts", SERVES_ONE)
    assert await connection.fetchval(_HIGHEST) == 2
    await check_versions(connection, "prompts", (2, 2))
    await check_versions(connection, "prompts", (4, 4))
    with pytest.raises(SchemaVersionError, match="stands at migration 4 of 'prompts'; this code needs 5"):
        await check_versions(connection, "prompts", (5, 5))
    assert [tuple(row) for row in await connection.fetch(_LOG)] == [
        ("prompts", 1, "step_1"),
        ("prompts", 2, LEVEL_NAME),
        ("prompts.log", 2, "step_2"),
        ("prompts.log", 3, "step_3"),
        ("prompts.log", 4, "step_4"),
    ]
    assert await migrate(connection, [*KIT, ONE, TWO, third, fourth]) == []
    await connection.close()


async def test_what_was_recorded_between_two_releases_is_put_right(database_url: str) -> None:
    connection = await asyncpg.connect(await make_schema(database_url, "prompts"))
    await migrate(connection, [*KIT, ONE, TWO])
    right = await connection.fetch(_LOG)
    await connection.execute("UPDATE schema_migrations SET component = 'prompts' WHERE component = 'prompts.log'")
    with pytest.raises(SchemaVersionError, match="stands at migration 1 of 'prompts'; this code needs 2"):
        await check_versions(connection, "prompts", (2, 2))
    assert await migrate(connection, [*KIT, ONE, TWO]) == []
    assert await connection.fetch(_LOG) == right
    await check_versions(connection, "prompts", (2, 2))
    await check_versions(connection, "prompts", SERVES_ONE)
    await connection.close()


async def test_a_migration_does_not_keep_those_who_serve_waiting(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = await make_schema(database_url, "prompts")
    connection, holder, reader = [await asyncpg.connect(url) for _ in range(3)]
    monkeypatch.setattr(migrating, "LOCK_TIMEOUT_S", 0.05)
    monkeypatch.setattr(migrating, "LOCK_PAUSE_S", 0.01)
    await migrate(connection, [*KIT, ONE])
    second = migration(2, "ALTER TABLE one ADD COLUMN more int")
    held = holder.transaction()
    await held.start()
    await holder.fetch("SELECT * FROM one")
    monkeypatch.setattr(migrating, "LOCK_ATTEMPTS_MAX", 2)
    with pytest.raises(MigrationError, match="in use by one long transaction or another in 2 attempts"):
        await migrate(connection, [*KIT, ONE, second])
    monkeypatch.setattr(migrating, "LOCK_ATTEMPTS_MAX", 10**6)
    running = asyncio.create_task(migrate(connection, [*KIT, ONE, second]))
    for _ in range(20):  # each would wait for the transaction's end behind a migration that waits for it
        await asyncio.wait_for(reader.fetch("SELECT * FROM one"), 20)
    assert not running.done()
    await held.rollback()
    assert [one.number for one in await running] == [2]
    for one in (connection, holder, reader):
        await one.close()


@pytest.mark.parametrize("first_upgrade", [True, False])
async def test_a_migration_that_a_deadlock_ended_is_tried_again(
    database_url: str, monkeypatch: pytest.MonkeyPatch, first_upgrade: bool
) -> None:
    url = await make_schema(database_url, "prompts")
    connection, looker = await asyncpg.connect(url), await asyncpg.connect(url)
    patient = {"search_path": "prompts", "deadlock_timeout": "1h"}  # never the one of two that is ended
    holder = await asyncpg.connect(database_url, server_settings=patient)
    monkeypatch.setattr(migrating, "LOCK_PAUSE_S", 0.01)
    tables = migration(1, "CREATE TABLE one (id int); CREATE TABLE two (id int)")
    before = [*KIT, tables] if first_upgrade else [*KIT, tables, migration(2, "CREATE TABLE three (id int)")]
    await migrate(connection, before)
    both = migration(len(before) - len(KIT) + 1, "ALTER TABLE one ADD COLUMN a int; ALTER TABLE two ADD COLUMN a int")
    for attempts, applied in ((1, False), (10, True)):
        monkeypatch.setattr(migrating, "LOCK_ATTEMPTS_MAX", attempts)
        held = holder.transaction()
        await held.start()
        await holder.fetch("SELECT * FROM two")
        running = asyncio.create_task(migrate(connection, [*before, both]))
        pid = connection.get_server_pid()
        while not await looker.fetchval("SELECT cardinality(pg_blocking_pids($1)) > 0", pid):
            assert not running.done()
        # Each waits for the other now.
        await holder.fetch("SELECT * FROM one")
        await held.rollback()
        if applied:
            assert [one.number for one in await running] == [both.number]
        else:
            stays = "none of it is" if first_upgrade else "Those before it stay applied"
            with pytest.raises(MigrationError, match=f"in use by one long transaction.*{stays}"):
                await running
    for one in (connection, holder, looker):
        await one.close()


async def test_the_first_upgrade_is_one_step_and_ends_the_sessions_of_who_serves(database_url: str) -> None:
    """v0.1.0 fails where a prepared statement would answer one more column; not where its session is gone."""
    url = await make_schema(database_url, "prompts")
    connection = await asyncpg.connect(url)
    await migrate(connection, [*KIT, ONE])
    serving = await asyncpg.connect(url, server_settings={"application_name": "prompts"})
    unnamed = await asyncpg.connect(url)
    second, third = migration(2, "ALTER TABLE one ADD COLUMN more int"), migration(3, "SELECT * FROM nowhere")
    with pytest.raises(MigrationError, match=r"nowhere.*in one step, so none of it is"):
        await migrate(connection, [*KIT, ONE, second, third])
    assert await connection.fetchval(_HIGHEST) == 1
    assert await serving.fetchval("SELECT count(*) FROM information_schema.columns WHERE table_name = 'one'") == 1
    assert len(await migrate(connection, [*KIT, ONE, second])) == 1
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)):
        await serving.fetchval("SELECT 1")
    serving.terminate()
    assert await unnamed.fetchval("SELECT 1") == 1
    serving = await asyncpg.connect(url, server_settings={"application_name": "prompts"})
    await migrate(connection, [*KIT, ONE, second, migration(3, "CREATE TABLE three (id int)")])
    assert await serving.fetchval("SELECT 1") == 1  # later releases bear it
    for one in (connection, serving, unnamed):
        await one.close()


async def test_a_table_that_got_a_column_is_a_reason_to_try_again(database_url: str) -> None:
    url = await make_schema(database_url, "prompts")
    connection = await asyncpg.connect(url)
    await migrate(connection, [*KIT, ONE])
    database = await Database.open(url, schema="prompts", options=DatabaseOptions(max_connections=1))

    async def read() -> int:
        async with database.transaction() as one:
            return len((await one.fetch("SELECT *, 1 AS one FROM (VALUES (1)) AS v LEFT JOIN one ON true"))[0])

    assert await read() == 3
    await connection.execute("ALTER TABLE one ADD COLUMN more int")
    with pytest.raises(MeshError) as caught:
        await read()
    assert caught.value.reason == "DEPENDENCY_UNAVAILABLE"
    assert await read() == 4
    await database.close()
    await connection.close()


async def test_a_role_reads_its_own_schema_and_no_other(database_url: str) -> None:
    prompts = await asyncpg.connect(await make_schema(database_url, "prompts"))
    await make_schema(database_url, "moderation")
    assert await prompts.fetchval("SELECT count(*) FROM outbox") == 0
    for statement in (
        "SELECT * FROM moderation.outbox",
        "INSERT INTO moderation.inbox VALUES ('x', gen_random_uuid())",
        "SELECT moderation.mesh_uuid_at(now())",
        "CREATE TABLE public.mine (id int)",
        "CREATE SCHEMA mine",
        "CREATE ROLE mine",
        "SET ROLE promptmesh_moderation",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await prompts.execute(statement)
    await prompts.close()


async def test_a_new_password_takes_effect(database_url: str) -> None:
    url = await make_schema(database_url, "prompts")
    admin = await asyncpg.connect(database_url)
    await provision(admin, "prompts", 'it\'s "another" \\ one')
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(url)
    await provision(admin, "prompts", PASSWORD)
    await (await asyncpg.connect(url)).close()
    await admin.close()


async def test_an_administrator_who_is_no_superuser_will_do(database_url: str) -> None:
    superuser = await asyncpg.connect(database_url)
    database = await superuser.fetchval("SELECT current_database()")
    for service in SERVICES:
        await superuser.execute(f"DROP ROLE IF EXISTS {role_of(service)}") if await _unused(
            superuser, service
        ) else None
    await superuser.execute("DROP ROLE IF EXISTS test_admin")
    await superuser.execute("CREATE ROLE test_admin LOGIN CREATEROLE PASSWORD 'x'")
    await superuser.execute(f"ALTER DATABASE {database} OWNER TO test_admin")
    for service in SERVICES:
        if not await _unused(superuser, service):
            await superuser.execute(f"GRANT {role_of(service)} TO test_admin WITH ADMIN TRUE")
    admin_url = database_url.replace("postgres:postgres@", "test_admin:x@")
    urls = {service: url_of(database_url, service) for service in SERVICES}
    results = await set_up(urls, admin_url)
    assert all(result.provisioned for result in results)
    await superuser.execute(f"ALTER DATABASE {database} OWNER TO postgres")
    await superuser.execute("REASSIGN OWNED BY test_admin TO postgres; DROP OWNED BY test_admin; DROP ROLE test_admin")
    await superuser.close()


async def _unused(superuser: asyncpg.Connection, service: str) -> bool:
    """Whether no role of the service is there. Roles are the cluster's: an earlier test may have made it."""
    return not await superuser.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", role_of(service))


async def test_the_set_up_of_all_services_does_nothing_the_second_time(database_url: str) -> None:
    urls = {service: url_of(database_url, service) for service in SERVICES}
    first = await set_up(urls, database_url)
    for result in first:
        assert result.provisioned
        assert list(result.applied) == [str(one) for one in migrations_of(result.service)]
    again = await set_up(urls, None)
    assert [(result.provisioned, result.applied) for result in again] == [(False, ())] * len(SERVICES)
    assert str(again[0]) == "auth: nothing to do"


async def test_what_the_set_up_needs_is_named(database_url: str) -> None:
    urls = {service: url_of(database_url, service) for service in SERVICES}
    with pytest.raises(SetupError, match=ADMIN_VARIABLE):
        await set_up(urls, None)
    with pytest.raises(ProvisionError, match=r"PROMPTMESH_AUTH_DATABASE_URL.*'postgres'.*'promptmesh_auth'"):
        await set_up({**urls, "auth": database_url}, database_url)
    nowhere = url_of(database_url.replace("/test_", "/no_"), "prompts")
    with pytest.raises(SetupError, match=r"Cannot connect with PROMPTMESH_PROMPTS_DATABASE_URL"):
        await set_up({"prompts": nowhere}, database_url, services=("prompts",))


def test_the_command(database_url: str) -> None:
    urls = {url_variable(service): url_of(database_url, service) for service in SERVICES}
    command = [sys.executable, "-m", "services.mesh.database.setup"]
    environment = {"PATH": os.defpath, **urls, ADMIN_VARIABLE: database_url}
    for _ in range(2):
        done = subprocess.run(command, cwd=REPO, env=environment, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
    assert "prompts: nothing to do" in done.stdout
    del environment[url_variable("auth")], environment[url_variable("inference")]
    done = subprocess.run(command, cwd=REPO, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == setup.EXIT_SETTINGS
    assert "PROMPTMESH_AUTH_DATABASE_URL, PROMPTMESH_INFERENCE_DATABASE_URL" in done.stderr
    assert PASSWORD not in done.stderr

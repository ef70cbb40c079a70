"""The shared fixtures give a real, empty PostgreSQL and Redis."""

from __future__ import annotations

import asyncpg
import pytest
import redis.asyncio

from services.local.embedded.postgres import PostgresCluster


async def test_a_test_gets_a_database_of_its_own(database_url: str, postgres_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        assert await connection.fetchval("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == 0
        assert await connection.fetchval("SELECT rolsuper FROM pg_roles WHERE rolname = current_user") is True
        await connection.execute("CREATE TABLE seen (id int)")
    finally:
        await connection.close()
    assert database_url != postgres_url


async def test_the_database_of_the_last_test_is_gone(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        assert await connection.fetchval("SELECT to_regclass('seen')") is None
        assert await connection.fetchval("SELECT count(*) FROM pg_database WHERE datname LIKE 'test_%'") == 1
    finally:
        await connection.close()


async def test_a_wrong_password_is_refused(postgres: PostgresCluster) -> None:
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(postgres.url(password="not it"))


async def test_the_cluster_has_checksums_and_one_locale_everywhere(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        assert await connection.fetchval("SHOW data_checksums") == "on"
        assert await connection.fetchval("SHOW server_encoding") == "UTF8"
        assert (
            await connection.fetchval("SELECT datlocale FROM pg_database WHERE datname = current_database()")
            == "C.UTF-8"
        )
        assert await connection.fetchval("SELECT upper('é')") == "É"
    finally:
        await connection.close()


@pytest.mark.parametrize("round_", [1, 2])
async def test_redis_is_empty_when_a_test_begins(redis_url: str, round_: int) -> None:
    client = redis.asyncio.Redis.from_url(redis_url)
    try:
        assert await client.dbsize() == 0
        await client.set("left", round_)
    finally:
        await client.aclose()

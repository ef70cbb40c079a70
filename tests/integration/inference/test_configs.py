"""Numbered snapshots of the configuration in PostgreSQL."""

from __future__ import annotations

import asyncio
from pathlib import Path

import aiohttp
import pytest

from services.inference.catalog import Offers
from services.inference.config import DISCOVER_YAML
from services.inference.configs import Configs
from services.inference.providers.http import Timeouts
from services.local.embedded.postgres import PostgresCluster
from services.mesh.database import Database
from services.mesh.errors import MeshError
from services.mesh.settings import SettingsError

ONE = "models: [{name: one, provider: demo}]\n"
TWO = "models: [{name: two, provider: demo}]\n"
AUTHOR = "0190aaaa-0000-7000-8000-0000000000aa"


@pytest.fixture
def offers(session: aiohttp.ClientSession) -> Offers:
    return Offers(session, {}, Timeouts(), 0)


@pytest.fixture
def configs(database: Database, offers: Offers) -> Configs:
    return Configs(database, offers, {})


async def test_the_first_start_without_a_file_offers_what_is_found(configs: Configs, offers: Offers) -> None:
    await configs.start(None)
    assert offers.version == 1
    assert offers.discovers
    current = await configs.current()
    assert (current.version, current.yaml, current.author_id) == (1, DISCOVER_YAML, "")
    assert current.create_time.seconds > 0


async def test_a_file_is_applied_at_the_first_start_only(configs: Configs, offers: Offers, tmp_path: Path) -> None:
    file = tmp_path / "models.yaml"
    file.write_text(ONE)
    await configs.start(file)
    assert "one" in offers.catalog.models
    file.write_text(TWO)
    await configs.start(file)
    assert "one" in offers.catalog.models
    assert offers.version == 1


async def test_processes_that_start_at_once_apply_one(
    database: Database, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    file = tmp_path / "models.yaml"
    file.write_text(ONE)
    all_offers = [Offers(session, {}, Timeouts(), 0) for _ in range(5)]
    await asyncio.gather(*(Configs(database, offers, {}).start(file) for offers in all_offers))
    assert {offers.version for offers in all_offers} == {1}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("models: 5", "models (line 1)"),
        ("providers: [{name: a, kind: litellm, api_key_env: NOT_SET}]", "NOT_SET is not set"),
    ],
)
async def test_a_wrong_file_at_the_first_start_is_said_and_nothing_applied(
    configs: Configs, offers: Offers, tmp_path: Path, text: str, says: str
) -> None:
    file = tmp_path / "models.yaml"
    file.write_text(text)
    with pytest.raises(SettingsError) as caught:
        await configs.start(file)
    assert str(file) in str(caught.value)
    assert says in str(caught.value)
    assert offers.version == 0
    with pytest.raises(SettingsError, match="cannot be read"):
        await configs.start(tmp_path / "gone.yaml")


async def test_apply_numbers_versions_and_keeps_the_same_one(configs: Configs, offers: Offers) -> None:
    await configs.start(None)
    first = await configs.apply(ONE, AUTHOR, validate_only=False)
    assert (first.version, first.author_id) == (2, AUTHOR)
    assert "one" in offers.catalog.models
    again = await configs.apply(ONE, None, validate_only=False)
    assert (again.version, again.author_id) == (2, AUTHOR)
    assert (await configs.apply(TWO, None, validate_only=False)).version == 3
    assert (await configs.apply(ONE, None, validate_only=False)).version == 4  # back is forward


async def test_validate_only_changes_nothing(configs: Configs, offers: Offers) -> None:
    await configs.start(None)
    would = await configs.apply(ONE, None, validate_only=True)
    assert would.version == 2
    assert offers.version == (await configs.current()).version == 1


async def test_every_fault_is_a_violation_with_its_place(configs: Configs) -> None:
    await configs.start(None)
    with pytest.raises(MeshError) as caught:
        await configs.apply("models:\n  - {name: m}\n  - {name: n, provider: x}\n", None, validate_only=False)
    assert caught.value.reason == "CONFIG_INVALID"
    assert [violation.field for violation in caught.value.violations] == ["models[0].provider"]
    assert "line 2" in caught.value.violations[0].description


async def test_other_processes_follow(database: Database, configs: Configs, session: aiohttp.ClientSession) -> None:
    await configs.start(None)
    others = Offers(session, {}, Timeouts(), 0)
    following = Configs(database, others, {})
    await following.start(None)
    changed = asyncio.Event()
    others.on_change(changed.set)
    task = asyncio.create_task(following.follow(0.01))
    await configs.apply(ONE, None, validate_only=False)
    await changed.wait()
    assert "one" in others.catalog.models
    task.cancel()
    await asyncio.wait([task])


async def test_with_postgresql_away_the_last_version_serves(
    postgres: PostgresCluster, database: Database, configs: Configs, offers: Offers
) -> None:
    await configs.start(None)
    await configs.apply(ONE, None, validate_only=False)
    async with database.connection() as conn:
        name = await conn.fetchval("SELECT current_database()")
    postgres.run_sql(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
    postgres.run_sql(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
    try:
        current = await configs.current()
        assert current.yaml == ONE
        assert "one" in offers.catalog.models
        with pytest.raises(MeshError) as caught:
            await configs.apply(TWO, None, validate_only=False)
        assert caught.value.reason == "DEPENDENCY_UNAVAILABLE"
    finally:
        postgres.run_sql(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")


async def test_a_version_of_a_newer_release_is_left_alone(database: Database, configs: Configs, offers: Offers) -> None:
    await configs.start(None)
    async with database.connection() as conn:
        await conn.execute("INSERT INTO config_versions (version, yaml, digest) VALUES (9, 'future: true', 'x')")
    await configs.refresh()
    assert offers.version == 1

"""Numbered snapshots of the configuration in PostgreSQL."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, cast

import grpc
import pytest
from promptmesh.inference.v1 import inference_pb2 as pb

from services.inference.catalog import Offers
from services.inference.config import DISCOVER_YAML, parse
from services.inference.configs import CanaryGuard, ConfigAdmin, Configs
from services.inference.configs import versions as config_versions
from services.inference.providers.http import Client, Timeouts
from services.local.embedded.postgres import PostgresCluster
from services.mesh.database import Database
from services.mesh.errors import MeshError
from services.mesh.paging import PageTokens
from services.mesh.settings import SettingsError

ONE = "models: [{name: one, provider: demo}]\n"
TWO = "models: [{name: two, provider: demo}]\n"
AUTHOR = "0190aaaa-0000-7000-8000-0000000000aa"


NO_CLIENT = cast(Client, object())  # nobody is called here
NO_CONTEXT = cast("grpc.aio.ServicerContext[Any, Any]", None)
BASE = """\
models: [{name: a, provider: demo}]
routes:
  - name: r
    targets: [{model: a}, {model: demo}]
"""
CANARY = BASE + "    canary: {target: demo, share_percent: 5}\n"


def new_offers() -> Offers:
    return Offers(NO_CLIENT, {}, Timeouts(), 0)


@pytest.fixture
def offers() -> Offers:
    return new_offers()


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
    assert "one" in offers.catalog.routes
    file.write_text(TWO)
    await configs.start(file)
    assert "one" in offers.catalog.routes
    assert offers.version == 1


async def test_processes_that_start_at_once_apply_one(database: Database, tmp_path: Path) -> None:
    file = tmp_path / "models.yaml"
    file.write_text(ONE)
    all_offers = [new_offers() for _ in range(5)]
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
    assert "one" in offers.catalog.routes
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


async def test_other_processes_follow(database: Database, configs: Configs) -> None:
    await configs.start(None)
    others = new_offers()
    following = Configs(database, others, {})
    await following.start(None)
    changed = asyncio.Event()
    others.on_change(changed.set)
    task = asyncio.create_task(following.follow(0.01))
    await configs.apply(ONE, None, validate_only=False)
    await changed.wait()
    assert "one" in others.catalog.routes
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
        assert "one" in offers.catalog.routes
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


async def test_going_back_makes_the_earlier_text_the_next_version(configs: Configs, offers: Offers) -> None:
    await configs.start(None)
    await configs.apply(ONE, AUTHOR, validate_only=False)
    await configs.apply(TWO, AUTHOR, validate_only=False)
    back = await configs.roll_back(2, AUTHOR)
    assert (back.version, back.yaml, back.rollback_of, back.author_id, back.note) == (4, ONE, 2, AUTHOR, "")
    assert "one" in offers.catalog.routes
    assert offers.version == 4
    # 0: the one before the present one, which is version 3.
    again = await configs.roll_back(0, None)
    assert (again.version, again.yaml, again.rollback_of) == (5, TWO, 3)
    # The present text again is the present version.
    same = await configs.roll_back(3, None)
    assert (same.version, same.rollback_of) == (5, 3)


async def test_there_must_be_a_version_to_go_back_to(configs: Configs, offers: Offers) -> None:
    await configs.start(None)
    for version in (0, 2, 99, 2**62):
        with pytest.raises(MeshError) as caught:
            await configs.roll_back(version, None)
        assert caught.value.reason == "CONFIG_VERSION_NOT_FOUND"
    assert offers.version == 1


async def test_an_earlier_version_must_do_today(database: Database) -> None:
    environment = {"A_KEY": "sk-1"}
    offers = Offers(NO_CLIENT, environment, Timeouts(), 0)
    configs = Configs(database, offers, environment)
    await configs.start(None)
    await configs.apply("providers: [{name: p, kind: litellm, api_key_env: A_KEY}]\n", None, validate_only=False)
    await configs.apply(ONE, None, validate_only=False)
    del environment["A_KEY"]
    with pytest.raises(MeshError) as caught:
        await configs.roll_back(0, None)
    assert caught.value.reason == "CONFIG_INVALID"
    assert [one.field for one in caught.value.violations] == ["providers[0].api_key_env"]
    assert "the version in force stays" in caught.value.message
    assert (await configs.current()).yaml == ONE


async def test_versions_are_listed_in_pages(configs: Configs) -> None:
    await configs.start(None)
    for _ in range(2):
        await configs.apply(ONE, AUTHOR, validate_only=False)
        await configs.apply(TWO, AUTHOR, validate_only=False)
    admin = ConfigAdmin(configs, PageTokens(b"k" * 32))
    seen: list[int] = []
    token = ""
    while True:
        request = pb.ListConfigVersionsRequest(page_size=2, page_token=token)
        page = await admin.ListConfigVersions(request, NO_CONTEXT)
        seen += [one.version for one in page.versions]
        token = page.next_page_token
        if not token:
            break
        assert len(page.versions) == 2
    assert seen == [5, 4, 3, 2, 1]
    whole = await admin.ListConfigVersions(pb.ListConfigVersionsRequest(), NO_CONTEXT)
    assert [one.yaml for one in whole.versions] == [TWO, ONE, TWO, ONE, DISCOVER_YAML]
    assert whole.versions[0].author_id == AUTHOR
    with pytest.raises(MeshError) as caught:
        await admin.ListConfigVersions(pb.ListConfigVersionsRequest(page_token="made up"), NO_CONTEXT)
    assert caught.value.reason == "PAGE_TOKEN_INVALID"


async def test_long_texts_make_short_pages(configs: Configs, monkeypatch: pytest.MonkeyPatch) -> None:
    await configs.start(None)
    await configs.apply(ONE, None, validate_only=False)
    await configs.apply(TWO, None, validate_only=False)
    monkeypatch.setattr(config_versions, "PAGE_BYTES_MAX", len(TWO) + 1)
    page = await configs.page(before_version=None, size=100)
    assert [one.version for one in page.versions] == [3, 2]  # the second begins below the bound
    assert page.more
    last = await configs.page(before_version=2, size=100)
    assert [one.version for one in last.versions] == [1]
    assert not last.more
    assert await configs.page(before_version=1, size=100) == config_versions.Page([], False)


async def test_a_guard_goes_back_to_the_version_before_its_canary(configs: Configs, offers: Offers) -> None:
    await configs.start(None)
    await configs.apply(BASE, AUTHOR, validate_only=False)
    await configs.apply(CANARY, AUTHOR, validate_only=False)
    back = await configs.roll_back_by_guard("r", "12% of its calls failed, 1% of the control's")
    assert back is not None
    assert (back.version, back.yaml, back.rollback_of, back.author_id) == (4, BASE, 2, "")
    assert back.note == "12% of its calls failed, 1% of the control's"
    assert offers.catalog.route("r").canary is None
    assert await configs.roll_back_by_guard("r", "again") is None
    assert await configs.roll_back_by_guard("no such route", "x") is None
    assert (await configs.current()).version == 4


async def test_of_several_guards_one_acts(database: Database, configs: Configs) -> None:
    await configs.start(None)
    await configs.apply(BASE, None, validate_only=False)
    await configs.apply(CANARY, None, validate_only=False)
    replicas = [Configs(database, new_offers(), {}) for _ in range(4)]
    for replica in replicas:
        await replica.start(None)
    answers = await asyncio.gather(*(one.roll_back_by_guard("r", f"why {i}") for i, one in enumerate(replicas)))
    assert len([one for one in answers if one is not None]) == 1
    assert (await configs.current()).version == 4


async def test_a_guard_that_is_behind_does_nothing(database: Database, configs: Configs) -> None:
    await configs.start(None)
    await configs.apply(BASE, None, validate_only=False)
    await configs.apply(CANARY, None, validate_only=False)
    behind = Configs(database, new_offers(), {})
    await behind.start(None)
    # Somebody has repaired it meanwhile; what the guard has seen says nothing of that.
    await configs.apply(
        CANARY.replace("name: a", "name: a2").replace("model: a}", "model: a2}"), None, validate_only=False
    )
    assert await behind.roll_back_by_guard("r", "old news") is None
    assert (await configs.current()).version == 4


async def test_a_canary_that_came_earlier_rests_and_the_rest_stays(configs: Configs, offers: Offers) -> None:
    await configs.start(None)
    await configs.apply(CANARY, None, validate_only=False)  # the version before has no such route at all
    rested = await configs.roll_back_by_guard("r", "slow")
    assert rested is not None
    assert (rested.version, rested.yaml, rested.rollback_of) == (
        3,
        CANARY.replace("share_percent: 5", "share_percent: 0"),
        0,
    )
    assert rested.note == "slow"
    await configs.apply(CANARY, None, validate_only=False)
    later = CANARY + "limits: {key: {requests_per_minute: 7}}\n"
    await configs.apply(later, None, validate_only=False)
    assert offers.catalog.route("r").canary is not None
    rested = await configs.roll_back_by_guard("r", "slow")
    assert rested is not None
    assert parse(rested.yaml).limits.key.requests_per_minute == 7
    assert offers.catalog.route("r").canary is None


async def test_a_guard_tries_again_until_postgresql_is_back(
    postgres: PostgresCluster, database: Database, configs: Configs, offers: Offers
) -> None:
    await configs.start(None)
    await configs.apply(BASE, None, validate_only=False)
    await configs.apply(CANARY, None, validate_only=False)
    guard = CanaryGuard(configs, lambda least, most: 0.01)
    changed = asyncio.Event()
    offers.on_change(changed.set)
    async with database.connection() as conn:
        name = await conn.fetchval("SELECT current_database()")
    postgres.run_sql(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
    postgres.run_sql(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
    task = asyncio.create_task(guard.run())
    try:
        guard.roll_back(offers.catalog.route("r"), "it fails")
        guard.roll_back(offers.catalog.route("r"), "it fails still")
        assert not changed.is_set()
    finally:
        postgres.run_sql(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
    await changed.wait()
    task.cancel()
    await asyncio.wait([task])
    current = await configs.current()
    assert (current.version, current.rollback_of, current.note) == (4, 2, "it fails")

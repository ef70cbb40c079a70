"""Stored keys of providers: encrypted in PostgreSQL, in the hands of every process, rotated without a restart."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from services.inference.catalog import Offers
from services.inference.config import parse
from services.inference.provider_keys import ProviderKeys
from services.inference.provider_keys import keys as provider_keys
from services.inference.providers.http import Client, Timeouts
from services.local.embedded.postgres import PostgresCluster
from services.mesh.database import Database
from services.mesh.errors import MeshError
from services.mesh.sealing import Sealer

CONFIG = """
providers:
  - {name: p, kind: openai, base_url: "http://x/v1", api_key_env: P_KEY}
  - {name: q, kind: litellm}
"""
OLD, NEW = Sealer([bytes(32)]), Sealer([b"n" * 32, bytes(32)])
AUTHOR = "0190aaaa-0000-7000-8000-0000000000aa"
UNKNOWN = "0190aaaa-0000-7000-8000-0000000000ff"


def new_offers() -> Offers:
    offers = Offers(cast(Client, object()), {"P_KEY": "sk-environment"}, Timeouts(), 0)
    offers.configure(1, parse(CONFIG))
    return offers


def in_use(offers: Offers, provider: str) -> list[str]:
    ring: Any = offers._pool._entries[provider].keys
    return list(ring._keys)


@pytest.fixture
def offers() -> Offers:
    return new_offers()


@pytest.fixture
def keys(database: Database, offers: Offers) -> ProviderKeys:
    return ProviderKeys(database, offers, OLD)


async def test_a_key_is_used_at_once_and_shown_without_its_secret(keys: ProviderKeys, offers: Offers) -> None:
    made = await keys.add("p", "sk-secret-12345678", "of the team", AUTHOR)
    assert (made.provider, made.display_name, made.hint, made.author_id) == ("p", "of the team", "5678", AUTHOR)
    assert made.create_time.seconds > 0
    assert in_use(offers, "p") == ["sk-environment", "sk-secret-12345678"]
    assert in_use(offers, "q") == []
    await keys.add("q", "sk-other-87654321", "", AUTHOR)
    assert [(one.provider, one.hint) for one in await keys.listed("")] == [("p", "5678"), ("q", "4321")]
    assert [one.provider for one in await keys.listed("q")] == ["q"]
    assert await keys.listed("r") == []
    assert "secret" not in str(await keys.listed(""))


async def test_the_database_holds_no_secret(keys: ProviderKeys, database: Database) -> None:
    await keys.add("p", "sk-secret-12345678", "", AUTHOR)
    async with database.connection() as conn:
        rows = await conn.fetch("SELECT * FROM provider_keys")
    assert b"sk-secret" not in bytes(rows[0]["sealed"])
    assert all("sk-secret" not in str(value) for value in rows[0].values())


async def test_other_processes_follow(keys: ProviderKeys, database: Database) -> None:
    others = new_offers()
    following = ProviderKeys(database, others, OLD)
    task = asyncio.create_task(following.follow(0.01))
    made = await keys.add("p", "sk-secret-12345678", "", AUTHOR)
    async with asyncio.timeout(10):
        while "sk-secret-12345678" not in in_use(others, "p"):
            await asyncio.sleep(0.01)
        await keys.remove(made.provider_key_id)
        while "sk-secret-12345678" in in_use(others, "p"):
            await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.wait([task])
    assert in_use(others, "p") == ["sk-environment"]


async def test_a_start_takes_what_is_there(keys: ProviderKeys, database: Database) -> None:
    await keys.add("p", "sk-secret-12345678", "", AUTHOR)
    fresh = new_offers()
    await ProviderKeys(database, fresh, OLD).refresh()
    assert in_use(fresh, "p") == ["sk-environment", "sk-secret-12345678"]


async def test_a_provider_that_a_new_version_brings_gets_its_keys(keys: ProviderKeys, offers: Offers) -> None:
    await keys.add("q", "sk-secret-12345678", "", AUTHOR)
    offers.configure(2, parse("providers: [{name: p, kind: litellm}]"))
    offers.configure(3, parse(CONFIG))
    assert in_use(offers, "q") == ["sk-secret-12345678"]


@pytest.mark.parametrize("provider", ["demo", "r", ""])
async def test_only_a_provider_of_the_configuration_gets_a_key(keys: ProviderKeys, provider: str) -> None:
    with pytest.raises(MeshError) as caught:
        await keys.add(provider, "sk-secret-12345678", "", AUTHOR)
    assert caught.value.reason == "INVALID_FIELD"
    assert "p, q" in caught.value.message


async def test_a_provider_of_a_version_not_yet_heard_of_is_looked_for(database: Database, offers: Offers) -> None:
    async def look_again() -> None:
        offers.configure(2, parse(CONFIG + "  - {name: newest, kind: litellm}\n"))

    keys = ProviderKeys(database, offers, OLD, look_again=look_again)
    assert (await keys.add("newest", "sk-secret-12345678", "", AUTHOR)).provider == "newest"


@pytest.mark.parametrize("secret", ["sk-1234 5678", "sk-12345678\r\nX-Evil: 1", "sk-größer-1234", "sk-\x00-12345678"])
async def test_what_fits_into_no_header_is_no_secret(keys: ProviderKeys, secret: str) -> None:
    with pytest.raises(MeshError) as caught:
        await keys.add("p", secret, "", AUTHOR)
    assert caught.value.reason == "INVALID_FIELD"
    assert secret not in str(caught.value)
    assert await keys.listed("") == []


async def test_what_is_not_there_cannot_be_removed(keys: ProviderKeys) -> None:
    with pytest.raises(MeshError) as caught:
        await keys.remove(UNKNOWN)
    assert caught.value.reason == "PROVIDER_KEY_NOT_FOUND"


async def test_as_many_as_can_be(keys: ProviderKeys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provider_keys, "KEYS_OF_PROVIDER_MAX", 2)
    monkeypatch.setattr(provider_keys, "KEYS_MAX", 3)
    answers = await asyncio.gather(
        *(keys.add("p", f"sk-secret-{number:08}", "", AUTHOR) for number in range(6)), return_exceptions=True
    )
    refused = [one for one in answers if isinstance(one, MeshError)]
    assert len(refused) == 4
    assert {one.reason for one in refused} == {"LIMIT_REACHED"}
    await keys.add("q", "sk-secret-12345678", "", AUTHOR)
    with pytest.raises(MeshError, match="3 provider keys already"):
        await keys.add("q", "sk-secret-12345679", "", AUTHOR)


async def test_without_the_secret_nothing_can_be_stored_or_used(
    keys: ProviderKeys, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await keys.add("p", "sk-secret-12345678", "", AUTHOR)
    fresh = new_offers()
    off = ProviderKeys(database, fresh, None)
    await off.refresh()
    assert in_use(fresh, "p") == ["sk-environment"]
    with pytest.raises(MeshError) as caught:
        await off.add("p", "sk-secret-12345679", "", AUTHOR)
    assert caught.value.reason == "PROVIDER_KEYS_OFF"
    assert [one.hint for one in await off.listed("")] == ["5678"]
    await off.remove(made.provider_key_id)
    assert await off.listed("") == []


async def test_a_key_under_another_secret_keeps_no_other_from_use(keys: ProviderKeys, database: Database) -> None:
    await keys.add("p", "sk-secret-12345678", "", AUTHOR)
    fresh = new_offers()
    stranger = ProviderKeys(database, fresh, Sealer([b"x" * 32]))
    await stranger.add("p", "sk-readable-1234", "", AUTHOR)
    assert in_use(fresh, "p") == ["sk-environment", "sk-readable-1234"]


async def test_a_row_that_was_moved_is_not_used(keys: ProviderKeys, database: Database) -> None:
    await keys.add("p", "sk-secret-12345678", "", AUTHOR)
    async with database.connection() as conn:
        await conn.execute("UPDATE provider_keys SET provider = 'q'")
    fresh = new_offers()
    await ProviderKeys(database, fresh, OLD).refresh()
    assert in_use(fresh, "q") == []


async def test_a_new_secret_takes_over(keys: ProviderKeys, database: Database) -> None:
    await keys.add("p", "sk-secret-12345678", "", AUTHOR)
    await asyncio.gather(*(ProviderKeys(database, new_offers(), NEW).refresh() for _ in range(3)))
    fresh = new_offers()
    await ProviderKeys(database, fresh, Sealer([b"n" * 32])).refresh()  # the old one is not needed any more
    assert in_use(fresh, "p") == ["sk-environment", "sk-secret-12345678"]


async def test_with_postgresql_away_keys_stay_in_use(
    postgres: PostgresCluster, keys: ProviderKeys, database: Database, offers: Offers
) -> None:
    await keys.add("p", "sk-secret-12345678", "", AUTHOR)
    async with database.connection() as conn:
        name = await conn.fetchval("SELECT current_database()")
    postgres.run_sql(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
    postgres.run_sql(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
    try:
        with pytest.raises(MeshError):
            await keys.refresh()
        task = asyncio.create_task(keys.follow(0.001))
        await asyncio.wait([task], timeout=0.1)
        assert not task.done()
        task.cancel()
        await asyncio.wait([task])
        assert in_use(offers, "p") == ["sk-environment", "sk-secret-12345678"]
    finally:
        postgres.run_sql(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")

"""A start has one patience: its steps share it, and none outlasts it."""

from __future__ import annotations

import asyncio
from typing import ClassVar

import asyncpg
import pytest
from pydantic import SecretStr

from services.mesh.database import Database, DatabaseOptions
from services.mesh.database import database as opening
from services.mesh.database.starting import LAST_TRY_S, START_TIMEOUT_S, Patience, until_done
from services.mesh.errors import MeshError
from services.mesh.run import Mesh
from services.mesh.settings import MeshSettings


class Time:
    """Goes on only while PostgreSQL is asked."""

    def __init__(self) -> None:
        self.seconds = 100.0
        self.tries = 0

    def __call__(self) -> float:
        return self.seconds

    async def away(self) -> None:
        self.tries += 1
        self.seconds += 10.0
        raise MeshError("DEPENDENCY_UNAVAILABLE", "away")

    async def back_at_last(self) -> str:
        if self.tries < 2:
            await self.away()
        return "back"


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.mesh.database.starting.Backoff.next_s", lambda _: 0.0)


@pytest.mark.usefixtures("no_pauses")
async def test_steps_share_what_a_start_has() -> None:
    time = Time()
    patience = Patience(30.0, time)
    assert await until_done("one", time.back_at_last, patience) == "back"
    time.tries = 0
    with pytest.raises(MeshError, match="away"):
        await until_done("another", time.away, patience)
    # 20 of the 30 s are spent; a try that begins in time ends late at most by itself.
    assert (time.tries, time.seconds) == (2, 140.0)
    with pytest.raises(MeshError, match="away"):
        await until_done("a third", time.away, patience)
    assert time.tries == 3


def test_a_try_may_take_what_is_left_and_a_statement_more() -> None:
    time = Time()
    patience = Patience(30.0, time)
    assert patience.try_s() == 30.0 + LAST_TRY_S
    time.seconds += 30.0
    assert patience.try_s() == LAST_TRY_S
    assert patience.lasts(0.0)
    assert not patience.lasts(0.1)
    time.seconds += 30.0
    assert patience.try_s() == 0.0


async def test_a_try_that_hangs_is_cut() -> None:
    time = Time()
    patience = Patience(30.0, time)
    time.seconds += 30.0 + LAST_TRY_S
    with pytest.raises(MeshError, match="plans took too long: a start has 30 s") as caught:
        await until_done("plans", asyncio.Event().wait, patience)
    assert caught.value.reason == "DEPENDENCY_UNAVAILABLE"


async def test_a_timeout_of_the_work_itself_is_no_end_of_patience() -> None:
    async def wrong() -> None:
        raise TimeoutError("its own")

    with pytest.raises(TimeoutError, match="its own"):
        await until_done("plans", wrong)


async def test_what_a_mesh_opens_has_the_patience_of_its_start(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Patience | None] = []

    async def opened(*_: object, patience: Patience | None = None, **__: object) -> Database:
        asked.append(patience)
        raise MeshError("DEPENDENCY_UNAVAILABLE", "away")

    async def done(_what: str, _work: object, patience: Patience | None = None) -> None:
        asked.append(patience)

    monkeypatch.setattr(Database, "open", opened)
    monkeypatch.setattr("services.mesh.run.until_done", done)
    mesh = Mesh(settings())
    with pytest.raises(MeshError, match="away"):
        await mesh.open_database(serves=(1, 1))
    await mesh.at_start("plans", asyncio.Event().wait)
    await mesh.at_start("keys", asyncio.Event().wait)
    assert asked == [mesh.start] * 3
    assert mesh.start.seconds == START_TIMEOUT_S
    await mesh.close()


@pytest.mark.usefixtures("no_pauses")
async def test_the_pool_and_the_look_at_the_schema_share_it_too(monkeypatch: pytest.MonkeyPatch) -> None:
    time = Time()
    time.seconds = 0.0
    patience = Patience(30.0, time)

    class Pool:
        async def close(self) -> None:
            """It has nothing open."""

    async def create_pool(*_: object, **__: object) -> Pool:
        time.seconds += 10.0
        if time.seconds < 20.0:
            raise OSError("nobody there")
        return Pool()

    async def look(*_: object) -> None:
        await time.away()

    class Nothing:
        async def __aenter__(self) -> None: ...

        async def __aexit__(self, *_: object) -> None: ...

    monkeypatch.setattr(asyncpg, "create_pool", create_pool)
    monkeypatch.setattr(opening, "check_versions", look)
    monkeypatch.setattr(Database, "connection", lambda _: Nothing())
    with pytest.raises(MeshError, match="away"):
        await Database.open("", schema="s", serves=(1, 1), options=DatabaseOptions(), patience=patience)
    assert time.tries == 2, "20 of its 30 s went to the pool"


class Settings(MeshSettings):
    service: ClassVar[str] = "prompts"


def settings() -> Settings:
    secret = SecretStr("c2VjcmV0" * 8)
    return Settings(
        worker="posts-0",
        mesh_secret=secret,
        key_pepper=secret,
        redis_url=SecretStr("redis://127.0.0.1:1/0"),
        database_url=SecretStr("postgresql://127.0.0.1:1/x"),
    )

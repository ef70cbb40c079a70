"""Every scenario runs with both clients: `user` hides whether one must await."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from mesh import FakeMesh, Sessions, running_mesh
from promptmesh import AsyncPromptmesh, Promptmesh, Retries

QUICK = Retries(first_wait_s=0.001, longest_wait_s=0.002)
LETTING_GO_S = 5.0  # less than a server waits: then it was the client
Use = Callable[[Any], Any]  # takes a client


class SyncUser:
    """Somebody with the client for threads."""

    def __init__(self, url: str, **options: Any) -> None:
        self.client = Promptmesh(url, **{"retries": QUICK, "timeout_s": 10.0, **options})

    def call(self, use: Use) -> Any:
        return use(self.client)

    def gather(self, use: Use, into: list[Any] | None = None) -> list[Any]:
        """Everything of a stream or pager; what came before an error stands in `into`."""
        got = [] if into is None else into
        for one in use(self.client):
            got.append(one)
        return got

    def take(self, use: Use, count: int, until: threading.Event | None = None) -> list[Any]:
        """So many, and then it lets go of the rest, which shows in `until`."""
        got = [one for _, one in zip(range(count), use(self.client), strict=False)]
        assert until is None or until.wait(LETTING_GO_S)
        return got

    def at_once(self, use: Use, count: int) -> list[Any]:
        with ThreadPoolExecutor(count) as pool:
            return list(pool.map(lambda _: use(self.client), range(count)))

    def close(self) -> None:
        self.client.close()


class AsyncUser:
    """Somebody with the client for coroutines."""

    def __init__(self, url: str, **options: Any) -> None:
        self.runner = asyncio.Runner()
        self.client = AsyncPromptmesh(url, **{"retries": QUICK, "timeout_s": 10.0, **options})

    def call(self, use: Use) -> Any:
        async def run() -> Any:
            result = use(self.client)
            return await result if inspect.isawaitable(result) else result

        return self.runner.run(run())

    def gather(self, use: Use, into: list[Any] | None = None) -> list[Any]:
        got = [] if into is None else into

        async def run() -> list[Any]:
            async for one in use(self.client):
                got.append(one)
            return got

        return self.runner.run(run())

    def take(self, use: Use, count: int, until: threading.Event | None = None) -> list[Any]:
        async def run() -> list[Any]:
            got: list[Any] = []
            async for one in use(self.client):
                got.append(one)
                if len(got) == count:
                    break
            assert until is None or await asyncio.to_thread(until.wait, LETTING_GO_S)
            return got

        return self.runner.run(run())

    def at_once(self, use: Use, count: int) -> list[Any]:
        async def run() -> list[Any]:
            return await asyncio.gather(*(use(self.client) for _ in range(count)))

        return self.runner.run(run())

    def close(self) -> None:
        self.runner.run(self.client.close())
        self.runner.close()


User = SyncUser | AsyncUser
NewUser = Callable[..., User]


@pytest.fixture
def mesh() -> Iterator[FakeMesh]:
    with running_mesh() as running:
        yield running


@pytest.fixture
def sessions(mesh: FakeMesh) -> Sessions:
    return Sessions(mesh)


@pytest.fixture(params=[SyncUser, AsyncUser], ids=["sync", "async"])
def new_user(request: pytest.FixtureRequest, mesh: FakeMesh) -> Iterator[NewUser]:
    made: list[User] = []

    def make(**options: Any) -> User:
        made.append(request.param(mesh.url, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def user(new_user: NewUser) -> User:
    """With an API key."""
    return new_user(api_key="pm_key")


@pytest.fixture
def person(new_user: NewUser, sessions: Sessions) -> User:
    """With email and password."""
    return new_user(email="ada@example.com", password="right")

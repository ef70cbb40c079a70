"""One mesh for the tests of the OpenAPI document, with well-behaved providers, and those who ask it.

Whoever asks here waits for each answer, so the providers have a thread of their own.
"""

from __future__ import annotations

import asyncio
import itertools
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.resources import files

import pytest

from services.local.testing import LocalMesh, local_mesh, wait_until
from tests.mesh.conftest import EDGE_WIDE_OPEN, LONG_SESSIONS
from tests.mesh.upstreams import Upstreams, models_yaml, running_upstreams

_START_S = 30.0
PASSWORD = "a long enough password"
SCOPES = ("posts:read", "posts:write", "inference:invoke", "usage:read", "moderation:screen")


@dataclass(frozen=True)
class Callers:
    """Credentials by who has them; nobody has none."""

    admin: str
    user: str
    key: str


@dataclass(frozen=True)
class There:
    """What is there to be named: a caller who knows the mesh names these."""

    post_id: str
    user_id: str
    models: str
    plans: str


@pytest.fixture(scope="session")
def upstreams() -> Iterator[Upstreams]:
    loop, opened, done = asyncio.new_event_loop(), threading.Event(), asyncio.Event()
    found: list[Upstreams] = []

    async def serve() -> None:
        async with running_upstreams() as running:
            found.append(running)
            opened.set()
            await done.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()), daemon=True)
    thread.start()
    assert opened.wait(_START_S)
    yield found[0]
    loop.call_soon_threadsafe(done.set)
    thread.join(_START_S)
    loop.close()


@pytest.fixture(scope="session")
def mesh(upstreams: Upstreams) -> Iterator[LocalMesh]:
    with local_mesh(models_yaml=models_yaml(upstreams), edge=EDGE_WIDE_OPEN, environment=LONG_SESSIONS) as running:
        yield running
        for process in running.processes():
            failed = [
                line for line in running.log(process).splitlines() if re.search(r'Traceback|"level":"error"', line)
            ]
            assert not failed, f"{process} said: {failed[0][:2000]}"


@pytest.fixture(scope="session")
def callers(mesh: LocalMesh) -> Callers:
    _, user = mesh.register("olga")
    return Callers(admin=mesh.admin_token(), user=user, key=mesh.api_key(user, *SCOPES))


@pytest.fixture(scope="session")
def there(mesh: LocalMesh, callers: Callers) -> There:
    post = mesh.call("POST", "/api/v1/posts", {"title": "A post", "body": "Count the ships."}, token=callers.admin).body
    path = f"/api/v1/posts/{post['postId']}"
    wait_until("the post is published", lambda: mesh.call("GET", path).status == 200, _START_S)
    return There(
        post_id=post["postId"],
        user_id=mesh.register("peter")[0],  # whose roles change, and who calls nothing
        models=mesh.call("GET", "/api/v1/config", token=callers.admin).body["yaml"],
        plans=files("services.auth.plans").joinpath("default_plans.yaml").read_text(encoding="utf-8"),
    )


@pytest.fixture(scope="session")
def newcomer(mesh: LocalMesh) -> Callable[[], str]:
    """Makes a person of whom nobody else asks anything; answers an access token of theirs."""
    numbers = itertools.count(1)
    return lambda: mesh.register(f"newcomer-{next(numbers)}", PASSWORD)[1]

"""One mesh for all browser tests of a test process, through its real edge, seen with Debian's Chromium.

`tabs` opens tabs of a browser context of the test's own (cookies, storage); a test fails if they logged an error or
met the Content-Security-Policy. Only where no Chromium is found do tests skip: `apt-get install chromium`, or name one
with PROMPTMESH_CHROMIUM.
"""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, async_playwright, expect

from gateway.settings import WEB_APP
from services.local.testing import LocalMesh, local_mesh
from tests.browser.people import NewPerson, Person
from tests.browser.tabs import Tabs
from tests.mesh.conftest import EDGE_WIDE_OPEN, LONG_SESSIONS
from tests.mesh.upstreams import Upstreams, models_yaml, running_upstreams
from tests.support.provider import Behaviour
from tools.chromium import CHROMIUM, FLAGS, HOW_TO_GET

SEEN_WITHIN_MS = 20_000  # what a test expects to see; machines that run tests are busy
ACTION_WITHIN_MS = 30_000
TIMEOUT_S = 300  # the first test of a process waits for the mesh
_numbers = itertools.count(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if not item.path.is_relative_to(Path(__file__).parent):
            continue
        item.add_marker(pytest.mark.timeout(TIMEOUT_S))
        if not CHROMIUM:
            item.add_marker(pytest.mark.skip(reason=HOW_TO_GET))


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def upstreams() -> AsyncIterator[Upstreams]:
    """The providers: one for calls, one for examples."""
    async with running_upstreams() as running:
        yield running


@pytest.fixture(scope="session")
def mesh(upstreams: Upstreams) -> Iterator[LocalMesh]:
    """The mesh, with the web app that `make web` built."""
    assert (WEB_APP / "index.html").exists(), "the web app is not built: run `make web`"
    with local_mesh(models_yaml=models_yaml(upstreams), edge=EDGE_WIDE_OPEN, environment=LONG_SESSIONS) as running:
        yield running


@pytest.fixture(autouse=True)
def patience() -> Iterator[None]:
    """How long `expect` looks."""
    expect.set_options(timeout=SEEN_WITHIN_MS)
    yield
    expect.set_options(timeout=None)


@pytest.fixture(autouse=True)
def well_behaved(upstreams: Upstreams) -> Iterator[None]:
    """No test finds a provider as another one left it."""
    yield
    for provider in (upstreams.calls, upstreams.examples):
        provider.default = Behaviour()
        provider.recover()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        running = await playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield running
        await running.close()


@pytest_asyncio.fixture(loop_scope="session")
async def context(browser: Browser, mesh: LocalMesh) -> AsyncIterator[BrowserContext]:
    """A browser of the test's own: nothing is remembered from others."""
    made = await browser.new_context(base_url=mesh.url, viewport={"width": 1200, "height": 900}, locale="en-GB")
    made.set_default_timeout(ACTION_WITHIN_MS)
    yield made
    await made.close()


@pytest_asyncio.fixture(loop_scope="session")
async def tabs(context: BrowserContext) -> AsyncIterator[Tabs]:
    """Opens tabs that are watched for errors; `await tabs.open("/path")`."""
    opened = Tabs(context)
    yield opened
    opened.check()


@pytest.fixture
def new_person(mesh: LocalMesh) -> NewPerson:
    """Registers somebody through the API: `await new_person("Ada", roles=("ROLE_MODERATOR",))`."""

    async def make(name: str = "Ada", roles: tuple[str, ...] = ()) -> Person:
        return await asyncio.to_thread(Person.register, mesh, name, f"person-{next(_numbers)}-{os.getpid()}", roles)

    return make

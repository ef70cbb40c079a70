"""One mesh for all tests of a test process, asked through its real edge, with misbehaving providers behind it.

Everything runs on one event loop, the providers included: tests here never block it.
"""

from __future__ import annotations

import asyncio
import itertools
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import grpc
import pytest
import pytest_asyncio

from services.local.testing import LocalMesh, local_mesh
from tests.mesh.breaking import Breakable
from tests.mesh.client import Client, open_client
from tests.mesh.people import MODERATOR, PASSWORD, Person, log_in, register, set_roles
from tests.mesh.upstreams import Upstreams, models_yaml, running_upstreams
from tests.support.provider import Behaviour, MisbehavingProvider

#: No limit on rates of the edge is met by accident: they have tests of their own.
EDGE_WIDE_OPEN = {
    "rate_per_second": 10_000,
    "rate_burst": 20_000,
    "credential_rate_per_second": 10_000,
    "credential_rate_burst": 20_000,
}
#: On a slow machine all these tests take longer than an access token lives; they log in once.
LONG_SESSIONS = {"PROMPTMESH_ACCESS_LIFETIME_S": "3600", "PROMPTMESH_STEP_UP_S": "3600"}
#: A provider that refuses our credential, which a test makes one do.
EXPECTED_ERRORS = re.compile(r"refused our credential")
_numbers = itertools.count(1)

NewPerson = Callable[[], Awaitable[Person]]


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def upstreams() -> AsyncIterator[Upstreams]:
    """The providers: one for calls, one for examples."""
    async with running_upstreams() as running:
        yield running


@pytest.fixture(scope="session")
def mesh(upstreams: Upstreams) -> Iterator[LocalMesh]:
    """The mesh. Tests share it: they make people and posts of their own, and kill nothing."""
    with local_mesh(models_yaml=models_yaml(upstreams), edge=EDGE_WIDE_OPEN, environment=LONG_SESSIONS) as running:
        yield running
        for process in running.processes():
            _check_log(process, running.log(process))


@pytest.fixture(scope="module")
def own_mesh(upstreams: Upstreams) -> Iterator[LocalMesh]:
    """A mesh for one file of tests, which may kill what they like of it."""
    with local_mesh(models_yaml=models_yaml(upstreams), edge=EDGE_WIDE_OPEN) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def breakable(own_mesh: LocalMesh) -> AsyncIterator[Breakable]:
    """That mesh, and who asks it."""
    async with open_client(own_mesh.url) as opened:
        yield Breakable(own_mesh, opened)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def client(mesh: LocalMesh) -> AsyncIterator[Client]:
    """Whoever asks over HTTP."""
    async with open_client(mesh.url) as opened:
        yield opened


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def channel(mesh: LocalMesh) -> AsyncIterator[grpc.aio.Channel]:
    """Native gRPC through the edge, for the small and the large."""
    async with grpc.aio.insecure_channel(
        f"127.0.0.1:{mesh.edge_port}", options=(("grpc.max_send_message_length", -1),)
    ) as opened:
        yield opened


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def new_person(client: Client) -> NewPerson:
    """Registers somebody who has done nothing yet."""
    return lambda: register(client, f"person-{next(_numbers)}")


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def someone(new_person: NewPerson) -> Person:
    """A person for tests that change nothing about them."""
    return await new_person()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def stranger(new_person: NewPerson) -> Person:
    """Another one."""
    return await new_person()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def admin(mesh: LocalMesh, client: Client) -> Person:
    """The first admin."""
    return await log_in(client, mesh.admin_email, mesh.admin_password)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def moderator(new_person: NewPerson, admin: Person) -> Person:
    """A person whom the admin made a moderator."""
    person = await new_person()
    await set_roles(admin, person, MODERATOR)
    return person


@pytest.fixture
def provider(upstreams: Upstreams) -> Iterator[MisbehavingProvider]:
    """The provider of calls, well-behaved and with nothing remembered, before the test and after it."""
    yield _fresh(upstreams.calls)
    _fresh(upstreams.calls)


@pytest.fixture
def examples(upstreams: Upstreams) -> Iterator[MisbehavingProvider]:
    """The provider of examples, likewise; whatever a test has told it is over with the test."""
    yield _fresh(upstreams.examples)
    _fresh(upstreams.examples)


@pytest.fixture(autouse=True)
def running_loop(request: pytest.FixtureRequest) -> None:
    """A test that blocks the loop would starve the providers: all are coroutines."""
    assert asyncio.iscoroutinefunction(request.function), "tests of the mesh are `async def`"


def _check_log(process: str, log: str) -> None:
    """Whatever the tests did, no handler failed unexpectedly, and nothing secret was written down."""
    failed = [line for line in log.splitlines() if "Traceback" in line or '"level":"error"' in line]
    if unexpected := [line for line in failed if not EXPECTED_ERRORS.search(line)]:
        # What failed stands at the beginning of a line, with what at its end.
        pytest.fail(f"{process} said:\n" + "\n".join(f"{line[:500]} … {line[-1500:]}" for line in unexpected[:3]))
    assert PASSWORD not in log, f"a password stands in the log of {process}"
    assert not re.search(r"eyJ[\w-]{20,}\.[\w-]{20,}\.|\bpm_[0-9A-Za-z]{46}\b|\bpmr_\w{20,}", log), (
        f"a credential stands in the log of {process}"
    )


def _fresh(provider: MisbehavingProvider) -> MisbehavingProvider:
    provider.default = Behaviour()
    provider.recover()  # what a failed test had prepared and never met
    provider.calls.clear()
    return provider

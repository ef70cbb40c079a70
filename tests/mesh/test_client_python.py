"""The Python client's examples, run as a reader would run them: from its wheel, through the edge."""

from __future__ import annotations

import asyncio
import functools
import itertools
import re
from pathlib import Path

import pytest
import pytest_asyncio

from services.local.testing import LocalMesh
from tests.clients.python.fresh import CLIENT, EXAMPLES, Installed, install, run
from tests.mesh.conftest import NewPerson
from tests.mesh.people import PASSWORD

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]
_numbers = itertools.count(1)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    return await asyncio.to_thread(install, tmp_path_factory.mktemp("client"))


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def key(new_person: NewPerson) -> str:
    person = await new_person()
    made = await person.ask(
        "POST", "/api/v1/apiKeys", {"displayName": "client", "scopes": ["inference:invoke", "posts:read"]}
    )
    return str(made.ok()["secret"])


async def example(installed: Installed, mesh: LocalMesh, name: str, *arguments: str, **environment: str) -> str:
    """What the example printed; warnings are errors."""
    command = (installed.python, "-W", "error", EXAMPLES / f"{name}.py", *arguments)
    return await asyncio.to_thread(functools.partial(run, *command, PROMPTMESH_URL=mesh.url, **environment))


async def test_quickstart(installed: Installed, mesh: LocalMesh) -> None:
    email = f"client-{next(_numbers)}@example.com"
    said = await example(installed, mesh, "quickstart", email, PASSWORD)
    assert "model mock\n" in said
    assert said.rstrip().endswith("US dollars")
    assert "registered before" in await example(installed, mesh, "quickstart", email, PASSWORD)


async def test_publish(installed: Installed, mesh: LocalMesh, new_person: NewPerson) -> None:
    person = await new_person()
    said = await example(installed, mesh, "publish", person.email, PASSWORD)
    assert "POST_STATE_PUBLISHED EXAMPLE_STATE_READY" in said
    assert "found Three gifts by" in said
    assert "revision 2" in said


async def test_stream(installed: Installed, mesh: LocalMesh, key: str) -> None:
    said = await example(installed, mesh, "stream", PROMPTMESH_API_KEY=key)
    assert " tokens\n" in said
    assert "first words: ['" in said


async def test_errors(installed: Installed, mesh: LocalMesh, key: str) -> None:
    said = (await example(installed, mesh, "errors", PROMPTMESH_API_KEY=key)).splitlines()
    assert said[0] == "POST_NOT_FOUND True"
    assert said[1].startswith("[('tag', ")
    assert said[2:] == ["AUDIENCE_MISMATCH", "NOT_FOUND MODEL_NOT_FOUND", "CREDENTIAL_INVALID"]


async def test_a_session_is_kept(installed: Installed, mesh: LocalMesh, new_person: NewPerson) -> None:
    """Refresh and log-out as the real service has them."""
    person = await new_person()
    program = f"""
from promptmesh import Promptmesh
with Promptmesh({mesh.url!r}, email={person.email!r}, password={PASSWORD!r}) as client:
    session = client._transport._session
    me = client.auth.get_me()
    first = session._tokens
    session.refuse(first.access)
    assert client.auth.get_me() == me
    second = session._tokens
    assert (second.access, second.refresh) != (first.access, first.refresh)
    client.log_out()
    assert client.auth.get_me() == me
"""
    await asyncio.to_thread(run, installed.python, "-W", "error", "-c", program)


async def test_readme(installed: Installed, mesh: LocalMesh, key: str, tmp_path: Path) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", (CLIENT / "README.md").read_text(), re.DOTALL)
    program = tmp_path / "readme.py"
    program.write_text(block.replace("http://localhost:8080", mesh.url).replace("pm_…", key))
    said = await asyncio.to_thread(run, installed.python, "-W", "error", program)
    assert len(said.split()) > 5


async def test_every_example_is_run() -> None:
    tested = {name.removeprefix("test_") for name in globals() if name.startswith("test_")}
    assert {one.stem for one in EXAMPLES.glob("*.py")} <= tested

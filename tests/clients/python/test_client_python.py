"""The wheel: alone, beside the servers' stubs, and typed. Against a mesh it is in tests/mesh/test_client_python.py."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.clients.python.fresh import BIN, CLIENT, EXAMPLES, ROOT, Installed, install, run


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    return install(tmp_path_factory.mktemp("client"))


def test_its_own_tests_pass_where_nothing_else_is(installed: Installed) -> None:
    installed.install("pytest", "pytest-asyncio")
    said = run(installed.python, "-m", "pytest", "-q", "-p", "no:cacheprovider", CLIENT / "tests", cwd=CLIENT)
    assert " passed" in said


@pytest.mark.parametrize("first", ["promptmesh.types", "promptmesh.auth.v1.auth_pb2"])
def test_it_lives_beside_the_servers_stubs(installed: Installed, first: str) -> None:
    """In one process, whichever comes first; and the servers' have their options."""
    code = f"""
import importlib
importlib.import_module({first!r})
import promptmesh
from promptmesh import types
from promptmesh.auth.v1 import auth_pb2
from promptmesh.access.v1 import access_pb2
method = auth_pb2.DESCRIPTOR.services_by_name["AuthService"].methods_by_name["GetMe"]
assert method.GetOptions().Extensions[access_pb2.access].audience == access_pb2.AUDIENCE_CALLER
theirs = auth_pb2.User(user_id="u", display_name="Ada")
assert types.User.FromString(theirs.SerializeToString()).display_name == "Ada"
promptmesh.Promptmesh("http://127.0.0.1:1").close()
"""
    run(installed.python, "-c", code, PYTHONPATH=str(ROOT / "gen"))


def test_the_servers_do_not_need_it() -> None:
    """Here, where the client is not installed, `promptmesh` is the stubs' namespace and nothing more."""
    run(
        sys.executable,
        "-c",
        "import promptmesh; assert promptmesh.__file__ is None; import promptmesh.auth.v1.auth_pb2",
    )


def test_the_servers_do_not_mind_it(installed: Installed) -> None:
    """In their own environment, before their stubs on the path: all services are found, with their access rules."""
    code = """
from services.mesh.reflection import all_service_descriptors
from promptmesh import Promptmesh
from promptmesh.access.v1 import access_pb2
methods = [method for service in all_service_descriptors() for method in service.methods]
assert len(methods) > 50 and all(method.GetOptions().HasExtension(access_pb2.access) for method in methods)
"""
    run(sys.executable, "-c", code, PYTHONPATH=str(installed.project / "src"))


def test_its_users_are_typed(installed: Installed, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.py"
    wrong.write_text(
        "from promptmesh import Promptmesh\n"
        "client = Promptmesh('http://localhost')\n"
        "client.posts.create(title=1)  # type: ignore[arg-type]\n"
        "client.posts.create(titel='x')  # type: ignore[call-arg]\n"
        "for post in client.posts.list():\n"
        "    post.nothing  # type: ignore[attr-defined]\n"
        "title: str = client.posts.get(post_id='p').title\n"
    )
    installed.install("types-protobuf", "grpc-stubs")
    command = [BIN / "mypy", "--python-executable", installed.python, "--cache-dir", ROOT / ".mypy_cache" / "clients"]
    users = [wrong, *sorted(EXAMPLES.glob("*.py"))]
    run(*command, "--strict", "--config-file=", "--scripts-are-modules", *users, cwd=tmp_path)
    project = installed.project
    run(*command, "--config-file", project / "pyproject.toml", "-p", "promptmesh", cwd=project / "src")

"""The TypeScript client: its own tests under Node, alone and against a real mesh; its examples; its package."""

from __future__ import annotations

import json
import re
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.local.testing import LocalMesh, local_mesh
from tools.node import NODE, ROOT, environment

PACKAGE = ROOT / "clients" / "typescript"
NPM = Path(NODE).parent.parent / "lib/node_modules/npm/bin/npm-cli.js"
EXAMPLES = sorted((PACKAGE / "examples").glob("*.mjs"))
TEST_TIMEOUT_MS = 60_000
RUN_TIMEOUT_S = 110
#: The web app's first load is 150 kB in all; most of the client is the protobuf runtime and the contracts. Those of
#: accounts and administration are an entry of their own, so that who only calls models does not load them.
GZIPPED_BYTES_MAX = 40_000
CALLS_GZIPPED_BYTES_MAX = 37_500
#: So that a token expires in the middle of a test, and no limit of the edge is met by accident.
ENVIRONMENT = {"PROMPTMESH_ACCESS_LIFETIME_S": "2"}
EDGE = {"rate_per_second": 10_000, "rate_burst": 20_000}

pytestmark = pytest.mark.skipif(
    not (PACKAGE / "dist" / "index.js").exists(), reason="the client is not built: `make client-ts` (`make test` does)"
)


@pytest.fixture(scope="module")
def mesh() -> Iterator[LocalMesh]:
    with local_mesh(environment=ENVIRONMENT, edge=EDGE) as running:
        yield running


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package as it is published."""
    folder = tmp_path_factory.mktemp("packed")
    _node(NPM, "pack", "--pack-destination", folder)
    (package,) = folder.glob("*.tgz")
    return package


@pytest.fixture(scope="module")
def fresh(packed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Somebody's own folder, with the package installed from its file, and the examples."""
    folder = tmp_path_factory.mktemp("fresh")
    (folder / "package.json").write_text('{"private": true, "type": "module"}')
    _node(NPM, "install", "--no-audit", "--no-fund", "--prefer-offline", packed, folder=folder)
    for example in EXAMPLES:
        (folder / example.name).write_text(example.read_text())
    return folder


def _node(*arguments: str | Path, variables: dict[str, str] | None = None, folder: Path = PACKAGE) -> str:
    """What a program under Node prints; the test fails with it where the program does."""
    done = subprocess.run(
        [str(NODE), *map(str, arguments)],
        cwd=folder,
        env={**environment(), **(variables or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=RUN_TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def _tests(*files: Path, variables: dict[str, str] | None = None) -> None:
    said = _node("--test", f"--test-timeout={TEST_TIMEOUT_MS}", *files, variables=variables)
    passed = re.search(r"^\D*pass (\d+)$", said, re.MULTILINE)
    assert passed, said
    assert int(passed[1]) > 0, said


def test_types_hold_in_the_tests_too() -> None:
    _node("node_modules/typescript/bin/tsc", "-p", "tsconfig.test.json")


def test_alone() -> None:
    _tests(*sorted((PACKAGE / "test").glob("*.test.ts")))


def test_against_a_mesh(mesh: LocalMesh) -> None:
    _tests(*sorted((PACKAGE / "test" / "mesh").glob("*.test.ts")), variables={"MESH_URL": mesh.url})


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs_with_the_installed_package(example: Path, fresh: Path, mesh: LocalMesh) -> None:
    _, token = mesh.register(f"ts-example-{example.stem}")
    variables = {"PROMPTMESH_URL": mesh.url, "PROMPTMESH_API_KEY": mesh.api_key(token)}
    assert _node(example.name, variables=variables, folder=fresh).strip()


def test_the_readme_shows_the_examples_as_they_run() -> None:
    readme = (PACKAGE / "README.md").read_text()
    assert EXAMPLES
    for example in EXAMPLES:
        assert f"```js\n{example.read_text()}```" in readme, f"README.md shows another {example.name}"


def test_the_package_holds_what_it_names_and_nothing_else(packed: Path) -> None:
    with tarfile.open(packed) as archive:
        names = {name.removeprefix("package/") for name in archive.getnames()}
    assert {"package.json", "README.md", "LICENSE", "dist/index.js", "dist/index.d.ts", "dist/accounts.js"} <= names
    assert not [name for name in names if name.startswith(("test", "src", "node_modules"))]


def test_the_bundle_stays_small() -> None:
    sizes = json.loads(_node("scripts/size.mjs"))
    assert sizes["with Session, watches, pages"]["gzipped_bytes"] < GZIPPED_BYTES_MAX, sizes
    assert sizes["createPromptmesh"]["gzipped_bytes"] < CALLS_GZIPPED_BYTES_MAX, sizes
    assert sizes["createPromptmesh"]["gzipped_bytes"] < sizes["with accounts too"]["gzipped_bytes"] - 5_000, sizes


def test_the_lock_names_no_registry_and_the_stubs_nothing_internal() -> None:
    assert '"resolved"' not in (PACKAGE / "package-lock.json").read_text()
    stubs = "".join(path.read_text() for path in (PACKAGE / "src" / "gen").rglob("*.js"))
    assert "PostService" in stubs
    for internal in ("ResolveApiKey", "WatchIdentities", "OpenAiService", "EventSourceService"):
        assert internal not in stubs

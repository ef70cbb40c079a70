"""Which tests go to the same worker."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.test_scheduling import WHOLE_FOLDERS, scope_of

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("nodeid", "scope"),
    [
        ("tests/mesh/test_tenants.py::test_it[a::b/c]", "tests/mesh"),
        ("tests/browser/deep/test_feed.py::test_it", "tests/browser"),
        ("tests/integration/mesh_grpc/test_process.py::test_it", "tests/integration/mesh_grpc/test_process.py"),
        ("tests/meshes/test_it.py::test_it", "tests/meshes/test_it.py"),
        ("tests/unit/test_house.py::TestIt::test_it", "tests/unit/test_house.py"),
    ],
)
def test_folders_of_one_mesh_stay_whole(nodeid: str, scope: str) -> None:
    assert scope_of(nodeid) == scope


def test_every_folder_with_a_mesh_for_the_session_is_named() -> None:
    """But for those whose tests run alone."""
    started = {file.parent for file in ROOT.glob("tests/*/conftest.py") if "with local_mesh(" in file.read_text()}
    alone = {folder for folder in started if all("chaos" in file.read_text() for file in folder.glob("test_*.py"))}
    assert started - alone == {ROOT / folder for folder in WHOLE_FOLDERS}

"""A plugin of pytest: which tests go to the same worker. `pytest -n 3 -p tools.test_scheduling --no-loadscope-reorder`.

Tests of a file share fixtures; tests of some folders share a whole mesh, which takes seconds to start, half a gigabyte
and processor time while it idles: one worker gets all of such a folder. Work is given out in the order of collection,
so that the slow folders begin first and the many small files at the end fill what is left.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

#: Folders whose tests share one mesh for a whole session.
WHOLE_FOLDERS = tuple(PurePosixPath("tests", name) for name in ("browser", "mesh", "observe", "openapi"))


class FolderScheduling(LoadScopeScheduling):  # type: ignore[misc] # xdist has no types
    """By file, but for the folders that stay whole."""

    def _split_scope(self, nodeid: str) -> str:
        return scope_of(nodeid)


def scope_of(nodeid: str) -> str:
    """What a test is never parted from: its folder, or its file."""
    file = PurePosixPath(nodeid.split("::", 1)[0])
    return str(next((folder for folder in WHOLE_FOLDERS if file.is_relative_to(folder)), file))


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> FolderScheduling:
    """In place of xdist's own."""
    return FolderScheduling(config, log)

"""A data folder of the test's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.local.data_folder import DataFolder


@pytest.fixture
def data(tmp_path: Path) -> DataFolder:
    """An empty data folder."""
    folder = DataFolder(tmp_path / "data")
    folder.make()
    return folder

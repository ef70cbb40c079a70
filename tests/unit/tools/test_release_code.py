"""A release's code, kept: the same bytes each time, and nothing in it but what runs."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import pytest

from tools import release_code
from tools.release_code import CODE, pack, python_path, unpack

FIXTURES = Path(__file__).parents[2] / "fixtures"
RELEASES = sorted(path.parent for path in FIXTURES.glob("*/database.sql.gz"))


def make(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)


def test_what_runs_is_in_it_and_nothing_else(tmp_path: Path) -> None:
    root = tmp_path / "root"
    kept = ["services/__init__.py", "services/a/queries/q.sql", "gen/x_pb2.py", "gateway/web/not_built.html"]
    left = ["services/__pycache__/a.pyc", "gen/x_pb2.pyi", "gateway/web/src/app.tsx", "tests/t.py", "secrets.json"]
    make(root, *kept, *left)
    once = pack(root)
    for path in root.rglob("*"):
        os.utime(path, (1, 1))
    assert pack(root) == once
    (tmp_path / CODE).write_bytes(once)
    unpack(tmp_path / CODE, tmp_path / "there")
    there = [str(path.relative_to(tmp_path / "there")) for path in (tmp_path / "there").rglob("*") if path.is_file()]
    assert sorted(there) == sorted(kept)
    assert python_path(tmp_path / "there").split(os.pathsep)[1] == str(tmp_path / "there" / "gen")


def test_what_became_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "services/a.py")
    monkeypatch.setattr(release_code, "BYTES_MAX", 10)
    with pytest.raises(ValueError, match="10 are allowed"):
        pack(tmp_path)


@pytest.mark.parametrize("release", RELEASES, ids=lambda path: path.name)
def test_every_release_has_its_code(release: Path) -> None:
    with tarfile.open(release / CODE) as archive:
        members = archive.getmembers()
    names = {one.name for one in members}
    assert {"services/auth/main.py", "services/local/__main__.py", "gateway/render.py", "gen/promptmesh.binpb"} <= names
    assert {(one.mode, one.uid, one.gid, one.mtime, one.uname) for one in members} == {(0o644, 0, 0, 0, "")}

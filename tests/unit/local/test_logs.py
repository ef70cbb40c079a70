"""Log files: appended by their process, rotated and followed by us."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.local.logs import Follower, Rotation, open_log, rotate, size_of, tail


def test_rotation_keeps_three_older_ones_and_the_writer_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "auth-0.log"
    writer = open_log(path)
    try:
        for number in range(5):
            os.write(writer, f"line {number}\n".encode())
            assert rotate(path, limit_bytes=1)
        os.write(writer, b"last\n")
    finally:
        os.close(writer)
    assert path.read_text() == "last\n"
    assert [Path(f"{path}.{number}").read_text() for number in (1, 2, 3)] == ["line 4\n", "line 3\n", "line 2\n"]
    assert not Path(f"{path}.4").exists()


def test_a_small_log_is_not_rotated(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    assert not rotate(path)
    path.write_text("x")
    assert not rotate(path)


@contextlib.contextmanager
def files_of_at_most(size_bytes: int) -> Iterator[None]:
    """Writes beyond it fail in the middle, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_on_a_full_disk_everything_stays_and_it_is_said_once(tmp_path: Path) -> None:
    path = tmp_path / "auth-0.log"
    rotation = Rotation(tmp_path, limit_bytes=2)
    for text in ("first", "second", "third"):
        path.write_text(text)
        assert rotation.look() == []
    path.write_text("long" * 30_000)
    kept = {one.name: one.read_bytes() for one in tmp_path.iterdir()}
    for _ in range(2):  # once more after it worked again
        with files_of_at_most(100_000):
            said = [rotation.look() for _ in range(5)]
            assert said[0] == ["auth-0.log has grown long and cannot be put aside: File too large"]
            assert said[1:] == [[]] * 4
            assert {one.name: one.read_bytes() for one in tmp_path.iterdir()} == kept
        assert rotation.look() == []
        assert Path(f"{path}.1").read_bytes() == b"long" * 30_000
        path.write_text("long" * 30_000)
        kept = {one.name: one.read_bytes() for one in tmp_path.iterdir()}


def test_a_copy_is_the_owners_alone_from_its_first_byte_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "auth-0.log"
    path.write_text("said")
    Path(f"{path}.0").write_text("left by one that was killed while it copied")
    Path(f"{path}.0").chmod(0o600)
    copied = []

    def copy(source: Path, target: Path) -> None:
        copied.append(target.stat().st_mode & 0o777)
        target.write_bytes(source.read_bytes())

    monkeypatch.setattr(shutil, "copyfile", copy)
    assert rotate(path, limit_bytes=1)
    assert copied == [0o600]
    assert [(one.name, one.read_text()) for one in sorted(tmp_path.iterdir())] == [
        ("auth-0.log", ""),
        ("auth-0.log.1", "said"),
    ]
    assert Path(f"{path}.1").stat().st_mode & 0o777 == 0o600


def test_the_tail_begins_where_it_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    assert tail(path) == []
    path.write_text("old\n")
    begin = size_of(path)
    with path.open("a") as file:
        file.write("".join(f"{number}\n" for number in range(30)))
    assert tail(path, 3) == ["27", "28", "29"]
    assert tail(path, 100, since=begin) == [str(number) for number in range(30)]
    path.write_text("cut\n")
    assert tail(path, since=begin + 100) == ["cut"]


def test_a_follower_gives_whole_lines_also_after_the_log_was_cut(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_text("1\n2\n3\n")
    follower = Follower(path)
    assert follower.skip_to_tail(2) == ["2", "3"]
    with path.open("a") as file:
        file.write("4\nhal")
        file.flush()
        assert follower.new_lines() == ["4"]
        file.write("f\n")
        file.flush()
        assert follower.new_lines() == ["half"]
    path.write_text("5\n")
    assert follower.new_lines() == ["5"]
    assert follower.new_lines() == []

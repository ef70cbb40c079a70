"""Log files: appended by their process, rotated and followed by us."""

from __future__ import annotations

import os
from pathlib import Path

from services.local.logs import Follower, open_log, rotate, size_of, tail


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

"""Arguments and password files of the sub-commands."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.auth.commands import CommandError, password_in, run_command


@pytest.mark.parametrize(
    ("content", "password"),
    [(b"secret", "secret"), (b"secret\n", "secret"), (b"secret\r\nmore\n", "secret"), (b" a b \n", " a b "), (b"", "")],
)
def test_the_first_line_is_the_password(tmp_path: Path, content: bytes, password: str) -> None:
    file = tmp_path / "password"
    file.write_bytes(content)
    assert password_in(file) == password


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="cannot be read"):
        password_in(tmp_path / "missing")


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_bytes(b"\xff" * 20)
    with pytest.raises(CommandError, match="UTF-8"):
        password_in(file)


@pytest.mark.parametrize(
    "arguments", [["promote"], ["bootstrap-admin"], ["bootstrap-admin", "--email", "a@example.test"], ["--nothing"]]
)
def test_arguments_that_are_none(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run_command(arguments)
    assert ended.value.code == 2
    assert "usage" in capsys.readouterr().err

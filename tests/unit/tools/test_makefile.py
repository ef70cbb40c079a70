"""What `make` does with the exit statuses of what it runs in loops."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
BUF = """#!/bin/sh
echo "$@" >> asked
case "$*" in *"$BROKEN"*) exit 100;; esac
"""


@pytest.mark.parametrize(("broken", "fails"), [("v0.1.0", True), ("v0.2.0", True), ("v9", False)])
def test_lint_fails_where_one_release_breaks(tmp_path: Path, broken: str, fails: bool) -> None:
    """Whichever it is: not the last one alone."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in {"buf": BUF, "ruff": "#!/bin/sh\n", "mypy": "#!/bin/sh\n"}.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    for release in ("v0.1.0", "v0.2.0"):
        (tmp_path / "tests" / "fixtures" / release).mkdir(parents=True)
        (tmp_path / "tests" / "fixtures" / release / "promptmesh.binpb").touch()
    done = subprocess.run(
        ["make", "--file", ROOT / "Makefile", "--old-file", "setup", "--old-file", "web", "lint", f"BIN={programs}"],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "BROKEN": f"{broken}/promptmesh.binpb"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode != 0) is fails, done.stderr
    assert "tests/fixtures/v0.1.0/promptmesh.binpb" in (tmp_path / "asked").read_text()

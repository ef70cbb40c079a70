"""`promptmesh plans`: what is typed wrong is said before anything is asked."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from services.local.commands.plans import plans
from services.local.errors import PlainError


@pytest.mark.parametrize("given", [(), ("--user", "a", "--org", "b")])
def test_one_of_person_and_organisation_is_named(given: tuple[str, ...], tmp_path: Path) -> None:
    done = CliRunner().invoke(plans, ["set", "pro", "--reason", "x", "--data", str(tmp_path), *given])
    assert (done.exit_code, "Name one of --user and --org." in done.output) == (2, True)


def test_an_empty_file_is_said_to_be_empty(tmp_path: Path) -> None:
    file = tmp_path / "plans.yaml"
    file.write_text("\n")
    done = CliRunner().invoke(plans, ["apply", str(file), "--data", str(tmp_path)])
    assert isinstance(done.exception, PlainError)
    assert "is empty" in str(done.exception)

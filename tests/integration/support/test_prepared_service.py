"""A process that was forked from a prepared one is to its starter what one is that was started."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.integration.support.prepared_service import Preparer, preparer_of
from tests.integration.support.service_process import run_prepared_command, run_service_command


@pytest.mark.timeout(300)  # a machine that others use too starts eight processes in minutes
def test_a_command_says_and_answers_the_same() -> None:
    for arguments in ([], ["bootstrap-admin"], ["bootstrap-admin", "--help"], ["audit", "verify"]):
        started = run_service_command("auth", {}, *arguments)
        forked = run_prepared_command("auth", {}, *arguments)
        assert (forked.returncode, forked.stdout, forked.stderr) == (started.returncode, started.stdout, started.stderr)


def test_it_has_the_environment_of_its_start_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    preparer_of("auth")
    monkeypatch.setenv("PROMPTMESH_WORKER", "ours")  # settings of the tests' own process reach nobody

    said = run_prepared_command("auth", {"PROMPTMESH_MESH_SECRET": "short"}).stderr

    assert "PROMPTMESH_MESH_SECRET is not set" not in said
    assert "PROMPTMESH_WORKER is not set" in said
    assert "PROMPTMESH_MESH_SECRET is not set" in run_prepared_command("auth", {}).stderr


def test_many_are_asked_for_at_once() -> None:
    with ThreadPoolExecutor(8) as threads:
        done = list(threads.map(lambda _: run_prepared_command("auth", {}, "bootstrap-admin", "--help"), range(16)))
    assert {one.returncode for one in done} == {0}
    assert len({one.stdout for one in done}) == 1


def test_without_its_preparer_nothing_is_waited_for_for_ever(tmp_path: Path) -> None:
    preparer = Preparer("auth")
    out = os.open(tmp_path / "out", os.O_CREAT | os.O_WRONLY)
    process = preparer.start((), {}, out, out)
    os.close(out)
    assert process.wait(60.0) == 78
    preparer.close()
    with pytest.raises((OSError, ValueError)):
        preparer.start((), {}, 1, 2)

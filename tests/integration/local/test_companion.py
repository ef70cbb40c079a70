"""A mesh that was started for a program ends with it, even if nobody could tell it to."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from services.local.companion import COMPANION_SETTING, CompanionError, watch_companion
from services.local.data_folder import DataFolder
from services.local.state import read_state

END_TIMEOUT_S = 120.0


def sleeper() -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-I", "-c", "import time; time.sleep(600)"])


async def test_it_is_told_once_the_program_has_ended() -> None:
    program, gone = sleeper(), asyncio.Event()
    try:
        unwatch = watch_companion({COMPANION_SETTING: str(program.pid)}, gone.set)
        await asyncio.sleep(0)
        assert not gone.is_set()
        program.kill()
        await asyncio.wait_for(gone.wait(), END_TIMEOUT_S)
        unwatch()
    finally:
        program.kill()
        program.wait()


async def test_without_the_setting_nobody_is_watched() -> None:
    watch_companion({}, lambda: pytest.fail("nobody was to be watched"))()


@pytest.mark.parametrize("told", ["me", "4194305"])  # above the most that Linux gives
async def test_a_program_that_is_none_is_named(told: str) -> None:
    with pytest.raises(CompanionError, match=f"{COMPANION_SETTING} is .?{told}"):
        watch_companion({COMPANION_SETTING: told}, lambda: None)


@pytest.mark.timeout(400)
def test_the_mesh_of_a_test_that_was_killed_ends(tmp_path: Path) -> None:
    program = (
        "import os, pathlib, signal, sys\n"
        "from services.local.testing import local_mesh\n"
        "with local_mesh(pathlib.Path(sys.argv[1])):\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    folder = tmp_path / "data"
    done = subprocess.run([sys.executable, "-c", program, str(folder)], env=dict(os.environ), check=False)
    assert done.returncode < 0, "it was to be killed"
    state = read_state(DataFolder(folder).state)
    assert state is not None
    family = [state.pid, *(one.pid for one in state.processes)]
    left = [psutil.Process(pid) for pid in family if psutil.pid_exists(pid)]
    _, alive = psutil.wait_procs(left, timeout=END_TIMEOUT_S)
    assert not alive, "the mesh goes on without the test that it was started for"

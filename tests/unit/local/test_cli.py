"""The command line itself: what it says without a mesh, and what it keeps out of memory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from services.local.cli import cli
from services.local.embedded.binaries import MissingBinaryError, envoy, postgres_program, redis_server

COMMANDS = ["up", "status", "logs", "down", "backup", "restore", "post", "watch", "chat", "admin", "config", "events"]


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "services.local", *arguments],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize(
    "command", [[], *([one] for one in COMMANDS), ["admin", "reset-password"], ["config", "apply"]]
)
def test_every_command_explains_itself(command: list[str]) -> None:
    shown = CliRunner().invoke(cli, [*command, "--help"])
    assert shown.exit_code == 0
    assert shown.output.startswith("Usage: ")


def test_up_keeps_grpc_and_the_stubs_out_of_the_supervisor() -> None:
    program = (
        "import sys\n"
        "from services.local.cli import cli\n"
        "cli.get_command(None, 'up')\n"
        "unwanted = ('grpc', 'promptmesh', 'google', 'cryptography')\n"
        "print([name for name in sys.modules if name.split('.')[0] in unwanted])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("command", [["down"], ["post", "x"], ["chat", "x"], ["admin", "reset-password"]])
def test_without_a_mesh_it_says_how_to_start_one(command: list[str], tmp_path: Path) -> None:
    done = run(*command, "--data", str(tmp_path))
    assert done.returncode == 1
    assert done.stderr == (
        f"Error: No mesh runs on {tmp_path}. Start it with `promptmesh up --data {tmp_path}`, or name another folder "
        f"with --data or PROMPTMESH_DATA.\n"
    )


def test_the_status_of_no_mesh_is_3(tmp_path: Path) -> None:
    assert run("status", "--data", str(tmp_path)).returncode == 3
    done = run("status", "--json", "--data", str(tmp_path))
    assert (done.returncode, done.stdout) == (3, f'{{"running": false, "data": "{tmp_path}"}}\n')


def test_wrong_settings_of_up_are_all_named_at_once(tmp_path: Path) -> None:
    done = run("up", "--workers", "0", "--data", str(tmp_path / "d"), PROMPTMESH_LOG_LEVEL="loud")
    assert done.returncode == 1
    assert "--workers is 0" in done.stderr
    assert "PROMPTMESH_LOG_LEVEL is 'loud'" in done.stderr
    assert not (tmp_path / "d").exists()


def test_a_program_named_by_a_setting_is_used(tmp_path: Path) -> None:
    program = tmp_path / "postgres"
    program.touch(mode=0o755)
    assert postgres_program("postgres", {"PROMPTMESH_POSTGRES_BIN": str(tmp_path)}) == program
    assert redis_server({"PROMPTMESH_REDIS_SERVER": str(program)}) == program
    assert envoy({"PROMPTMESH_ENVOY": str(program)}) == program


def test_a_setting_that_leads_nowhere_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingBinaryError, match=r"PROMPTMESH_ENVOY leads to .*absent"):
        envoy({"PROMPTMESH_ENVOY": str(tmp_path / "absent")})


def test_a_machine_without_the_wheels_is_told_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingBinaryError) as raised:
        postgres_program("postgres", {})
    message = str(raised.value)
    for part in ("Linux x86-64", "PROMPTMESH_POSTGRES_BIN to the folder of its programs", "PROMPTMESH_DATABASE_URL"):
        assert part in message
    with pytest.raises(MissingBinaryError, match="set PROMPTMESH_ENVOY to the path of its program"):
        envoy({})

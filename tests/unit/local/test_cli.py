"""The command line itself: what it says without a mesh, and what it keeps out of memory."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from services.local.api import ApiError
from services.local.commands.config import placed_in
from services.local.commands.events import tell
from services.local.data_folder import DataFolder
from services.local.embedded.binaries import MissingBinaryError, envoy, postgres_program, redis_server
from services.local.errors import PlainError
from services.local.group import cli

PROGRAM = "promptmesh" if shutil.which("promptmesh") else f"{sys.executable} -m services.local"
COMMANDS = ["up", "status", "logs", "down", "backup", "restore", "post", "watch", "chat", "admin", "config", "events"]
COMMANDS += ["provider-keys", "usage"]


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
    "command",
    [[], *([one] for one in COMMANDS), ["admin", "reset-password"], ["config", "apply"]]
    + [["config", "import-prices"], ["config", "rollback"], ["config", "versions"]]
    + [["provider-keys", one] for one in ("add", "list", "remove")],
)
def test_every_command_explains_itself(command: list[str]) -> None:
    shown = CliRunner().invoke(cli, [*command, "--help"])
    assert shown.exit_code == 0
    assert shown.output.startswith("Usage: ")


def test_up_keeps_grpc_and_the_stubs_out_of_the_supervisor() -> None:
    program = (
        "import sys\n"
        "from services.local.group import cli\n"
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
        f"Error: No mesh runs on {tmp_path}. Start it with `{PROGRAM} up --data {tmp_path}`, or name another folder "
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


def test_summaries_of_the_commands_are_whole() -> None:
    for command in ([], ["admin"], ["config"], ["events"], ["provider-keys"]):
        shown = CliRunner().invoke(cli, [*command, "--help"], terminal_width=80).output
        assert "..." not in shown.partition("Commands:")[2]


def test_a_providers_key_is_no_argument_and_not_blank(tmp_path: Path) -> None:
    folder = ["--data", str(tmp_path)]
    shown = CliRunner().invoke(cli, ["provider-keys", "add", "openai", "sk-secret-12345678", *folder])
    assert shown.exit_code == 2
    shown = CliRunner().invoke(cli, ["provider-keys", "add", "openai", *folder], input=" \n")
    assert shown.exit_code == 2
    assert "Standard input is blank" in shown.output


def test_prices_are_imported_without_a_mesh(tmp_path: Path) -> None:
    file, costs = tmp_path / "models.yaml", tmp_path / "map.json"
    file.write_text(
        "providers: [{name: p, kind: litellm}]\nmodels:\n- {name: m, provider: p, upstream_model: claude}\n"
    )
    costs.write_text(
        '{"claude": {"mode": "chat", "litellm_provider": "anthropic", "input_cost_per_token": 3e-6,'
        ' "output_cost_per_token": 1.5e-5}}'
    )
    done = run("config", "import-prices", "m", "--file", str(file), "--map", str(costs), "--write")
    assert (done.returncode, done.stdout) == (0, "")
    assert "price unknown → $3/15" in done.stderr
    assert "price: {input_per_million_usd: 3, output_per_million_usd: 15}" in file.read_text()
    done = run("config", "import-prices", "gone", "--file", str(file), "--map", str(costs))
    assert done.returncode == 1
    assert "has no model gone" in done.stderr


def test_a_negative_number_of_log_lines_is_a_wrong_usage(tmp_path: Path) -> None:
    done = run("logs", "-n", "-3", "edge", "--data", str(tmp_path))
    assert done.returncode == 2
    assert "-3 is not in the range x>=0" in done.stderr


@pytest.mark.parametrize("command", ["post", "chat"])
@pytest.mark.parametrize("text", ["", " \n"])
def test_a_blank_text_is_refused_before_any_call(command: str, text: str, tmp_path: Path) -> None:
    done = run(command, text, "--data", str(tmp_path))
    assert (done.returncode, done.stdout) == (2, "")
    assert "Error: TEXT is blank; expected" in done.stderr


def test_another_mesh_that_cannot_be_reached_is_named_without_grpcs_words(tmp_path: Path) -> None:
    with socket.socket() as held:  # bound, and nothing listens
        held.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{held.getsockname()[1]}"
        done = run("chat", "x", "--data", str(tmp_path), PROMPTMESH_URL=url, PROMPTMESH_API_KEY="pm_x")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"Error: PROMPTMESH_URL is {url}, which cannot be reached: nothing listens there (connection refused). "
        "Is that right, and does a mesh serve there?\n"
    )


def test_an_api_key_cannot_administer(tmp_path: Path) -> None:
    done = run(
        "config", "show", "--data", str(tmp_path), PROMPTMESH_URL="http://127.0.0.1:1", PROMPTMESH_API_KEY="pm_x"
    )
    assert done.returncode == 1
    assert "API keys cannot administer a mesh: set PROMPTMESH_EMAIL and PROMPTMESH_PASSWORD" in done.stderr


def test_an_empty_configuration_is_named(tmp_path: Path) -> None:
    (file := tmp_path / "models.yaml").touch()
    done = run("config", "apply", str(file), "--data", str(tmp_path))
    assert done.returncode == 1
    assert done.stderr.startswith(f"Error: {file} is empty")


def test_faults_of_a_configuration_have_file_and_line() -> None:
    violations = [("models[0].price", "line 3: is not a number"), ("examples", "is missing")]
    with pytest.raises(ApiError) as raised, placed_in(Path("m.yaml")):
        raise ApiError("2 faults (CONFIG_INVALID)", reason="CONFIG_INVALID", violations=violations)
    assert str(raised.value) == (
        "2 faults (CONFIG_INVALID)\n  m.yaml:3: models[0].price: is not a number\n  m.yaml: examples: is missing"
    )


def test_what_is_no_archive_is_called_that(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    for content in ("", "no archive" * 100):
        file.write_text(content)
        done = run("restore", str(file), "--data", str(tmp_path / "data"))
        assert done.returncode == 1
        assert f"{file} is no backup of Promptmesh (not a tar archive)." in done.stderr


def test_a_mesh_that_runs_already_is_not_said_to_start(tmp_path: Path) -> None:
    with DataFolder(tmp_path).locked():
        done = run("up", "--data", str(tmp_path))
    assert done.returncode == 1
    assert done.stderr.startswith("Error: A mesh already runs on ")


def test_a_dead_letter_that_is_not_there_is_an_error() -> None:
    none = {"service": "inference", "letters": 0, "event_ids": []}
    done = [{"service": "prompts", "letters": 1, "event_ids": ["a"]}, none]
    tell("discarded", ["a"], done)
    tell("will be done again", [], [none])
    with pytest.raises(PlainError, match=r"no such dead letter in prompts, inference: b\. 1 of the others discarded\."):
        tell("discarded", ["a", "b"], done)


def test_ctrl_c_is_130_while_logs_are_followed(tmp_path: Path) -> None:
    data = DataFolder(tmp_path)
    data.make()
    data.log("edge").write_text("one line\n")
    with started("logs", "--follow", "--data", str(tmp_path)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "one line\n"
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=60) == ("", "")
        assert process.returncode == 130


def test_ctrl_c_is_130_while_the_program_is_still_imported() -> None:
    program = (
        "import os, signal, sys\n"
        "from services.local import cli\n"
        "class Hit:\n"  # Ctrl-C comes as click is imported
        "    def find_spec(self, name, path, target=None):\n"
        "        if name == 'click': os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Hit())\n"
        "cli.main()"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def started(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "services.local", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

"""The whole mesh on one machine, as a person has it: the command line, start to end."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from services.local.commands.down import is_alive
from services.local.data_folder import DataFolder
from services.local.embedded.postgres import processes_in
from services.local.plan import DATABASE, embedded_postgres
from services.local.secrets import load_or_make_secrets
from services.local.testing import LocalMesh, local_mesh

pytestmark = pytest.mark.timeout(300)

COMMAND_TIMEOUT_S = 120.0


@pytest.fixture(scope="module")
def mesh() -> Iterator[LocalMesh]:
    """A mesh that the tests of this file share; those that end one start their own."""
    with local_mesh() as running:
        yield running


def run(mesh: LocalMesh | Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    data = mesh.data if isinstance(mesh, LocalMesh) else mesh
    return subprocess.run(
        [sys.executable, "-m", "services.local", *arguments, "--data", str(data)],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=COMMAND_TIMEOUT_S,
    )


@contextmanager
def started(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "services.local", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:  # closes the pipes and waits
        try:
            yield process
        finally:
            process.kill()


def processes_of(status: dict[str, object]) -> list[int]:
    processes = status["processes"]
    assert isinstance(processes, list)
    return [int(str(status["pid"])), *(one["pid"] for one in processes)]


def test_the_three_commands_that_up_prints_work(mesh: LocalMesh) -> None:
    posted = run(mesh, "post", "Explain recursion to a cat, in three sentences.")
    assert posted.returncode == 0, posted.stderr
    assert re.fullmatch(r"[0-9a-f-]{36}\n", posted.stdout)
    watched = run(mesh, "watch")
    assert watched.returncode == 0, watched.stderr
    assert "Revision 1 is published." in watched.stdout
    assert "(example by demo;" in watched.stdout
    chatted = run(mesh, "chat", "Say hello in five languages.")
    assert chatted.returncode == 0, chatted.stderr
    assert chatted.stdout.strip()
    assert "tokens in" in chatted.stderr


def test_status_shows_every_process(mesh: LocalMesh) -> None:
    status = mesh.status()
    assert status["ready"] is True
    assert [one["name"] for one in status["processes"]] == [
        "postgres",
        "redis-state",
        "redis-cache",
        "mail",
        "auth-0",
        "prompts-0",
        "moderation-0",
        "inference-0",
        "edge",
    ]
    assert all(one["ready"] and one["memory_mb"] > 0 and one["uptime_s"] > 0 for one in status["processes"])
    text = run(mesh, "status").stdout
    assert status["url"] in text
    assert "inference-0" in text


def test_no_secret_is_readable_by_others_or_shows_in_a_process_list(mesh: LocalMesh) -> None:
    folder = DataFolder(mesh.data)
    secrets = [value for value in json.loads(folder.secrets.read_text()).values() if isinstance(value, str)]
    secrets.append(mesh.admin_password)
    for path in mesh.data.rglob("*"):
        if path.is_file() and folder.postgres not in path.parents:
            text = path.read_text(errors="replace")
            if any(secret in text for secret in secrets):
                assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
                assert path.parent != folder.logs, f"a secret stands in {path}"
    for pid in processes_of(mesh.status()):
        line = " ".join(psutil.Process(pid).cmdline())
        assert not any(secret in line for secret in secrets)


def test_a_killed_service_comes_back_and_is_reported(mesh: LocalMesh) -> None:
    before = mesh.processes()["moderation-0"]
    mesh.kill("moderation-0")
    end = time.monotonic() + 60
    while not ((now := mesh.processes()["moderation-0"])["ready"] and now["restarts"] == before["restarts"] + 1):
        assert time.monotonic() < end, now
    assert now["pid"] != before["pid"]
    assert now["last_exit"] == "was ended by SIGKILL"
    assert "moderation-0 was ended by SIGKILL; starting it again" in mesh.log("mesh")
    while not mesh.healthy():
        assert time.monotonic() < end


def test_logs_are_printed_by_service(mesh: LocalMesh) -> None:
    shown = run(mesh, "logs", "prompts")
    assert shown.returncode == 0
    assert shown.stdout
    everything = run(mesh, "logs", "-n", "2")
    assert re.search(r"^edge +\| |^postgres +\| ", everything.stdout, re.MULTILINE)
    unknown = run(mesh, "logs", "nothing")
    assert unknown.returncode == 2
    assert "prompts-0" in unknown.stderr


def test_a_second_up_on_the_same_folder_says_who_runs_it(mesh: LocalMesh) -> None:
    for mode in ((), ("--detach",)):
        again = run(mesh, "up", *mode)
        assert again.returncode == 1
        assert f"A mesh already runs on {mesh.data} (process {mesh.status()['pid']})" in again.stderr


def test_an_edge_port_in_use_is_refused(mesh: LocalMesh, tmp_path: Path) -> None:
    refused = run(tmp_path / "data", "up", "--edge-port", str(mesh.edge_port))
    assert refused.returncode == 1
    assert f"Port {mesh.edge_port} is in use" in refused.stderr
    assert run(tmp_path / "data", "status").returncode == 3


def test_errors_of_a_call_are_for_people(mesh: LocalMesh) -> None:
    unknown = run(mesh, "chat", "Hello", "--model", "no-such-model")
    assert unknown.returncode == 1
    assert re.search(r"^Error: .*no-such-model.*\([A-Z_]+\)", unknown.stderr, re.MULTILINE)
    blank = run(mesh, "post", "", "--title", "x")
    assert (blank.returncode, "TEXT is blank" in blank.stderr) == (2, True)
    long = run(mesh, "post", "x", "--title", "x" * 201)
    assert long.returncode == 1
    assert "title" in long.stderr
    forged = run(mesh, "post", "x", PROMPTMESH_API_KEY="pm_forged")
    assert forged.returncode == 1
    assert "(CREDENTIAL_INVALID)" in forged.stderr


def test_an_api_key_is_used_where_it_is_set(mesh: LocalMesh) -> None:
    _, token = mesh.register("keyed")
    key = mesh.api_key(token, "posts:write", "posts:read")
    posted = run(mesh, "post", "Name three colours.", "--watch", PROMPTMESH_API_KEY=key, PROMPTMESH_URL=mesh.url)
    assert posted.returncode == 0, posted.stderr
    assert "is published" in posted.stdout


def test_another_meshs_address_never_gets_our_admins_password(mesh: LocalMesh) -> None:
    refused = run(mesh, "post", "x", PROMPTMESH_URL=mesh.url)
    assert refused.returncode == 1
    assert "PROMPTMESH_API_KEY" in refused.stderr


def test_ctrl_c_cancels_a_chat() -> None:
    # So slow that the answer goes on however late we come to interrupt it.
    with local_mesh(environment={"PROMPTMESH_DEMO_TOKENS_PER_SECOND": "2"}) as slow:  # noqa: SIM117
        with started("chat", "Say hello. " * 3000, "--data", str(slow.data)) as process:
            assert process.stdout is not None
            assert process.stdout.read(1), process.communicate()[1]  # the answer has begun
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=COMMAND_TIMEOUT_S)
            assert process.returncode == 130
            assert "Cancelled." in said


def test_the_admins_password_is_reset(mesh: LocalMesh) -> None:
    done = run(mesh, "admin", "reset-password")
    assert done.returncode == 0, done.stderr
    new = json.loads(DataFolder(mesh.data).admin.read_text())["password"]
    assert new != mesh.admin_password
    assert (
        mesh.call("POST", "/api/v1/sessions", {"email": mesh.admin_email, "password": mesh.admin_password}).status
        == 401
    )
    mesh.admin_password = new
    assert mesh.admin_token()
    assert run(mesh, "post", "Still works?").returncode == 0


def test_models_are_applied_and_shown(mesh: LocalMesh, tmp_path: Path) -> None:
    shown = run(mesh, "config", "show")
    assert shown.returncode == 0, shown.stderr
    file = tmp_path / "models.yaml"
    file.write_text("models: 7\n")
    refused = run(mesh, "config", "apply", str(file))
    assert refused.returncode == 1
    assert "models" in refused.stderr
    file.write_text(shown.stdout)
    applied = run(mesh, "config", "apply", str(file))
    assert applied.returncode == 0, applied.stderr
    assert "is in force" in applied.stdout


def test_down_leaves_nothing_and_a_backup_serves_again_beside_the_first(tmp_path: Path) -> None:
    with local_mesh(tmp_path / "first", workers=2) as first:
        posted = run(first, "post", "Name a river.", "--watch").stdout.split()[0]
        backup = run(first, "backup", str(tmp_path / "mesh.backup"))
        assert backup.returncode == 0, backup.stderr
        assert run(tmp_path / "second", "restore", str(tmp_path / "mesh.backup")).returncode == 0
        assert run(first, "restore", str(tmp_path / "mesh.backup"), "--force").returncode == 1
        with local_mesh(tmp_path / "second") as second:  # side by side
            for one in (first, second):
                answer = one.call("GET", f"/api/v1/posts/{posted}")
                assert (answer.status, answer.body["state"]) == (200, "POST_STATE_PUBLISHED")
            assert second.log_in(first.admin_email, first.admin_password)
        status = first.status()
        assert len(status["processes"]) == 13
        down = run(first, "down")
        assert down.returncode == 0, down.stderr
    assert not [pid for pid in processes_of(status) if is_alive(pid)]
    assert processes_in(DataFolder(tmp_path / "first").postgres) == []
    for one in status["processes"]:
        with pytest.raises(OSError), socket.create_connection(("127.0.0.1", one["port"]), timeout=1):
            pass
    assert run(first, "down").returncode == 1


def test_ctrl_c_ends_a_mesh_in_the_foreground(tmp_path: Path) -> None:
    with started("up", "--json", "--data", str(tmp_path / "data")) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, process.communicate()[1]
        summary = json.loads(line)
        assert summary["url"].startswith("http://localhost:")
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=COMMAND_TIMEOUT_S)
        assert process.returncode == 0
    assert not [one for one in summary["processes"] if is_alive(one["pid"])]


def test_external_parts_are_used_instead_of_embedded_ones(database_url: str, redis_url: str, tmp_path: Path) -> None:
    environment = {
        "PROMPTMESH_DATABASE_URL": database_url,
        "PROMPTMESH_REDIS_URL": redis_url,
        "PROMPTMESH_REDIS_CACHE_URL": redis_url,
    }
    with local_mesh(tmp_path / "data", environment=environment) as mesh:
        assert list(mesh.processes()) == ["mail", "auth-0", "prompts-0", "moderation-0", "inference-0", "edge"]
        posted = run(mesh, "post", "Name a mountain.", "--watch")
        assert "is published" in posted.stdout, posted.stderr
        assert not DataFolder(mesh.data).postgres.exists()
        refused = run(mesh, "backup", str(tmp_path / "mesh.backup"))
        assert refused.returncode == 1
        assert "back that up with its own tools" in refused.stderr
        forgotten = run(mesh, "admin", "reset-password")
        assert forgotten.returncode == 1
        assert "without postgres, redis-state, redis-cache of its own" in forgotten.stderr
        assert run(mesh, "admin", "reset-password", **environment).returncode == 0


def test_dead_letters_are_listed_done_again_and_discarded(mesh: LocalMesh) -> None:
    assert json.loads(run(mesh, "events", "list", "--json").stdout) == {"letters": []}
    folder = DataFolder(mesh.data)
    cluster = embedded_postgres(folder, load_or_make_secrets(folder), mesh.processes()["postgres"]["port"])
    ids = [f"00000000-0000-7000-8000-00000000000{number}" for number in (1, 2)]
    for one in ids:
        cluster.run_sql(
            "INSERT INTO prompts.dead_letters (consumer, event_id, producer, org_id, type, aggregate_id, partition,"
            " position, envelope, reason, error, attempts) VALUES"
            f" ('prompts.test', '{one}', 'moderation', '', '', '', 0, 1, '', 'DECODE', 'cannot be read', 1)",
            DATABASE,
        )
    listed = json.loads(run(mesh, "events", "list", "--json").stdout)["letters"]
    assert [(one["service"], one["event_id"], one["reason"]) for one in listed] == [
        ("prompts", one, "DECODE") for one in ids
    ]
    assert "cannot be read" in run(mesh, "events", "list").stdout
    assert run(mesh, "events", "retry", ids[0]).stdout == "1 event will be done again.\n"
    assert run(mesh, "events", "discard", *ids, "--service", "prompts").stdout == "2 events discarded.\n"
    assert json.loads(run(mesh, "events", "list", "--json").stdout) == {"letters": []}

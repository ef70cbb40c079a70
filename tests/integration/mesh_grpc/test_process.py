"""A whole process of a service, from its settings to its end: real PostgreSQL, real Redis, SIGTERM."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
WAIT_S = 30.0
SERVICE = """
import asyncio
from typing import ClassVar

from promptmesh.prompts.v1 import posts_pb2, posts_pb2_grpc
from services.mesh.failpoints import Failpoint
from services.mesh.run import run
from services.mesh.settings import MeshSettings

POINT = Failpoint("test.started")


class Settings(MeshSettings):
    service: ClassVar[str] = "prompts"
    pages_max: int


class Posts(posts_pb2_grpc.PostServiceServicer):
    async def GetPost(self, request, context):
        return posts_pb2.Post(post_id=request.post_id)


async def forget():
    raise ZeroDivisionError("in the background")


async def main(mesh):
    POINT.hit()
    if mesh.settings.pages_max == 0:
        await asyncio.Event().wait()
    mesh.background("fails", forget)
    access = await mesh.follow_identities()
    redis = await mesh.open_redis()
    await redis.ping()
    server = mesh.server(access)
    server.add(posts_pb2_grpc.add_PostServiceServicer_to_server, Posts())
    await server.serve()


run(Settings, main)
"""


def environment(**more: str) -> dict[str, str]:
    secret = base64.urlsafe_b64encode(b"k" * 32).decode()
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "gen")]),
        "PROMPTMESH_WORKER": "prompts-0",
        "PROMPTMESH_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/nothing",
        "PROMPTMESH_MESH_SECRET": secret,
        "PROMPTMESH_KEY_PEPPER": secret,
        "PROMPTMESH_AUTH_TARGET": "127.0.0.1:1",
        "PROMPTMESH_PAGES_MAX": "5",
        **more,
    }


async def start(tmp_path: Path, **more: str) -> asyncio.subprocess.Process:
    script = tmp_path / "service.py"
    script.write_text(SERVICE)
    return await asyncio.create_subprocess_exec(
        sys.executable, str(script), stderr=asyncio.subprocess.PIPE, env=environment(**more), cwd=tmp_path
    )


async def line_of(process: asyncio.subprocess.Process, event: str) -> dict[str, Any]:
    """The next line of the log with this event."""
    assert process.stderr is not None
    async with asyncio.timeout(WAIT_S):
        while line := await process.stderr.readline():
            found: dict[str, Any] = json.loads(line)
            if found["event"] == event:
                return found
    raise AssertionError(f"the process ended without saying {event!r}")


async def test_it_serves_without_auth_and_drains_at_sigterm(tmp_path: Path, redis_url: str) -> None:
    process = await start(tmp_path, PROMPTMESH_REDIS_URL=redis_url)
    started = await line_of(process, "starting")
    assert (started["service"], started["worker"]) == ("prompts", "prompts-0")
    listening = await line_of(process, "listening")
    assert "promptmesh.prompts.v1.PostService" in listening["services"]
    reader, writer = await asyncio.open_connection("127.0.0.1", started["metrics_port"])
    writer.write(b"GET /metrics HTTP/1.0\r\n\r\n")
    metrics = (await reader.read()).decode()
    writer.close()
    await writer.wait_closed()
    assert 'promptmesh_feed_connected{feed="identities"} 0.0' in metrics
    assert 'promptmesh_background_failed_total{task="fails"}' in metrics
    process.send_signal(signal.SIGTERM)
    await line_of(process, "drained")
    _, rest = await asyncio.wait_for(process.communicate(), WAIT_S)
    assert process.returncode == 0, rest.decode()


async def test_it_can_be_stopped_before_it_serves(tmp_path: Path) -> None:
    process = await start(tmp_path, PROMPTMESH_REDIS_URL="redis://127.0.0.1:1/0", PROMPTMESH_PAGES_MAX="0")
    await line_of(process, "starting")
    process.send_signal(signal.SIGINT)
    await asyncio.wait_for(process.communicate(), WAIT_S)
    assert process.returncode == 0


async def test_settings_are_refused_at_once_and_together(tmp_path: Path) -> None:
    process = await start(tmp_path, PROMPTMESH_REDIS_URL="http://x", PROMPTMESH_PAGES_MAX="many", PROMPTMESH_WORKER="")
    _, said = await asyncio.wait_for(process.communicate(), WAIT_S)
    assert process.returncode == 78
    text = said.decode()
    assert all(f"PROMPTMESH_{name}" in text for name in ("REDIS_URL", "PAGES_MAX", "WORKER"))


async def test_an_armed_failpoint_kills_the_process(tmp_path: Path, redis_url: str) -> None:
    armed = tmp_path / "prompts:test.started"
    armed.touch()
    process = await start(tmp_path, PROMPTMESH_REDIS_URL=redis_url, PROMPTMESH_FAILPOINTS_DIR=str(tmp_path))
    await asyncio.wait_for(process.communicate(), WAIT_S)
    assert process.returncode == -signal.SIGKILL
    assert not armed.exists()
    assert (tmp_path / "prompts:test.started.hit").exists()


async def test_a_process_that_is_told_to_wait_begins_when_the_file_is_there(tmp_path: Path, redis_url: str) -> None:
    armed, begin = tmp_path / "prompts:test.started", tmp_path / "begin"
    armed.touch()  # what main() does first ends the process
    process = await start(
        tmp_path,
        PROMPTMESH_REDIS_URL=redis_url,
        PROMPTMESH_FAILPOINTS_DIR=str(tmp_path),
        PROMPTMESH_START_FILE=str(begin),
    )
    started = await line_of(process, "starting")
    reader, writer = await asyncio.open_connection("127.0.0.1", started["metrics_port"])
    writer.write(b"GET /metrics HTTP/1.0\r\n\r\n")
    assert b"200 OK" in await reader.read()
    writer.close()
    await writer.wait_closed()
    assert armed.exists()
    begin.touch()
    await asyncio.wait_for(process.communicate(), WAIT_S)
    assert process.returncode == -signal.SIGKILL
    assert not armed.exists()


async def test_a_process_that_waits_can_be_stopped(tmp_path: Path, redis_url: str) -> None:
    process = await start(tmp_path, PROMPTMESH_REDIS_URL=redis_url, PROMPTMESH_START_FILE=str(tmp_path / "begin"))
    await line_of(process, "starting")
    process.send_signal(signal.SIGTERM)
    await asyncio.wait_for(process.communicate(), WAIT_S)
    assert process.returncode == 0


@pytest.mark.parametrize("variable", ["PROMPTMESH_AUTH_TARGET"])
async def test_a_target_that_is_missing_is_named(tmp_path: Path, redis_url: str, variable: str) -> None:
    process = await start(tmp_path, PROMPTMESH_REDIS_URL=redis_url, **{variable: ""})
    _, said = await asyncio.wait_for(process.communicate(), WAIT_S)
    assert process.returncode == 78
    assert variable in said.decode()

"""The process that sends mail apart from auth."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

import asyncpg
import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.local.ports import free_ports
from tests.integration.auth.accounts.mailbox import running_mailbox
from tests.integration.auth.world import Place, client_of

PATIENCE_S = 30.0


async def test_auth_writes_and_the_worker_sends(place: Place, tmp_path: Path, rows: asyncpg.Connection) -> None:
    with running_mailbox(tmp_path / "box") as mailbox:
        server = {"SMTP_HOST": "127.0.0.1", "SMTP_PORT": str(mailbox.port), "SMTP_TLS": "none"}
        with place.running(**server, MAIL_SENDER="apart", MAIL_POLL_S=0.1) as process:
            async with client_of(process) as client:
                user = await client.register()
        # Auth has ended: it had all the time that it takes to send one, and did not.
        assert await rows.fetchval("SELECT state FROM mails WHERE user_id = $1", user.user_id) == 1
        assert mailbox.to(user.email) == []
        port = free_ports(1)[0]
        worker = await started(place, {**server, "MAIL_POLL_S": "0.1", "LISTEN": f"127.0.0.1:{port}"})
        try:
            await mailbox.wait(user.email, "Confirm")
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                for name in ("", "liveness"):
                    asked = health_pb2.HealthCheckRequest(service=name)
                    answer = await health_pb2_grpc.HealthStub(channel).Check(asked, wait_for_ready=True, timeout=20)
                    assert answer.status == health_pb2.HealthCheckResponse.SERVING
        finally:
            worker.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(worker.wait(), PATIENCE_S) == 0


async def test_without_a_server_the_worker_says_what_is_missing(place: Place) -> None:
    worker = await started(place, {"SMTP_HOST": ""})
    _, error = await asyncio.wait_for(worker.communicate(), PATIENCE_S)
    assert worker.returncode == 78
    assert b"PROMPTMESH_SMTP_HOST is not set" in error


async def started(place: Place, settings: dict[str, str]) -> asyncio.subprocess.Process:
    """The worker. It has no signing key: it signs nothing."""
    environment = place.environment | {f"PROMPTMESH_{name}": value for name, value in settings.items()}
    environment.pop("PROMPTMESH_AUTH_SIGNING_KEY_FILE")
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.auth", "mail", env=environment, stderr=subprocess.PIPE
    )

"""Mail that cannot be sent at once."""

from __future__ import annotations

import asyncio
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
from prometheus_client import REGISTRY

from services.auth.mail.waiting import look
from services.mesh.database import Database
from tests.integration.auth.accounts.mailbox import running_mailbox
from tests.integration.auth.world import Place, client_of
from tests.integration.support.service_process import ServiceProcess


async def test_mail_waits_for_its_server(place: Place, tmp_path: Path, rows: asyncpg.Connection) -> None:
    with running_mailbox(tmp_path / "gone") as gone:
        port = gone.port
    settings = {"SMTP_HOST": "127.0.0.1", "SMTP_PORT": port, "SMTP_TLS": "none", "MAIL_RETRY_S": 0.1}
    with place.running(**settings, MAIL_RETRY_MAX_S=0.2, MAIL_POLL_S=0.1) as process:
        async with client_of(process) as client:
            user = await client.register()
            await asyncio.to_thread(process.wait_for, "a mail could not be sent")
            with running_mailbox(tmp_path / "back", port) as back:
                await back.wait(user.email, "Confirm")
            for outcome in ("sent", "unreachable"):
                assert await measured(process, f'promptmesh_mail_attempts_total{{outcome="{outcome}"}}') > 0
    assert await rows.fetchval("SELECT body FROM mails WHERE user_id = $1 AND state = 2", user.user_id) == ""


async def test_mail_that_is_old_is_given_up(place: Place, tmp_path: Path, rows: asyncpg.Connection) -> None:
    with running_mailbox(tmp_path / "gone") as gone:
        port = gone.port
    settings = {"SMTP_HOST": "127.0.0.1", "SMTP_PORT": port, "SMTP_TLS": "none", "MAIL_GIVE_UP_S": 0.01}
    with place.running(**settings, MAIL_RETRY_S=0.1, MAIL_POLL_S=0.1) as process:
        async with client_of(process) as client:
            user = await client.register()
            await asyncio.to_thread(process.wait_for, "a mail is given up")
    async with asyncio.timeout(30):
        while await rows.fetchval("SELECT state FROM mails WHERE user_id = $1", user.user_id) != 3:
            await asyncio.sleep(0.05)
    assert await rows.fetchval("SELECT body FROM mails WHERE user_id = $1", user.user_id) == ""


async def test_auth_tells_how_long_mails_wait_with_nobody_to_send_them(place: Place, rows: asyncpg.Connection) -> None:
    """The worker that should send them is not there: it could say nothing."""
    settings = {"MAIL_SENDER": "apart"}
    with place.running(**settings) as process:
        async with client_of(process) as client:
            user = await client.register()
    await rows.execute("DELETE FROM mails WHERE user_id IS DISTINCT FROM $1", user.user_id)
    await rows.execute("UPDATE mails SET create_time = create_time - interval '1 hour'")
    with place.running(**settings) as process:
        assert 3600.0 < await measured(process, "promptmesh_mail_oldest_seconds") < 3600.0 + 600.0
    await rows.execute("UPDATE mails SET state = 2")
    async with pool_of(place) as database:
        await look(database)
    assert REGISTRY.get_sample_value("promptmesh_mail_oldest_seconds") == 0.0


async def measured(process: ServiceProcess, series: str) -> float:
    """A series of a process, waited for until it is more than 0."""
    async with asyncio.timeout(30):
        while True:
            page = await asyncio.to_thread(_page, process.metrics_port)
            for line in page.splitlines():
                name, _, value = line.rpartition(" ")
                if name == series and float(value) > 0:
                    return float(value)
            await asyncio.sleep(0.05)


def _page(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        return str(answer.read().decode())


@asynccontextmanager
async def pool_of(place: Place) -> AsyncIterator[Database]:
    database = await Database.open(place.environment["PROMPTMESH_DATABASE_URL"], schema="auth")
    try:
        yield database
    finally:
        await database.close()

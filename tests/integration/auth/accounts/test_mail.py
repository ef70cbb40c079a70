"""Mail that cannot be sent at once."""

from __future__ import annotations

import asyncio
from pathlib import Path

import asyncpg

from tests.integration.auth.accounts.mailbox import running_mailbox
from tests.integration.auth.world import Place, client_of


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

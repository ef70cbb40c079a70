"""Sends the mails that wait: each at least once, later again where the server cannot take it now."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from email.message import EmailMessage

from services.auth.mail import metrics
from services.auth.mail.smtp import MailRefused, Smtp, deliver, message_of
from services.auth.purge import purge_on
from services.auth.store import SQL, Row
from services.mesh.database import Database
from services.mesh.telemetry.logs import get_logger

log = get_logger()
SENT, GIVEN_UP = 2, 3
BATCH = 20
PURGE_EVERY_S = 3600.0
Deliver = Callable[[Smtp, EmailMessage], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class SendingOptions:
    """poll_s: how often to look for mails that nobody told of; retry_s: after a first failure, doubled by each further;
    give_up_s: age of a mail that is tried no more; retention_s: how long sent ones are kept, without their text."""

    poll_s: float
    retry_s: float
    retry_max_s: float
    give_up_s: float
    retention_s: int


class MailSender:
    """The background job."""

    def __init__(self, database: Database, smtp: Smtp, options: SendingOptions, deliver: Deliver = deliver) -> None:
        self._database, self._smtp, self._options, self._deliver = database, smtp, options, deliver
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """A mail was written."""
        self._woken.set()

    async def run(self) -> None:
        """Sends for ever."""
        while True:
            self._woken.clear()
            while await self.send_due() == BATCH:
                pass
            try:
                async with asyncio.timeout(self._options.poll_s):
                    await self._woken.wait()
            except TimeoutError:
                pass

    async def purge(self) -> None:
        """Removes mails that are over, for ever."""
        await purge_on(self._database, SQL["purge_mails"], self._options.retention_s, every_s=PURGE_EVERY_S)

    async def send_due(self) -> int:
        """Sends the mails that are due, as many as a batch holds; how many it tried."""
        lease_s = BATCH * self._smtp.timeout_s
        async with self._database.connection() as conn:
            rows = await conn.fetch(SQL["claim_mails"], BATCH, lease_s)
        for row in rows:
            await self._send(row)
        return len(rows)

    async def _send(self, row: Row) -> None:
        mail_id = row["mail_id"]
        try:
            message = message_of(
                self._smtp,
                mail_id=mail_id,
                recipient=row["recipient"],
                subject=row["subject"],
                body=row["body"],
                when=row["create_time"],
            )
            await self._deliver(self._smtp, message)
        except ValueError as error:  # no header can hold it: it will not get better
            metrics.ATTEMPTS.labels(metrics.REFUSED).inc()
            await self._finish(row, GIVEN_UP, str(error))
        except (MailRefused, OSError, TimeoutError) as error:
            refused = isinstance(error, MailRefused)
            metrics.ATTEMPTS.labels(metrics.REFUSED if refused else metrics.UNREACHABLE).inc()
            if (isinstance(error, MailRefused) and error.permanent) or row["age_s"] >= self._options.give_up_s:
                await self._finish(row, GIVEN_UP, _why(error))
            else:
                await self._delay(row, _why(error))
        else:
            metrics.ATTEMPTS.labels(metrics.SENT).inc()
            await self._finish(row, SENT, "")

    async def _finish(self, row: Row, state: int, error: str) -> None:
        if state == GIVEN_UP:
            log.error("a mail is given up", mail_id=row["mail_id"], error=error)
        async with self._database.connection() as conn:
            if row["user_id"] is None:  # somebody who left: nothing of them stays
                await conn.execute(SQL["drop_mail"], row["mail_id"])
            else:
                await conn.execute(SQL["finish_mail"], row["mail_id"], state, error)

    async def _delay(self, row: Row, error: str) -> None:
        options = self._options
        wait_s = min(options.retry_max_s, options.retry_s * 2 ** (row["attempts"] - 1))
        log.warning("a mail could not be sent", mail_id=row["mail_id"], again_in_s=wait_s, error=error)
        async with self._database.connection() as conn:
            await conn.execute(SQL["delay_mail"], row["mail_id"], wait_s, error)


def _why(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:200]

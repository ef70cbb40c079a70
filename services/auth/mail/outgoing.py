"""Mails as rows, written with what they tell of."""

from __future__ import annotations

from collections.abc import Callable

from services.auth.mail.templates import rendered
from services.auth.store import SQL
from services.mesh.database import Connection
from services.mesh.database.after_commit import after_commit
from services.mesh.ids import uuid7


class OutgoingMails:
    """The Mails of a service that sends them, or, `on` being false (no SMTP server is set), that sends none."""

    def __init__(self, *, on: bool) -> None:
        self._on = on
        self.wake: Callable[[], None] = _nothing

    async def send(
        self, conn: Connection, template: str, *, to: str, org_id: str = "", user_id: str = "", **values: str
    ) -> None:
        """See Mails."""
        subject, body = rendered(template, values)
        if not self._on:
            return
        await conn.execute(SQL["insert_mail"], uuid7(), org_id or None, user_id or None, to, template, subject, body)
        after_commit(self.wake)


def _nothing() -> None:
    """Nobody waits for mails."""

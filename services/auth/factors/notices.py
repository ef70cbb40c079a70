"""What a person is told by mail of their second factors."""

from __future__ import annotations

from services.auth.mail import Links, Mails
from services.auth.store import Row
from services.mesh.database import Connection


class Notices:
    """Mails to the person of a row of `users`; each tells where a new password can be set."""

    def __init__(self, mails: Mails, links: Links) -> None:
        self._mails, self._link = mails, links.page("forgot-password")

    async def tell(self, conn: Connection, user: Row, template: str, **values: str) -> None:
        """Writes a mail in this transaction; none to an address that was never proved: it may be a stranger's."""
        if user["email_verify_time"] is None:
            return
        await self._mails.send(
            conn,
            template,
            to=user["email"],
            org_id=user["org_id"],
            user_id=user["user_id"],
            link=self._link,
            **values,
        )

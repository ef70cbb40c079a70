"""Mail: written in the transaction of what it tells of, sent afterwards by a background job (sender.py).

Who sends names a template of templates.py and its values; nobody writes a subject or a body of their own, so that what
a person typed (a name) can only ever fill a place that was made for it.
"""

from __future__ import annotations

from typing import Protocol

from services.mesh.database import Connection


class Mails(Protocol):
    """Where mails are handed in."""

    async def send(
        self, conn: Connection, template: str, *, to: str, org_id: str = "", user_id: str = "", **values: str
    ) -> None:
        """Writes a mail to an address, in this transaction: it is sent if that commits, and only then.

        template: a name of templates.TEMPLATES; values: for its places, each as text (they are made one line, and what
        looks like an address of the web in them is broken up). A place whose name ends in `link` takes a link of
        `Links` as it is. org_id, user_id: whose mail it is, so that it goes with the person. Raises KeyError for a
        template or place that there is not.
        """
        ...


class Links:
    """Links into the web app. The secret stands behind `#`, which browsers send to no server: no log ever has it."""

    def __init__(self, public_url: str) -> None:
        self._public_url = public_url.rstrip("/")

    def to(self, page: str, token: str) -> str:
        """A link with a token. page: "verify-email", "reset-password", "confirm-email", "invitation"."""
        return f"{self._public_url}/{page}#token={token}"

    def page(self, path: str = "") -> str:
        """A link without a secret: "forgot-password"."""
        return f"{self._public_url}/{path}"

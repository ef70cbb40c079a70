"""Mails that the mesh sent, and what is done with their links."""

from __future__ import annotations

import re
from pathlib import Path

from services.local.data_folder import DataFolder
from services.local.mail_files import CaughtMail, read_mails
from services.local.testing import LocalMesh
from tests.mesh.client import eventually
from tests.mesh.people import PASSWORD, Person


class Mails:
    """What the mesh sent."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def to(self, address: str, subject: str) -> CaughtMail:
        """The last mail to an address with a text in its subject, as soon as there is one."""

        async def there() -> CaughtMail | None:
            found = [one for one in read_mails(self._folder) if one.recipient == address and subject in one.subject]
            return found[-1] if found else None

        mail: CaughtMail = await eventually(f"a mail to {address}: {subject}", there)
        return mail

    async def link(self, address: str, subject: str) -> tuple[str, str]:
        """Page and token of the link in such a mail."""
        found = re.search(r"(\S+)/([a-z-]+)#token=(\S+)", (await self.to(address, subject)).body)
        assert found is not None
        return found[2], found[3]


async def prove_address(mesh: LocalMesh, person: Person) -> None:
    """Opens the link that came when they registered: who invites others has proved their own address."""
    _, token = await Mails(DataFolder(mesh.data).mail).link(person.email, "Confirm your email")
    proof = {"token": token, "password": PASSWORD}
    (await person.client.ask("POST", "/api/v1/users:verifyEmail", proof)).ok()

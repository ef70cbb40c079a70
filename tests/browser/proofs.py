"""Second factors and mails of browser tests."""

from __future__ import annotations

import base64
import re
import time

from playwright.async_api import Page

from services.auth.factors.totp import code_at
from services.local.data_folder import DataFolder
from services.local.mail_files import read_mails
from services.local.testing import LocalMesh
from tests.mesh.client import eventually

STEP_S = 30


class App:
    """An authenticator app. Each code is good once, so it never shows one twice."""

    def __init__(self, secret: str) -> None:
        self._secret = base64.b32decode(secret.replace(" ", ""))
        self._last = 0

    async def code(self) -> str:
        """The next code that is good now: the mesh takes those of a step before and after, too."""

        async def fresh() -> bool:
            return self._last <= int(time.time()) // STEP_S

        await eventually("the app shows a code that was not used", fresh, timeout_s=2 * STEP_S)
        self._last = max(self._last + 1, int(time.time()) // STEP_S)
        return code_at(self._secret, self._last)


async def link_in_mail(mesh: LocalMesh, to: str, page: str, *, after: int = 0) -> str:
    """The link to a page of the app, as path and fragment, of the newest mail to an address.

    after: how many mails with such a link the address had already.
    """
    found: list[str] = []

    async def came() -> bool:
        found[:] = [
            link.group(0)
            for mail in read_mails(DataFolder(mesh.data).mail)
            if to == mail.recipient
            for link in [re.search(rf"/{page}#token=\S+", mail.body)]
            if link
        ]
        return len(found) > after

    await eventually(f"a mail with a link to {page}", came)
    return found[-1]


async def virtual_authenticator(page: Page) -> None:
    """Gives the tab a device with passkeys that always agrees."""
    session = await page.context.new_cdp_session(page)
    await session.send("WebAuthn.enable", {"enableUI": False})
    options = {
        "protocol": "ctap2",
        "transport": "internal",
        "hasResidentKey": True,
        "hasUserVerification": True,
        "isUserVerified": True,
        "automaticPresenceSimulation": True,
    }
    await session.send("WebAuthn.addVirtualAuthenticator", {"options": options})

"""Catches the mail of a mesh on this machine: an SMTP server that keeps what it is given as files, and sends nothing.

python -m services.local.mail_catcher PORT FOLDER
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

import uuid_utils
from aiosmtpd.smtp import SMTP

from services.local.mail_files import MAIL_SUFFIX, mail_files
from services.local.ports import LOOPBACK
from services.local.probes import SMTP_IDENT

MAILS_MAX = 1000  # kept; the oldest go
MAIL_BYTES_MAX = 1024 * 1024


class Catcher:
    """What aiosmtpd hands mails to."""

    def __init__(self, folder: Path, *, mails_max: int = MAILS_MAX) -> None:
        self._folder, self._mails_max = folder, mails_max

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        """Keeps a mail: whole, or not at all."""
        name = f"{uuid_utils.uuid7()}{MAIL_SUFFIX}"
        part = self._folder / f".{name}"
        head = "".join(f"X-Envelope-To: {one}\r\n" for one in envelope.rcpt_tos).encode()
        part.write_bytes(head + envelope.original_content)
        part.chmod(0o600)
        part.rename(self._folder / name)
        for old in mail_files(self._folder)[: -self._mails_max]:
            old.unlink(missing_ok=True)
        return "250 kept"


async def serve(port: int, folder: Path) -> None:
    """Serves until SIGTERM or SIGINT. folder: is there."""
    loop = asyncio.get_running_loop()
    catcher = Catcher(folder)

    def connected() -> SMTP:
        return SMTP(
            catcher,
            ident=SMTP_IDENT,
            hostname="localhost",
            data_size_limit=MAIL_BYTES_MAX,
            enable_SMTPUTF8=True,
            loop=loop,
        )

    server = await loop.create_server(connected, LOOPBACK, port)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await stop.wait()
    server.close()


if __name__ == "__main__":
    os.umask(0o077)
    kept = Path(sys.argv[2])
    kept.mkdir(mode=0o700, parents=True, exist_ok=True)
    asyncio.run(serve(int(sys.argv[1]), kept))

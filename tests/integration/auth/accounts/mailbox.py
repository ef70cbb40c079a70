"""A real SMTP server for the tests, and the service of auth that sends to it."""

from __future__ import annotations

import asyncio
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from services.local.mail_files import CaughtMail, read_mails
from services.local.ports import free_ports
from services.local.probes import SMTP_IDENT

PATIENCE_S = 30.0
_TOKEN = re.compile(r"#token=(\S+)")


@dataclass(frozen=True)
class Mailbox:
    """What was sent."""

    port: int
    folder: Path

    def to(self, address: str, subject: str = "") -> list[CaughtMail]:
        """Mails to an address, the oldest first, with a text in their subject."""
        return [one for one in read_mails(self.folder) if one.recipient == address and subject in one.subject]

    async def wait(self, address: str, subject: str = "", *, count: int = 1) -> CaughtMail:
        """Waits until so many have come; the last one."""
        async with asyncio.timeout(PATIENCE_S):
            while len(found := self.to(address, subject)) < count:
                await asyncio.sleep(0.02)
        return found[-1]

    async def token(self, address: str, subject: str, *, count: int = 1) -> str:
        """What the link of such a mail carries."""
        found = _TOKEN.search((await self.wait(address, subject, count=count)).body)
        assert found is not None
        return found[1]


@contextmanager
def running_mailbox(folder: Path, port: int = 0) -> Iterator[Mailbox]:
    """The catcher that a mesh on one machine has, as a process. port: 0 takes a free one."""
    port = port or free_ports(1)[0]
    command = [sys.executable, "-m", "services.local.mail_catcher", str(port), str(folder)]
    with subprocess.Popen(command) as process:
        try:
            _wait_until_ready(port, process)
            yield Mailbox(port, folder)
        finally:
            process.terminate()


def _wait_until_ready(port: int, process: subprocess.Popen[bytes]) -> None:
    patience_end = time.monotonic() + PATIENCE_S
    while time.monotonic() < patience_end:
        assert process.poll() is None
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            assert SMTP_IDENT.encode() in connection.recv(1024)
            return
        time.sleep(0.05)
    raise AssertionError("the catcher of mails does not start")

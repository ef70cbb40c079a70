"""Mails that were caught, as files: one each, named so that they sort by when they came."""

from __future__ import annotations

import email
from dataclasses import dataclass
from email.policy import default
from pathlib import Path

MAIL_SUFFIX = ".eml"


@dataclass(frozen=True)
class CaughtMail:
    """A mail as it came. id: the name of its file."""

    id: str
    recipient: str
    sender: str
    subject: str
    date: str
    body: str


def mail_files(folder: Path) -> list[Path]:
    """The files, the oldest first."""
    return sorted(one for one in folder.glob(f"*{MAIL_SUFFIX}") if not one.name.startswith("."))


def read_mail(path: Path) -> CaughtMail:
    """A mail from its file. Raises OSError."""
    message = email.message_from_bytes(path.read_bytes(), policy=default)
    part = message.get_body(("plain",))
    return CaughtMail(
        id=path.stem,
        recipient=str(message["X-Envelope-To"] or message["To"]),
        sender=str(message["From"]),
        subject=str(message["Subject"]),
        date=str(message["Date"]),
        body=str(part.get_content()).replace("\r\n", "\n") if part is not None else "",
    )


def read_mails(folder: Path) -> list[CaughtMail]:
    """All mails, the oldest first."""
    mails = []
    for path in mail_files(folder):
        try:
            mails.append(read_mail(path))
        except FileNotFoundError:  # one too many, and gone meanwhile
            continue
    return mails

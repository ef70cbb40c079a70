"""A mail as SMTP takes it, and the server that takes it."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from datetime import datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP, SMTPUTF8
from email.utils import format_datetime
from typing import Literal

import aiosmtplib

Tls = Literal["none", "starttls", "tls"]
_PERMANENT = 500  # of SMTP's reply codes: trying again does not help (RFC 5321, section 4.2.1)


@dataclass(frozen=True, slots=True)
class Smtp:
    """The server that mail goes to; no host: there is none. timeout_s: of each of its answers."""

    host: str
    port: int
    username: str
    password: str = field(repr=False)
    tls: Tls
    sender: str
    timeout_s: float


class MailRefused(Exception):  # noqa: N818 - the server's answer, not ours
    """The server will not take the mail, now or (`permanent`) ever."""

    def __init__(self, why: str, *, permanent: bool) -> None:
        super().__init__(why)
        self.permanent = permanent


def message_of(smtp: Smtp, *, mail_id: str, recipient: str, subject: str, body: str, when: datetime) -> EmailMessage:
    """The message. Its id is the mail's: one that is sent twice is known as the same. Raises ValueError for an address
    or subject that no header can hold."""
    message = EmailMessage(policy=SMTP if recipient.isascii() else SMTPUTF8)
    message["From"] = smtp.sender
    local, _, domain = recipient.rpartition("@")
    message["To"] = Address(username=local, domain=domain)
    message["Subject"] = subject
    message["Date"] = format_datetime(when)
    message["Message-ID"] = f"<{mail_id}@{smtp.sender.rpartition('@')[2].strip('> ') or 'localhost'}>"
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: nobody's holiday answers it
    message.set_content(body, cte="quoted-printable" if not body.isascii() else "7bit")
    return message


async def deliver(smtp: Smtp, message: EmailMessage) -> None:
    """Hands a message to the server. Raises MailRefused, OSError, TimeoutError."""
    try:
        await aiosmtplib.send(
            message,
            hostname=smtp.host,
            port=smtp.port,
            username=smtp.username or None,
            password=smtp.password or None,
            use_tls=smtp.tls == "tls",
            start_tls=smtp.tls == "starttls",
            tls_context=None if smtp.tls == "none" else ssl.create_default_context(),
            timeout=smtp.timeout_s,
        )
    except aiosmtplib.SMTPRecipientsRefused as error:
        codes = [one.code for one in error.recipients]
        raise MailRefused("the recipient is refused", permanent=all(code >= _PERMANENT for code in codes)) from error
    except aiosmtplib.SMTPResponseException as error:
        permanent = error.code >= _PERMANENT and not isinstance(error, aiosmtplib.SMTPAuthenticationError)
        raise MailRefused(f"the server answered {error.code}", permanent=permanent) from error
    except OSError:  # those of aiosmtplib too that tell of a connection, not of an answer
        raise
    except aiosmtplib.SMTPException as error:
        raise MailRefused(type(error).__name__, permanent=False) from error

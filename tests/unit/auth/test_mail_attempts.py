"""What becomes of a try to send a mail is counted, by whether the server was there and took it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email.message import EmailMessage
from typing import TYPE_CHECKING, Any, cast

import aiosmtplib
import pytest
from prometheus_client import REGISTRY

from services.auth.mail.sender import MailSender, SendingOptions
from services.auth.mail.smtp import MailRefused, Smtp, deliver
from services.auth.store import SQL
from services.mesh.database import Database

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SMTP = Smtp("localhost", 25, "", "", "none", "Mesh <no-reply@mesh.example>", 5.0)
OPTIONS = SendingOptions(poll_s=1.0, retry_s=1.0, retry_max_s=1.0, give_up_s=60.0, retention_s=60)
OUTCOMES = ("sent", "refused", "unreachable")


class OneMail:
    """A database in which one mail waits."""

    def __init__(self, subject: str = "Hello") -> None:
        self.row = {
            "mail_id": "m",
            "user_id": "u",
            "recipient": "ada@example.com",
            "subject": subject,
            "body": "…",
            "attempts": 1,
            "create_time": datetime(2026, 1, 2, tzinfo=UTC),
            "age_s": 1.0,
        }

    async def fetch(self, statement: str, *_: object) -> list[dict[str, Any]]:
        assert statement == SQL["claim_mails"]
        return [self.row]

    async def execute(self, *_: object) -> None:
        """What becomes of the row is another test's."""

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[OneMail]:
        yield self


def counted() -> dict[str, float]:
    found = {one: REGISTRY.get_sample_value("promptmesh_mail_attempts_total", {"outcome": one}) for one in OUTCOMES}
    assert None not in found.values(), "an outcome that was never seen is 0, not absent"
    return {name: value or 0.0 for name, value in found.items()}


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (None, "sent"),
        (MailRefused("the server answered 550", permanent=True), "refused"),
        (MailRefused("the server answered 451", permanent=False), "refused"),
        (ConnectionRefusedError(), "unreachable"),
        (TimeoutError(), "unreachable"),
    ],
    ids=str,
)
async def test_a_try_is_counted_once(error: Exception | None, outcome: str) -> None:
    async def deliver(_smtp: Smtp, _message: EmailMessage) -> None:
        if error is not None:
            raise error

    before = counted()
    assert await MailSender(cast(Database, OneMail()), SMTP, OPTIONS, deliver).send_due() == 1
    assert counted() == before | {outcome: before[outcome] + 1}


async def test_a_mail_that_no_header_can_hold_is_counted_as_refused() -> None:
    before = counted()
    await MailSender(cast(Database, OneMail("two\nlines")), SMTP, OPTIONS).send_due()
    assert counted() == before | {"refused": before["refused"] + 1}


@pytest.mark.parametrize(
    "error",
    [
        aiosmtplib.SMTPConnectError("nobody there"),
        aiosmtplib.SMTPServerDisconnected("gone"),
        aiosmtplib.SMTPReadTimeoutError("silence"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_a_server_that_is_not_there_refuses_nothing(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    await _sent_with(monkeypatch, error, OSError)


@pytest.mark.parametrize(
    "error",
    [
        aiosmtplib.SMTPConnectResponseError(421, "too busy"),
        aiosmtplib.SMTPAuthenticationError(535, "who are you"),
        aiosmtplib.SMTPNotSupported("no STARTTLS"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_a_server_that_answers_no_refuses(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    await _sent_with(monkeypatch, error, MailRefused)


async def _sent_with(monkeypatch: pytest.MonkeyPatch, error: Exception, expected: type[Exception]) -> None:
    async def send(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(aiosmtplib, "send", send)
    with pytest.raises(expected):
        await deliver(SMTP, EmailMessage())

"""Mails that were caught: kept whole, bounded, listed and shown."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from click.testing import CliRunner

from services.local.commands.mail import mail
from services.local.mail_catcher import Catcher
from services.local.mail_files import mail_files, read_mails


@dataclass
class Envelope:
    original_content: bytes
    rcpt_tos: list[str] = field(default_factory=lambda: ["ada@example.com"])


def caught(number: int, to: str = "ada@example.com") -> Envelope:
    head = f"From: mesh@example.com\r\nTo: {to}\r\nSubject: Number {number}\r\nDate: Fri, 02 Jan 2026 00:00:00 +0000"
    return Envelope(f"{head}\r\n\r\nThe link: http://x/#token=pml_{number}\r\n".encode(), [to])


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "mail").mkdir()
    return tmp_path


def keep(data: Path, *envelopes: Envelope, mails_max: int = 1000) -> None:
    catcher = Catcher(data / "mail", mails_max=mails_max)

    async def all_of_them() -> None:
        for one in envelopes:
            assert await catcher.handle_DATA(None, None, one) == "250 kept"

    asyncio.run(all_of_them())


def said(data: Path, *arguments: str, status: int = 0) -> str:
    result = CliRunner().invoke(mail, [*arguments, "--data", str(data)])
    assert result.exit_code == status, result.output
    return result.output


def test_the_newest_are_kept_for_their_owner_alone(data: Path) -> None:
    keep(data, *(caught(number) for number in range(5)), mails_max=3)
    assert [one.subject for one in read_mails(data / "mail")] == ["Number 2", "Number 3", "Number 4"]
    assert {one.stat().st_mode & 0o777 for one in mail_files(data / "mail")} == {0o600}


def test_they_are_listed_and_shown(data: Path) -> None:
    keep(data, caught(1), caught(2, "bob@example.com"))
    lines = said(data).splitlines()
    assert len(lines) == 2
    assert lines[1].endswith("bob@example.com  Number 2")
    assert "#token=pml_2" in said(data, "last")
    assert "#token=pml_1" in said(data, "1")
    assert "Number 1" in said(data, "last", "--to", "ADA@example.com")
    assert [one["recipient"] for one in json.loads(said(data, "--json"))["mails"]] == [
        "ada@example.com",
        "bob@example.com",
    ]


@pytest.mark.parametrize("which", ["0", "3", "first"])
def test_a_mail_that_there_is_not(data: Path, which: str) -> None:
    keep(data, caught(1), caught(2))
    assert "expected 1 to 2" in said(data, which, status=2)


def test_without_mails(data: Path) -> None:
    assert "There are none in " in said(data)

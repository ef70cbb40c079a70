"""What mails say, and that nobody can make them say more."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email import message_from_bytes
from email.policy import default
from string import Template

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.auth.mail import Links
from services.auth.mail.smtp import Smtp, message_of
from services.auth.mail.templates import TEMPLATES, VALUE_LENGTH_MAX, plain, rendered

SMTP = Smtp("localhost", 25, "", "hunter2 is secret", "none", "Mesh <no-reply@mesh.example>", 5.0)
WHEN = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.mark.parametrize("name", TEMPLATES)
def test_every_mail_can_be_written(name: str) -> None:
    one = TEMPLATES[name]
    places = {*Template(one.subject).get_identifiers(), *Template(one.body).get_identifiers()}
    subject, body = rendered(name, {place: f"value of {place}" for place in places})
    assert "$" not in subject + body
    assert all(f"value of {place}" in subject + body for place in places)
    assert all(len(line) <= 120 for line in one.body.split("\n"))


def test_a_place_without_a_value_is_an_error() -> None:
    with pytest.raises(KeyError):
        rendered("reset_password", {})


@given(st.text(max_size=300))
def test_a_value_is_one_line_without_links(value: str) -> None:
    line = plain(value)
    assert len(line) <= VALUE_LENGTH_MAX
    assert line.splitlines() in ([], [line])
    assert not re.search(r"(?i)https?://|www\.\w|\w\.\w", line)


@pytest.mark.parametrize(
    "name", ["Ada\r\nBcc: victim@example.test", "Ada\nSubject: other", "https://evil.example/x", "evil.com"]
)
def test_a_name_opens_no_header_and_no_link(name: str) -> None:
    assert "\n" not in plain(name)
    assert not re.search(r"\w\.\w|://", plain(name))


@given(st.text(max_size=100))
def test_a_subject_is_a_header_whatever_a_name_holds(name: str) -> None:
    message = message_of(
        SMTP, mail_id="m", recipient="a@b.example", subject=f"From {plain(name)}", body="x\n", when=WHEN
    )
    read = message_from_bytes(message.as_bytes(), policy=default)
    assert set(read.keys()) == set(message.keys())
    assert read["To"] == "a@b.example"
    assert read["Bcc"] is None


@pytest.mark.parametrize("recipient", ["a@b.example\r\nBcc: c@d.example", "a@b\n.example"])
def test_what_is_no_address_is_refused(recipient: str) -> None:
    with pytest.raises(ValueError):
        message_of(SMTP, mail_id="m", recipient=recipient, subject="s", body="b", when=WHEN).as_bytes()


def test_a_link_keeps_its_secret_from_servers() -> None:
    link = Links("https://mesh.example/").to("reset-password", "pml_secret")
    assert link == "https://mesh.example/reset-password#token=pml_secret"


def test_settings_do_not_print_the_password() -> None:
    assert "hunter2" not in repr(SMTP)

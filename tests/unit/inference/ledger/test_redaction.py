"""What has the form of personal data or of a key is taken out of texts that are kept; the rest stays as it is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.inference.ledger.redaction import redact

GITHUB, SLACK = "ghp_" + "a1B2" * 9, "xoxb-" + "123456-abcdef"


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("mail ann.o'neil+x@mail.example.co.uk now", "mail [email] now"),
        ("ann@example.org,bob@example.org", "[email],[email]"),
        ("müller@bücher.example", "[email]"),
        ("call +49 (30) 1234-5678!", "call [phone]!"),
        ("call 020 7946 0958.", "call [phone]."),
        ("card 4111 1111 1111 1111 ok", "card [card] ok"),
        ("card 4111-1111-1111-1111", "card [card]"),
        ("key sk-proj-abcdefghijklmnopqrst", "key [key]"),
        ("pm_" + "a" * 46, "[key]"),
        (GITHUB, "[key]"),
        (SLACK, "[key]"),
        ("AKIA" + "ABCDEFGH12345678", "[key]"),
        ("eyJhbGciOiJI.eyJzdWIiOiIx.c2lnbmF0dXJl", "[key]"),
        ("password: hunter2hunter2", "password: [key]"),
        ('{"api_key": "abcdefgh12345"}', '{"api_key": "[key]"}'),
        ("Authorization: Bearer abc123def456", "Authorization: Bearer [key]"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----\nrest", "[key]\nrest"),
        ("-----BEGIN PRIVATE KEY-----\nMIIE cut", "[key]"),
    ],
)
def test_it_takes_out(text: str, kept: str) -> None:
    assert redact(text) == kept


@pytest.mark.parametrize(
    "text",
    [
        "In 2024 the 42 of them paid 3.50 for 1,234 pieces.",
        "It began on 2024-11-21 at 15:30:59.",
        "order 123456",
        "The token limit is reached; a secret garden; pass phrases.",
        "a @ b, user@localhost",
        "4111 1111",
        "3.14159265358979",
    ],
)
def test_it_leaves(text: str) -> None:
    assert redact(text) == text


@given(st.text())
def test_any_text_is_taken(text: str) -> None:
    redact(text)


@pytest.mark.parametrize(
    "piece", ["a", "1", "1 ", "a.", "@", "a@", "eyJ", "token ", "-----BEGIN PRIVATE KEY-----", "(", "+"]
)
def test_time_grows_with_the_length_alone(piece: str) -> None:
    """A pattern that goes back and forth would need hours for this."""
    redact(piece * (200_000 // len(piece)))

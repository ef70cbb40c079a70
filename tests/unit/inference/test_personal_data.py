"""What has the form of personal data is found, each kind for what it is, and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.inference.personal_data import CARD, EMAIL, IBAN, ID, IP, KEY, PHONE, find


def found(text: str) -> list[tuple[str, str]]:
    return [(kind, text[start:end]) for start, end, kind in find(text)]


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("to ann@example.org.", EMAIL, "ann@example.org"),
        ("a@b.c", EMAIL, "a@b.c"),
        ("call +49 (30) 1234-5678!", PHONE, "+49 (30) 1234-5678"),
        ("card 4111 1111 1111 1111 ok", CARD, "4111 1111 1111 1111"),
        ("amex 378282246310005", CARD, "378282246310005"),
        ("IBAN DE89 3704 0044 0532 0130 00 please", IBAN, "DE89 3704 0044 0532 0130 00"),
        ("GB29NWBK60161331926819", IBAN, "GB29NWBK60161331926819"),
        ("no9386011117947,", IBAN, "no9386011117947"),
        ("MT84MALT011000012345MTLCAST001S AND MORE", IBAN, "MT84MALT011000012345MTLCAST001S"),
        ("from 192.168.7.33:8080", IP, "192.168.7.33"),
        ("at 2001:db8::8a2e:370:7334 now", IP, "2001:db8::8a2e:370:7334"),
        ("[2001:0db8:85a3:0000:0000:8a2e:0370:7334]", IP, "2001:0db8:85a3:0000:0000:8a2e:0370:7334"),
        ("SSN 078-05-1120", ID, "078-05-1120"),
        ("DNI 12345678Z", ID, "12345678Z"),
        ("NIE X1234567L", ID, "X1234567L"),
        ("CF RSSMRA85T10A562S.", ID, "RSSMRA85T10A562S"),
        ("CPF 529.982.247-25", ID, "529.982.247-25"),
        ("NIR 2 69 05 49 588 157 80", ID, "2 69 05 49 588 157 80"),
        ("key sk-proj-abcdefghijklmnopqrst", KEY, "sk-proj-abcdefghijklmnopqrst"),
        ("password: hunter2hunter2", KEY, "hunter2hunter2"),
        ("-----BEGIN PRIVATE KEY-----\nMIIE cut", KEY, "-----BEGIN PRIVATE KEY-----\nMIIE cut"),
    ],
)
def test_each_kind(text: str, kind: str, value: str) -> None:
    assert found(text) == [(kind, value)]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a@b",
        "GB29NWBK60161331926818",  # the check digits are wrong
        "ZZ29NWBK60161331926819",  # no such country
        "GB29NWBK60161331926819X",  # too long
        "12345678A",  # nor is this letter the right one
        "RSSMRA85T10A562T",
        "127.0.0.1 and ::1 are nobody's",
        "1.2.3.4.5, 300.1.1.1, v1.2.3",
        "std::vector<ab::cd> at 15:30:59",
        "550e8400-e29b-41d4-a716-446655440000",
        "sha256 of it is 9f86d081884c7d659a2feaa0c55ad015",
        "on 2024-11-21, pi is 3.14159265358979",
        "order 12345678",
    ],
)
def test_what_is_nothing_of_the_kind(text: str) -> None:
    assert found(text) == []


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("+49 30 12345678 4111 1111 1111 1111", [PHONE, CARD]),
        ("+49 30 12345678  4111 1111 1111 1111  +49 30 12345678", [PHONE, CARD, PHONE]),
        ("4111 1111 1111 1111 123", [CARD]),
        ("2024-11-21 +49 30 12345678", [PHONE]),
        ("2024-11-21 2024-11-22 2024-11-23", []),
        ("7 3.14159265358979", []),
        ("415 555 0132 415 555 0199", [PHONE]),  # rather a little too much of one
    ],
)
def test_numbers_side_by_side(text: str, kinds: list[str]) -> None:
    assert [kind for kind, _ in found(text)] == kinds


def test_two_accounts_side_by_side() -> None:
    assert [kind for kind, _ in found("DE89370400440532013000 GB29NWBK60161331926819")] == [IBAN, IBAN]


PIECES = (
    *("ann@example.org", "4111111111111111", "+49 30 12345678", "::", "DE89", "[", " ", "token=", "\0", "1.2.3.4"),
    *("2001:db8::1", "-----BEGIN PRIVATE KEY-----", "é", "\uff19"),
)


@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=5)).map("".join))
def test_spans_are_in_order_and_none_is_over_another(text: str) -> None:
    at = 0
    for start, end, _ in find(text):
        assert at <= start < end <= len(text)
        at = end


@pytest.mark.parametrize(
    "piece",
    [
        "a",
        "1",
        "1 ",
        "12345678901234567 ",
        "2024-11-21 ",
        "1.1 ",
        "a.",
        "@",
        "1:",
        "::1",
        "1.",
        "DE89",
        "DE89 ",
        "X",
        "eyJ",
        "token ",
        "a1b2-",
        "(",
        "+",
    ],
)
def test_time_grows_with_the_length_alone(piece: str) -> None:
    """A pattern that goes back and forth would need hours for this."""
    find(piece * (200_000 // len(piece)))


@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=5)).map("".join), st.integers(0, 100))
def test_what_stands_far_around_changes_nothing(text: str, far: int) -> None:
    """Only what is near to digits is looked at for numbers."""
    before, behind = "some words " * 20 + " " * far, " " * far + " and words" * 20
    found_alone = [(start + len(before), end + len(before), kind) for start, end, kind in find(f" {text} ")]
    unclosed = "-----BEGIN PRIVATE KEY-----" in text  # it reaches to the end
    assert unclosed or find(f"{before} {text} {behind}") == found_alone

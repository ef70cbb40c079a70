"""Refresh tokens: their form, and which are ours."""

from __future__ import annotations

import base64
import hashlib
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.auth.refresh_tokens import PREFIX, SALT_BYTES, RefreshTokens, new_salt

SESSION = str(uuid.UUID(int=7))
TOKENS = RefreshTokens(b"pepper")


def test_a_token_is_read_back() -> None:
    text = TOKENS.make(SESSION)
    token = TOKENS.read(text)
    assert token is not None
    assert (token.session_id, token.ours) == (SESSION, True)
    assert token.digest == hashlib.sha256(text.encode()).digest()
    assert len(text) <= 256  # RefreshSessionRequest.refresh_token


def test_no_two_are_alike() -> None:
    assert len({TOKENS.make(SESSION) for _ in range(100)}) == 100


def test_anothers_is_not_ours() -> None:
    token = RefreshTokens(b"other").read(TOKENS.make(SESSION))
    assert token is not None
    assert not token.ours


@given(st.integers(0, 63), st.integers(1, 255))
def test_a_changed_byte_is_noticed(place: int, change: int) -> None:
    raw = bytearray(base64.urlsafe_b64decode(TOKENS.make(SESSION)[len(PREFIX) :] + "=="))
    raw[place] ^= change
    token = TOKENS.read(PREFIX + base64.urlsafe_b64encode(bytes(raw)).decode().rstrip("="))
    assert token is not None
    assert not token.ours


@given(st.text(max_size=256))
def test_whatever_comes_is_looked_at(text: str) -> None:
    for token in (TOKENS.read(text), TOKENS.read(PREFIX + text)):
        assert token is None or not token.ours


@pytest.mark.parametrize("text", ["", "pmr_", "pmr_AAAA", "pm_x", "pmr_" + "A" * 252, "pmr_é"])
def test_what_has_another_form_is_none(text: str) -> None:
    assert TOKENS.read(text) is None


def test_a_successor_follows_from_token_and_salt_and_from_nothing_less() -> None:
    first, other = TOKENS.read(TOKENS.make(SESSION)), TOKENS.read(TOKENS.make(SESSION))
    assert first is not None
    assert other is not None
    successor = TOKENS.successor(first, b"salt")
    assert successor == TOKENS.successor(first, b"salt")
    others = {
        TOKENS.successor(first, b"other salt"),
        TOKENS.successor(other, b"salt"),
        RefreshTokens(b"other").successor(first, b"salt"),
        first.text,
    }
    assert successor not in others
    assert len(others) == 4
    read = TOKENS.read(successor)
    assert read is not None
    assert (read.session_id, read.ours) == (SESSION, True)


def test_salts_are_random() -> None:
    salts = {new_salt() for _ in range(100)}
    assert len(salts) == 100
    assert {len(salt) for salt in salts} == {SALT_BYTES}


def test_a_token_does_not_show_itself() -> None:
    text = TOKENS.make(SESSION)
    assert text not in repr(TOKENS.read(text))

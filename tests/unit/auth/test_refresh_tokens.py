"""Refresh tokens: their form, and which are ours."""

from __future__ import annotations

import base64
import hashlib
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.auth.refresh_tokens import PREFIX, RefreshTokens

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

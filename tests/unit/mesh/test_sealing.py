"""Secrets that have to be read again, encrypted."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from services.mesh.sealing import Sealer, SealError, keys_of

OLD, NEW = bytes(32), bytes(range(32))
ID, OTHER_ID = "0190aaaa-0000-7000-8000-000000000001", "0190aaaa-0000-7000-8000-000000000002"


@given(st.text(min_size=1, max_size=200), st.text(max_size=40))
def test_what_is_sealed_opens_in_its_place(secret: str, provider: str) -> None:
    sealer = Sealer([NEW])
    sealed = sealer.seal(secret, ID, provider)
    assert secret.encode() not in sealed or len(secret.encode()) < 4
    assert sealer.open(sealed, ID, provider) == secret


def test_the_same_secret_never_looks_the_same() -> None:
    sealer = Sealer([NEW])
    assert sealer.seal("sk-12345678", ID, "p") != sealer.seal("sk-12345678", ID, "p")


@pytest.mark.parametrize(("key_id", "provider"), [(OTHER_ID, "p"), (ID, "q"), (ID, "")])
def test_what_was_moved_does_not_open(key_id: str, provider: str) -> None:
    sealer = Sealer([NEW])
    with pytest.raises(SealError, match="changed or moved"):
        sealer.open(sealer.seal("sk-12345678", ID, "p"), key_id, provider)


def test_no_bit_can_be_changed() -> None:
    sealer = Sealer([NEW])
    sealed = sealer.seal("sk-12345678", ID, "p")
    for place in range(len(sealed)):
        changed = bytearray(sealed)
        changed[place] ^= 1
        with pytest.raises(SealError) as caught:
            sealer.open(bytes(changed), ID, "p")
        assert "sk-" not in str(caught.value)
    for length in range(len(sealed)):
        with pytest.raises(SealError):
            sealer.open(sealed[:length], ID, "p")


def test_a_new_key_seals_and_an_old_one_still_opens() -> None:
    before = Sealer([OLD])
    sealed = before.seal("sk-12345678", ID, "p")
    assert before.is_current(sealed)
    rotated = Sealer([NEW, OLD])
    assert not rotated.is_current(sealed)
    assert rotated.open(sealed, ID, "p") == "sk-12345678"
    again = rotated.seal("sk-12345678", ID, "p")
    assert rotated.is_current(again)
    assert Sealer([NEW]).open(again, ID, "p") == "sk-12345678"
    with pytest.raises(SealError, match="a key that is not set here"):
        Sealer([NEW]).open(sealed, ID, "p")


def test_keys_of_a_setting() -> None:
    written = [base64.urlsafe_b64encode(key).decode().rstrip("=") for key in (NEW, OLD)]
    assert keys_of(SecretStr(",".join(written))) == [NEW, OLD]
    assert keys_of(SecretStr(f" {written[0]} ")) == [NEW]
    for wrong in ("", "abc", f"{written[0]},", f"{written[0]}{written[1]}", "?" * 43):
        with pytest.raises(ValueError, match="32 random bytes"):
            keys_of(SecretStr(wrong))
    with pytest.raises(ValueError, match="32 bytes"):
        Sealer([])

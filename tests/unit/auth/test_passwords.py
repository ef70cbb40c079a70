"""Passwords: both ways of a log-in hash, and no more wait than allowed."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import argon2
import pytest

from services.auth.passwords import Passwords
from services.mesh.errors import MeshError

FAST = {"memory_kib": 64, "passes": 1, "lanes": 1}


def make(threads: int = 2, waiting_max: int = 8, **parameters: int) -> Passwords:
    return Passwords(**(FAST | parameters), threads=threads, waiting_max=waiting_max)


@pytest.fixture
async def passwords() -> AsyncIterator[Passwords]:
    passwords = make()
    yield passwords
    passwords.close()


class Gate:
    """Hashes wait here, so that a test sees them under way."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.open = threading.Event()
        self.begun: list[str] = []
        for name in ("hash", "verify"):
            self._guard(monkeypatch, name, getattr(argon2.PasswordHasher, name))

    def _guard(self, monkeypatch: pytest.MonkeyPatch, name: str, original: Callable[..., Any]) -> None:
        def guarded(*arguments: Any) -> Any:
            self.begun.append(name)
            assert self.open.wait(30)
            return original(*arguments)

        monkeypatch.setattr(argon2.PasswordHasher, name, guarded)


async def test_a_password_is_right_or_wrong(passwords: Passwords) -> None:
    stored = await passwords.hash("correct horse")
    assert stored.startswith("$argon2id$v=19$m=64,t=1,p=1$")
    assert (await passwords.check(stored, "correct horse")).right
    assert not (await passwords.check(stored, "correct horses")).right
    assert await passwords.hash("correct horse") != stored


async def test_without_an_account_as_much_is_hashed(monkeypatch: pytest.MonkeyPatch) -> None:
    passwords = make()
    stored = await passwords.hash("password")
    gate = Gate(monkeypatch)
    gate.open.set()
    assert not (await passwords.check(stored, "wrong")).right
    known = gate.begun.copy()
    gate.begun.clear()
    assert not (await passwords.check(None, "wrong")).right
    assert gate.begun == known == ["verify"]
    passwords.close()


async def test_no_password_opens_what_is_nobodys(passwords: Passwords) -> None:
    for password in ("", "nobody", "\0nobody"):
        assert not (await passwords.check(None, password)).right


async def test_older_parameters_are_renewed(passwords: Passwords) -> None:
    older = make(passes=2)
    stored = await older.hash("password")
    older.close()
    checked = await passwords.check(stored, "password")
    assert checked.right
    assert "t=1" in checked.renewed_hash
    assert (await passwords.check(checked.renewed_hash, "password")).right
    assert not (await passwords.check(stored, "wrong")).renewed_hash


async def test_no_more_wait_than_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    passwords = make(threads=2, waiting_max=3)
    gate = Gate(monkeypatch)
    hashes = [asyncio.ensure_future(passwords.hash("password")) for _ in range(5)]
    await asyncio.sleep(0)
    with pytest.raises(MeshError) as refused:
        await passwords.hash("password")
    assert refused.value.reason == "RATE_LIMITED"
    assert refused.value.retry_after_s
    gate.open.set()
    assert len(await asyncio.gather(*hashes)) == 5
    assert await passwords.hash("password")
    passwords.close()


async def test_who_leaves_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    passwords = make(threads=1, waiting_max=1)
    gate = Gate(monkeypatch)
    hashed = asyncio.ensure_future(passwords.hash("password"))
    waiting = asyncio.ensure_future(passwords.hash("password"))
    await asyncio.sleep(0)
    with pytest.raises(MeshError):
        await passwords.hash("password")
    waiting.cancel()
    hashed.cancel()  # its thread goes on until the hash is done, and only then is free
    await asyncio.wait([waiting, hashed])
    another = asyncio.ensure_future(passwords.hash("password"))
    await asyncio.sleep(0)
    assert len(gate.begun) == 1
    gate.open.set()
    assert await another
    passwords.close()

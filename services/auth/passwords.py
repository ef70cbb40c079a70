"""Passwords: argon2id on threads of their own, so that a storm of log-ins starves nothing else."""

from __future__ import annotations

import asyncio
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import argon2

from services.mesh.errors import MeshError

R = TypeVar("R")
RETRY_AFTER_S = 1.0
# What a log-in without an account is checked against. No password has it: it is hashed as it is, unnormalised.
_NOBODYS = b"\x00nobody"


@dataclass(frozen=True, slots=True)
class Checked:
    """What became of a password. renewed_hash: one with the present parameters, if it was hashed with others."""

    right: bool
    renewed_hash: str = ""


class Passwords:
    """Hashes and checks on `threads` threads; at most `waiting_max` calls wait for one.

    A hash takes some 30 ms of one core and `memory_kib` of memory, so threads bound both.
    """

    def __init__(self, *, memory_kib: int, passes: int, lanes: int, threads: int, waiting_max: int) -> None:
        self._hasher = argon2.PasswordHasher(time_cost=passes, memory_cost=memory_kib, parallelism=lanes)
        self._nobodys_hash = self._hasher.hash(_NOBODYS)
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="passwords")
        self._free = asyncio.Semaphore(threads)
        self._waiting = 0
        self._waiting_max = waiting_max

    async def hash(self, password: str) -> str:
        """The password's hash with its parameters and salt (PHC string). RATE_LIMITED."""
        return await self._on_thread(lambda: self._hasher.hash(_bytes(password)))

    async def check(self, password_hash: str | None, password: str) -> Checked:
        """Whether it is the hash's password. None (there is no account) takes as long, and is wrong. RATE_LIMITED."""
        if password_hash is None:
            await self._on_thread(lambda: self._check(self._nobodys_hash, password))
            return Checked(right=False)
        return await self._on_thread(lambda: self._check(password_hash, password))

    def close(self) -> None:
        """Waits for hashes under way."""
        self._pool.shutdown()

    def _check(self, password_hash: str, password: str) -> Checked:
        try:
            self._hasher.verify(password_hash, _bytes(password))
        except argon2.exceptions.VerifyMismatchError:
            return Checked(right=False)
        if self._hasher.check_needs_rehash(password_hash):
            return Checked(right=True, renewed_hash=self._hasher.hash(_bytes(password)))
        return Checked(right=True)

    async def _on_thread(self, work: Callable[[], R]) -> R:
        if self._free.locked():
            if self._waiting >= self._waiting_max:
                raise MeshError(
                    "RATE_LIMITED",
                    "More people log in and register right now than passwords can be checked. Retry after the delay.",
                    retry_after_s=RETRY_AFTER_S,
                )
            self._waiting += 1
            try:
                await self._free.acquire()
            finally:
                self._waiting -= 1
        else:
            await self._free.acquire()  # at once: nobody waits
        loop = asyncio.get_running_loop()
        future = self._pool.submit(work)
        # The thread is free when its work ends, which a caller that leaves does not hasten.
        future.add_done_callback(lambda _: loop.call_soon_threadsafe(self._free.release))
        return await asyncio.wrap_future(future)


def same(one: str, other: str) -> bool:
    """Whether two are one password, however they were typed."""
    return _bytes(one) == _bytes(other)


def _bytes(password: str) -> bytes:
    # NFKC, so that the same password typed on another keyboard is the same (NIST SP 800-63B, section 3.1.1.2).
    return unicodedata.normalize("NFKC", password).encode()

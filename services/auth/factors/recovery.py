"""Recovery codes: written on paper, each good once, kept as digests alone."""

from __future__ import annotations

import hashlib
import hmac
import secrets

CODES = 10
CODE_CHARS = 16  # of 5 bits each: 80 bits, more than can be guessed
GROUP_CHARS = 4
# Crockford's Base32: without I, L, O and U, which are read as others.
_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_MISREAD = str.maketrans({"O": "0", "I": "1", "L": "1", "-": None, " ": None})


def new_codes() -> list[str]:
    """Ten codes, as "K7QD-9V3M-…"."""
    return [_grouped("".join(secrets.choice(_ALPHABET) for _ in range(CODE_CHARS))) for _ in range(CODES)]


def normal(code: str) -> str:
    """A code as it was made, however it was typed: lower case, spaces, no hyphens, O for 0."""
    return code.upper().translate(_MISREAD)


class RecoveryDigests:
    """Digests of codes under a key of the mesh's: who reads the database cannot even try codes."""

    def __init__(self, pepper: bytes) -> None:
        self._key = hmac.digest(pepper, b"promptmesh recovery code", hashlib.sha256)

    def of(self, user_id: str, code: str) -> bytes:
        """The digest of a person's code."""
        return hmac.digest(self._key, f"{user_id}\0{normal(code)}".encode(), hashlib.sha256)


def _grouped(code: str) -> str:
    return "-".join(code[at : at + GROUP_CHARS] for at in range(0, len(code), GROUP_CHARS))

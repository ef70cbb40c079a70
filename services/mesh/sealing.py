"""Encrypts secrets that have to be read again (keys of providers, of authenticator apps) with AES-256-GCM, each under
its own nonce and bound to its row.

A sealed one is: 1 byte version ‖ 4 bytes of the key's name ‖ 12 bytes nonce ‖ ciphertext and tag. The row's id and its
owner (a provider, a person) are the associated data, so that one that was moved to another row or owner does not open.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pydantic import SecretStr

from services.mesh.settings import secret_bytes

KEY_BYTES = 32
_VERSION = b"\x01"
_NAME_BYTES = 4
_NONCE_BYTES = 12  # NIST SP 800-38D, 8.2: 96 bits; random ones are safe for 2³² encryptions under a key
_HEAD_BYTES = len(_VERSION) + _NAME_BYTES


class SealError(Exception):
    """It cannot be opened: under another key, in another place, or not as it was sealed. Says nothing of the secret."""


class Sealer:
    """Seals under the first key, opens with any: a new key is put before the old ones, which go when all is resealed.

    `keys`: 32 bytes each, at least one; ValueError otherwise.
    """

    def __init__(self, keys: Sequence[bytes], random_bytes: Callable[[int], bytes] = os.urandom) -> None:
        if not keys or any(len(key) != KEY_BYTES for key in keys):
            raise ValueError(f"expected one or more keys of {KEY_BYTES} bytes")
        self._random_bytes = random_bytes
        self._first = _name(keys[0])
        self._ciphers = [(_name(key), AESGCM(key)) for key in keys]

    def seal(self, secret: str, row_id: str, owner: str) -> bytes:
        """For the row `row_id` of `owner`."""
        nonce = self._random_bytes(_NONCE_BYTES)
        sealed = self._ciphers[0][1].encrypt(nonce, secret.encode(), _bound_to(row_id, owner))
        return _VERSION + self._first + nonce + sealed

    def open(self, sealed: bytes, row_id: str, owner: str) -> str:
        """The secret of a row. SealError."""
        name, rest = sealed[len(_VERSION) : _HEAD_BYTES], sealed[_HEAD_BYTES:]
        if sealed[: len(_VERSION)] != _VERSION or len(rest) <= _NONCE_BYTES:
            raise SealError("it is not in a form that this release knows")
        nonce, ciphertext = rest[:_NONCE_BYTES], rest[_NONCE_BYTES:]
        named = [cipher for own, cipher in self._ciphers if own == name]
        for cipher in named:
            try:
                return cipher.decrypt(nonce, ciphertext, _bound_to(row_id, owner)).decode()
            except (InvalidTag, UnicodeDecodeError):
                continue
        raise SealError("it was changed or moved" if named else "it was sealed under a key that is not set here")

    def is_current(self, sealed: bytes) -> bool:
        """Whether it is sealed under the first key."""
        return sealed[:_HEAD_BYTES] == _VERSION + self._first


def keys_of(text: SecretStr) -> list[bytes]:
    """The keys in a setting: one or several, comma between them, each 32 bytes in base64url. ValueError."""
    keys = [secret_bytes(SecretStr(part)) for part in text.get_secret_value().split(",")]
    if any(len(key) != KEY_BYTES for key in keys):
        raise ValueError(
            f"expected {KEY_BYTES} random bytes in base64url, or several such, the newest first, with commas between"
        )
    return keys


def _name(key: bytes) -> bytes:
    # The text is older than other uses of this file; what it was sealed with stays readable.
    return hashlib.sha256(b"promptmesh provider key\0" + key).digest()[:_NAME_BYTES]


def _bound_to(row_id: str, owner: str) -> bytes:
    # An id has one length, so nothing can be moved from one part to the other.
    return f"{row_id}\0{owner}".encode()

"""API keys: their form, so that a typo is refused without a look-up and a scanner finds a leaked one, and their digest.

`pm_` + 40 random base62 characters (238 bits) + 6 base62 characters of their CRC-32, as GitHub's tokens are made
(github.blog, "Behind GitHub's new authentication token formats", 2021).
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import string
import zlib
from uuid import UUID

PREFIX = "pm_"
_ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
_ALPHABET_SET = frozenset(_ALPHABET)
_RANDOM_CHARS = 40
_CHECK_CHARS = 6  # 62^6 > 2^32
_LENGTH = len(PREFIX) + _RANDOM_CHARS + _CHECK_CHARS
_ACCOUNT = b"account:"
_SHOWN_CHARS = len(PREFIX) + 8


def new_secret() -> str:
    """A new API key."""
    body = PREFIX + "".join(secrets.choice(_ALPHABET) for _ in range(_RANDOM_CHARS))
    return body + _checksum(body)


def looks_like_key(credential: str) -> bool:
    """Whether it claims to be an API key, rather than a token."""
    return credential.startswith(PREFIX)


def well_formed(secret: str) -> bool:
    """Whether it is a key that `new_secret` could have made; says nothing about whether it was."""
    if len(secret) != _LENGTH or not secret.startswith(PREFIX) or not _ALPHABET_SET.issuperset(secret[len(PREFIX) :]):
        return False
    return secret[-_CHECK_CHARS:] == _checksum(secret[:-_CHECK_CHARS])


def digest(pepper: bytes, secret: str) -> bytes:
    """What is stored and looked up instead of the secret: HMAC-SHA-256 under the mesh's pepper, 32 bytes."""
    return hmac.digest(pepper, secret.encode(), hashlib.sha256)


def account_digest(service_account_id: str) -> bytes:
    """What stands for the digest of a service account that is known by its certificate instead of a key: of another
    length than those of secrets, so that no secret has it."""
    return _ACCOUNT + UUID(service_account_id).bytes


def account_of(digest: bytes) -> str | None:
    """The service account that such a digest is of; None: it is a secret's."""
    return str(UUID(bytes=digest[len(_ACCOUNT) :])) if len(digest) == len(_ACCOUNT) + 16 else None


def prefix(secret: str) -> str:
    """The first 11 characters, shown to tell keys apart."""
    return secret[:_SHOWN_CHARS]


def _checksum(body: str) -> str:
    number = zlib.crc32(body.encode())
    text = ""
    for _ in range(_CHECK_CHARS):
        number, digit = divmod(number, len(_ALPHABET))
        text = _ALPHABET[digit] + text
    return text

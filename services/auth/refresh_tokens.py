"""Refresh tokens: `pmr_` and base64url of session id (16 bytes) ‖ secret (32) ‖ code (16).

The code is a MAC of the two before it. A session's row holds only the digest of its present token; any other token of
it that bears a right code was ours once, and so is a used one that came again. Without the code, whoever knows a
session's id (it stands in access tokens) could end it with a token made up.

A token's successor follows from the token itself, a salt in the session's row, and a key of the mesh: whoever brings
the used token in time gets the same successor once more, which is stored nowhere. None of the three alone tells it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
import uuid
from dataclasses import dataclass, field

PREFIX = "pmr_"
_ID_BYTES = 16
_SECRET_BYTES = 32
_CODE_BYTES = 16
_CONTEXT = b"promptmesh refresh token"
_SUCCESSOR_CONTEXT = b"promptmesh refresh token's successor"
SALT_BYTES = 32


@dataclass(frozen=True, slots=True)
class RefreshToken:
    """A token that has the right form. ours: whether this mesh made it."""

    session_id: str
    digest: bytes  # SHA-256 of the whole text, which is stored instead of it
    ours: bool
    text: str = field(repr=False)


class RefreshTokens:
    """Makes and reads refresh tokens."""

    def __init__(self, pepper: bytes) -> None:
        self._key = hmac.digest(pepper, _CONTEXT, hashlib.sha256)
        self._successor_key = hmac.digest(pepper, _SUCCESSOR_CONTEXT, hashlib.sha256)

    def make(self, session_id: str) -> str:
        """A new token of a session."""
        return self._token(session_id, secrets.token_bytes(_SECRET_BYTES))

    def successor(self, token: RefreshToken, salt: bytes) -> str:
        """The token that follows another under a salt: always the same one."""
        return self._token(
            token.session_id, hmac.digest(self._successor_key, salt + token.text.encode(), hashlib.sha256)
        )

    def read(self, text: str) -> RefreshToken | None:
        """What a text says that may be a token; None if it has not the form of one."""
        if not text.startswith(PREFIX):
            return None
        encoded = text[len(PREFIX) :]
        try:
            raw = base64.b64decode(encoded + "=" * (-len(encoded) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            return None
        if len(raw) != _ID_BYTES + _SECRET_BYTES + _CODE_BYTES:
            return None
        body, code = raw[:-_CODE_BYTES], raw[-_CODE_BYTES:]
        ours = hmac.compare_digest(code, self._code(body))
        return RefreshToken(str(uuid.UUID(bytes=body[:_ID_BYTES])), digest_of(text), ours, text)

    def _token(self, session_id: str, secret: bytes) -> str:
        body = uuid.UUID(session_id).bytes + secret
        return PREFIX + base64.urlsafe_b64encode(body + self._code(body)).decode().rstrip("=")

    def _code(self, body: bytes) -> bytes:
        return hmac.digest(self._key, body, hashlib.sha256)[:_CODE_BYTES]


def new_salt() -> bytes:
    """A salt for one rotation."""
    return secrets.token_bytes(SALT_BYTES)


def digest_of(token: str) -> bytes:
    """What is stored of a token: SHA-256. It is random enough to need neither salt nor pepper."""
    return hashlib.sha256(token.encode()).digest()

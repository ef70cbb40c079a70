"""Codes of authenticator apps: RFC 6238 with what every app takes — SHA-1, six digits, 30 seconds."""

from __future__ import annotations

import base64
import hmac
import secrets
from urllib.parse import quote, urlencode

SECRET_BYTES = 20  # 160 bits, the length of the HMAC's output (RFC 4226, section 4, R6)
DIGITS = 6
STEP_S = 30
SKEW_STEPS = 1  # before and after the present one, for clocks that differ (RFC 6238, section 5.2)
ISSUER = "Promptmesh"


def new_secret() -> bytes:
    """A secret for one app."""
    return secrets.token_bytes(SECRET_BYTES)


def written(secret: bytes) -> str:
    """The secret as people type it: Base32 (RFC 4648)."""
    return base64.b32encode(secret).decode()


def otpauth_uri(secret: bytes, account: str) -> str:
    """What the QR code says (the Key URI format). account: the person's address."""
    label = quote(f"{ISSUER}:{account}", safe="")
    values = {"secret": written(secret), "issuer": ISSUER, "algorithm": "SHA1", "digits": DIGITS, "period": STEP_S}
    return f"otpauth://totp/{label}?{urlencode(values)}"


def code_at(secret: bytes, step: int) -> str:
    """The code of a time step (RFC 4226, section 5.3)."""
    mac = hmac.digest(secret, step.to_bytes(8, "big"), "sha1")
    offset = mac[-1] & 0xF
    number = int.from_bytes(mac[offset : offset + 4], "big") & 0x7FFF_FFFF
    return str(number % 10**DIGITS).zfill(DIGITS)


def step_at(now: float) -> int:
    """The time step of a moment, in seconds since the epoch."""
    return int(now // STEP_S)


def step_of(secret: bytes, code: str, now: float, last_step: int = -1) -> int | None:
    """The step that a code belongs to, if it is good at `now` and later than the last one that was used; else None.

    A code is good once: who takes it keeps its step as the last one, under the lock of its row. An older code than the
    last one is refused as well, as nobody types it in good faith.
    """
    found = None
    for step in range(step_at(now) - SKEW_STEPS, step_at(now) + SKEW_STEPS + 1):
        # Every step is compared, so that the time taken tells nothing.
        if hmac.compare_digest(code_at(secret, max(step, 0)).encode(), code.encode()) and step > last_step:
            found = step if found is None else found
    return found

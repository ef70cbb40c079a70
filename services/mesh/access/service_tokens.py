"""Mesh tokens: how services prove themselves to one another, with a secret that all of them hold.

A kind of its own: other `typ`, other algorithm, other audience than access tokens, and another key, so that neither
can pass for the other.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

import jwt

from services.mesh.access.tokens import expired, invalid
from services.mesh.call import Caller, CallerKind
from services.mesh.ids import SYSTEM_CLOCK, Clock

AUDIENCE = "promptmesh-mesh"
TYPE = "mesh+jwt"
ALGORITHM = "HS256"
LIFETIME_S = 300.0
LEEWAY_S = 5
_SUBJECT_PREFIX = "service:"


class ServiceTokens:
    """Makes this service's own token and verifies those of others."""

    def __init__(self, service: str, mesh_secret: bytes, clock: Clock = SYSTEM_CLOCK) -> None:
        self._service, self._clock = service, clock
        # Derived, so that no other use of the secret can make a token.
        self._key = hmac.digest(mesh_secret, b"promptmesh service token", hashlib.sha256)
        self._token = ""
        self._issue_time = self._renew_time = 0.0

    def token(self) -> str:
        """A token with at least half of its life before it."""
        now = self._clock.time()
        # Of a clock that was ahead and is right again: others would refuse a token of the future until it comes.
        if not self._issue_time <= now < self._renew_time:
            claims = {
                "iss": AUDIENCE,
                "aud": AUDIENCE,
                "sub": _SUBJECT_PREFIX + self._service,
                "iat": now,
                "exp": now + LIFETIME_S,
            }
            self._token = jwt.encode(claims, self._key, algorithm=ALGORITHM, headers={"typ": TYPE})
            self._issue_time, self._renew_time = now, now + LIFETIME_S / 2
        return self._token

    def verify(self, token: str) -> Caller:
        """The service behind a token. Raises MeshError."""
        try:
            header = jwt.get_unverified_header(token)
            if header.get("typ") != TYPE or header.get("alg") != ALGORITHM:
                raise jwt.InvalidTokenError("not a mesh token")
            claims: dict[str, Any] = jwt.decode(
                token,
                self._key,
                algorithms=[ALGORITHM],
                audience=AUDIENCE,
                issuer=AUDIENCE,
                leeway=LEEWAY_S,
                options={"require": ["iss", "aud", "sub", "exp", "iat"], "strict_aud": True},
            )
        except jwt.ExpiredSignatureError:
            raise expired() from None
        except jwt.InvalidTokenError:
            raise invalid("The mesh token is forged, damaged, or of another mesh (PROMPTMESH_MESH_SECRET).") from None
        subject = claims["sub"]
        if not subject.startswith(_SUBJECT_PREFIX) or len(subject) == len(_SUBJECT_PREFIX):
            raise invalid("The mesh token names no service.")
        return Caller(
            CallerKind.SERVICE, service=subject.removeprefix(_SUBJECT_PREFIX), expire_time=float(claims["exp"])
        )

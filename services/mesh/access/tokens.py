"""Access tokens: JWTs that auth signs (ES256) and every service verifies by itself.

The header's `typ` says which kind of token it is, and each kind has one algorithm: a token cannot choose how it is
verified (RFC 8725, sections 3.1 and 3.11). The claims follow RFC 9068 where it has a name for them.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey
from jwt.algorithms import ECAlgorithm
from promptmesh.auth.v1.auth_pb2 import JsonWebKey

from services.mesh.access.scopes import scopes_of
from services.mesh.call import Caller, CallerKind
from services.mesh.errors import MeshError
from services.mesh.ids import uuid7

ISSUER = "promptmesh"
AUDIENCE = "promptmesh"
TYPE = "at+jwt"  # RFC 9068
ALGORITHM = "ES256"
LEEWAY_S = 5  # between the clocks of two machines
TOKEN_CHARS_MAX = 4096
# Whatever a token says of itself: restrictions (an ended session, changed roles) are told for as long as tokens live,
# so one that lived longer would outlive its revocation.
LIFETIME_S_MAX = 3600.0
_REQUIRED = ["iss", "aud", "sub", "exp", "iat", "org", "sid"]


def sign_access_token(
    key: EllipticCurvePrivateKey,
    key_id: str,
    *,
    user_id: str,
    org_id: str,
    display_name: str,
    roles: Iterable[int],
    session_id: str,
    issue_time: float,
    expire_time: float,
    auth_time: float | None = None,
    plan: str = "",
) -> str:
    """A signed access token. Times are seconds since the epoch; auth_time: when the session last proved who
    it is; None: now. Only auth calls this."""
    claims = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": user_id,
        "org": org_id,
        "name": display_name,
        "roles": sorted(roles),
        "sid": session_id,
        "jti": uuid7(),
        "iat": issue_time,
        "exp": expire_time,
        "auth_time": issue_time if auth_time is None else auth_time,
        "plan": plan,
    }
    return jwt.encode(claims, key, algorithm=ALGORITHM, headers={"kid": key_id, "typ": TYPE})


@dataclass(frozen=True, slots=True)
class VerifiedToken:
    """What an access token says, its signature, audience and times being right when it was verified."""

    caller: Caller
    key_id: str = ""  # of the key that signed it; "" of a mesh token, which no such key signs


class UnknownKeyIdError(Exception):
    """The token names a key that is not known here; whether it is forged cannot be said."""


def token_hash(token: str) -> bytes:
    """Under which a checked token is remembered: never the token itself."""
    return hashlib.sha256(token.encode()).digest()


def token_type(token: str) -> str:
    """The `typ` of a token, unverified: it only chooses who verifies it. "" if it is no token."""
    if len(token) > TOKEN_CHARS_MAX:
        return ""
    try:
        found = jwt.get_unverified_header(token).get("typ")
    except jwt.InvalidTokenError:
        return ""
    return found if isinstance(found, str) else ""


def public_keys(keys: Iterable[JsonWebKey]) -> dict[str, EllipticCurvePublicKey]:
    """The ES256 keys of a key set, by key id; others are left out."""
    found: dict[str, EllipticCurvePublicKey] = {}
    for key in keys:
        if key.kty == "EC" and key.crv == "P-256" and key.alg == ALGORITHM and key.kid:
            public = ECAlgorithm.from_jwk({"kty": key.kty, "crv": key.crv, "x": key.x, "y": key.y})
            if isinstance(public, EllipticCurvePublicKey):
                found[key.kid] = public
    return found


def verify_access_token(token: str, keys: Mapping[str, EllipticCurvePublicKey]) -> VerifiedToken:
    """Checks signature, audience, issuer and times. Raises MeshError, or UnknownKeyIdError."""
    try:
        header = jwt.get_unverified_header(token)
        key_id = header.get("kid")
        if header.get("typ") != TYPE or header.get("alg") != ALGORITHM or not isinstance(key_id, str):
            raise invalid("The access token is not one of this mesh.")
        key = keys.get(key_id)
        if key is None:
            raise UnknownKeyIdError(key_id)
        claims = jwt.decode(
            token,
            key,
            algorithms=[ALGORITHM],
            audience=AUDIENCE,
            issuer=ISSUER,
            leeway=LEEWAY_S,
            options={"require": _REQUIRED, "strict_aud": True},
        )
        return VerifiedToken(_caller_of(claims), key_id)
    except jwt.ExpiredSignatureError:
        raise expired() from None
    except jwt.InvalidTokenError:
        raise invalid("The access token is forged, damaged, or made for something else.") from None


def _caller_of(claims: Mapping[str, Any]) -> Caller:
    roles = claims.get("roles", [])
    texts = [claims["sub"], claims["org"], claims["sid"], claims.get("name", ""), claims.get("plan", "")]
    if not all(isinstance(text, str) for text in texts) or not all(texts[:3]):
        raise jwt.InvalidTokenError("claims that must be text are not")
    if not isinstance(roles, list) or not all(type(role) is int for role in roles):
        raise jwt.InvalidTokenError("roles are not numbers")
    user_id, org_id, session_id, name, plan = texts
    issue_time, expire_time = float(claims["iat"]), float(claims["exp"])
    if not expire_time - issue_time <= LIFETIME_S_MAX:  # so that NaN is refused too
        raise jwt.InvalidTokenError("lives longer than tokens do")
    return Caller(
        CallerKind.SESSION,
        user_id=user_id,
        org_id=org_id,
        display_name=name,
        roles=frozenset(roles),
        scopes=scopes_of(roles),
        session_id=session_id,
        expire_time=expire_time,
        issue_time=issue_time,
        # A token of v0.1.0 says nothing of it, and lives for minutes after that release's last process: until then it
        # is good for what it was good for there.
        auth_time=min(float(claims.get("auth_time", issue_time)), issue_time),
        plan=plan,
    )


def invalid(what: str) -> MeshError:
    """CREDENTIAL_INVALID, with what to do about it."""
    return MeshError(
        "CREDENTIAL_INVALID",
        f"{what} Send `authorization: Bearer <access token>` with a token of CreateSession, or an API key (`pm_…`).",
    )


def expired() -> MeshError:
    """CREDENTIAL_EXPIRED, with what to do about it."""
    return MeshError(
        "CREDENTIAL_EXPIRED",
        "The credential has expired. Get a new access token with RefreshSession or CreateSession, or a new API key.",
    )


def revoked() -> MeshError:
    """CREDENTIAL_REVOKED, with what to do about it."""
    return MeshError(
        "CREDENTIAL_REVOKED",
        "The credential was revoked or its session has ended. Log in again with CreateSession, or make a new API key.",
    )


def suspended(until: float) -> MeshError:
    """SUSPENDED, with what to do about it. until: seconds since the epoch; infinite: the person is gone."""
    if math.isinf(until):
        return revoked()
    return MeshError(
        "SUSPENDED",
        f"Your account is suspended until {datetime.fromtimestamp(until, UTC):%Y-%m-%d %H:%M} UTC. The mail that told "
        "you says why; an administrator can end it.",
    )


def unverifiable() -> MeshError:
    """CREDENTIAL_UNVERIFIABLE: nothing is wrong with the credential as far as one can tell."""
    return MeshError(
        "CREDENTIAL_UNVERIFIABLE",
        "The credential cannot be checked right now, because auth does not answer. It may be right: retry.",
        retry_after_s=2.0,
    )

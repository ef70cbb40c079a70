"""ID tokens: who somebody is, in a provider's signed words (OpenID Connect Core 1.0, section 3.1.3.7)."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from services.auth.federation.faults import ProviderFault

# Signatures by a key pair alone: `none` proves nothing, and HS256 can be made by whoever has a public key for a secret.
_KINDS = {"RS256": ("RSA", None), "PS256": ("RSA", None), "ES256": ("EC", "P-256"), "EdDSA": ("OKP", "Ed25519")}
ALGORITHMS = frozenset(_KINDS)
_AT_HASHES = {"RS256": "sha256", "PS256": "sha256", "ES256": "sha256", "EdDSA": "sha512"}  # Ed25519 is over SHA-512
KEYS_MAX = 100
RSA_BITS_MIN = 2048
TOKEN_CHARS_MAX = 64 * 1024
LEEWAY_S = 60  # for clocks that differ
AGE_S_MAX = 600  # since it was issued: a code is exchanged at once
SUBJECT_CHARS_MAX = 255  # OpenID Connect Core 1.0, section 2


@dataclass(frozen=True, slots=True)
class Key:
    """A public key. algorithm: the only one that it is for; "": any of its kind."""

    kid: str | None
    kind: str
    curve: str | None
    algorithm: str
    jwk: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Expected:
    """What an ID token must say. now: in seconds since the epoch; nonce_digest: SHA-256; access_token: that
    came along."""

    issuer: str
    client_id: str
    nonce_digest: bytes
    algorithms: Collection[str]
    access_token: str
    now: float


def keys_of(document: dict[str, Any]) -> tuple[Key, ...]:
    """The keys of a key set that may verify signatures. ProviderFault."""
    keys = document.get("keys")
    if not isinstance(keys, list) or len(keys) > KEYS_MAX:
        raise ProviderFault(f"its key set is no list of at most {KEYS_MAX} keys")
    return tuple(_key(one) for one in keys if isinstance(one, dict) and _verifies(one))


def _verifies(jwk: dict[str, Any]) -> bool:
    operations = jwk.get("key_ops", ["verify"])
    return jwk.get("use", "sig") == "sig" and isinstance(operations, list) and "verify" in operations


def _key(jwk: dict[str, Any]) -> Key:
    kid, algorithm = jwk.get("kid"), jwk.get("alg")
    return Key(
        kid=kid if isinstance(kid, str) else None,
        kind=str(jwk.get("kty")),
        curve=str(jwk["crv"]) if "crv" in jwk else None,
        algorithm=algorithm if isinstance(algorithm, str) else "",
        jwk={name: value for name, value in jwk.items() if name not in ("d", "k")},
    )


def find_key(keys: Sequence[Key], kid: str | None, algorithm: str) -> Key | None:
    """The key of a signature. Without a kid, the only one that it can be."""
    kind = _KINDS[algorithm]
    fitting = [
        one
        for one in keys
        if (one.kind, one.curve if kind[1] else None) == kind
        and one.algorithm in ("", algorithm)
        and (kid is None or one.kid == kid)
    ]
    return fitting[0] if len(fitting) == 1 else None


async def verify(token: str, expected: Expected, key_of: Callable[[str | None, str], Awaitable[Key]]) -> dict[str, Any]:
    """Its claims. key_of: finds a key by kid and algorithm. ProviderFault."""
    if len(token) > TOKEN_CHARS_MAX:
        raise ProviderFault("its ID token is too long")
    try:
        header = jwt.get_unverified_header(token)
    except jwt.PyJWTError:
        raise ProviderFault("its ID token is no signed token") from None
    algorithm, kid = header.get("alg"), header.get("kid")
    if algorithm not in expected.algorithms or algorithm not in ALGORITHMS:
        raise ProviderFault("its ID token is signed with an algorithm that is not allowed")
    if "crit" in header or not (kid is None or isinstance(kid, str)):
        raise ProviderFault("its ID token has a header that is not understood")
    key = await key_of(kid, algorithm)
    claims = _verified(token, key, algorithm)
    _check(claims, expected)
    _check_access_token(claims, algorithm, expected.access_token)
    return claims


def _verified(token: str, key: Key, algorithm: str) -> dict[str, Any]:
    try:
        public = jwt.PyJWK(key.jwk, algorithm=algorithm)
        if isinstance(public.key, RSAPublicKey) and public.key.key_size < RSA_BITS_MIN:
            raise ProviderFault(f"its key has less than {RSA_BITS_MIN} bits")
        # Only the signature: the claims are checked below, by the clock that is given.
        claims: dict[str, Any] = jwt.decode(
            token,
            public.key,
            algorithms=[algorithm],
            options=dict.fromkeys(("verify_exp", "verify_nbf", "verify_iat", "verify_aud", "verify_iss"), False)
            | {"verify_sub": False, "verify_jti": False, "verify_signature": True},  # type: ignore[arg-type]
        )
    except (jwt.PyJWTError, ValueError, TypeError, KeyError) as error:  # the latter of keys in no form
        raise ProviderFault(f"its ID token cannot be verified: {type(error).__name__}") from None
    return claims


def _check(claims: dict[str, Any], expected: Expected) -> None:
    if claims.get("iss") != expected.issuer:
        raise ProviderFault("its ID token is of another issuer")
    audience = claims.get("aud")
    audiences = [audience] if isinstance(audience, str) else audience
    if not isinstance(audiences, list) or expected.client_id not in audiences:
        raise ProviderFault("its ID token is for another client")
    party = claims.get("azp")
    if party != expected.client_id and (party is not None or len(audiences) > 1):
        raise ProviderFault("its ID token was given to another client")
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 0 < len(subject) <= SUBJECT_CHARS_MAX or not subject.isascii():
        raise ProviderFault("its ID token names nobody")
    if "\0" in subject:
        raise ProviderFault("its ID token names nobody")
    expire_time, issue_time, earliest, auth_time = (_seconds(claims, one) for one in ("exp", "iat", "nbf", "auth_time"))
    if expire_time is None or issue_time is None:
        raise ProviderFault("its ID token says not when it was issued and ends")
    if expected.now >= expire_time + LEEWAY_S:
        raise ProviderFault("its ID token has expired")
    if issue_time > expected.now + LEEWAY_S or (earliest or 0) > expected.now + LEEWAY_S:
        raise ProviderFault("its ID token is of the future")
    if auth_time is not None and not 0 <= auth_time <= expected.now + LEEWAY_S:
        raise ProviderFault("its ID token tells of a proof (auth_time) that was never given")
    if expected.now > issue_time + AGE_S_MAX:
        raise ProviderFault("its ID token is too old")
    nonce = claims.get("nonce")
    if not isinstance(nonce, str) or not hmac.compare_digest(nonce_digest(nonce), expected.nonce_digest):
        raise ProviderFault("its ID token is of another log-in (nonce)")


def nonce_digest(nonce: str) -> bytes:
    """What is kept of a nonce."""
    return hashlib.sha256(nonce.encode()).digest()


def _check_access_token(claims: dict[str, Any], algorithm: str, access_token: str) -> None:
    said = claims.get("at_hash")
    if said is None:
        return
    digest = hashlib.new(_AT_HASHES[algorithm], access_token.encode()).digest()
    right = base64.urlsafe_b64encode(digest[: len(digest) // 2]).rstrip(b"=").decode()
    if not isinstance(said, str) or not access_token or not hmac.compare_digest(said.encode(), right.encode()):
        raise ProviderFault("its ID token came with another access token (at_hash)")


def _seconds(claims: dict[str, Any], name: str) -> float | None:
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ProviderFault(f"its ID token has no time as {name}")
    return float(value)

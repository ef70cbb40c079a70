"""A provider on a socket that does what a test tells it: answers, keys and tokens at will."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

CLIENT = "mesh"
ACCESS_TOKEN = "an access token of the tests"
_RSA = rsa.generate_private_key(65537, 2048)


@dataclass
class HostileProvider:
    """A provider. Change what it says by its fields; without changes it is a good one."""

    issuer: str = ""
    now: float = 0.0
    discovery: dict[str, Any] = field(default_factory=dict)  # over what it says of itself
    claims: dict[str, Any] = field(default_factory=dict)  # over those of ID tokens; None takes one away
    header: dict[str, Any] = field(default_factory=lambda: {"kid": "one"})
    key: Any = _RSA
    algorithm: str = "RS256"
    jwks: dict[str, Any] = field(default_factory=dict)
    userinfo: dict[str, Any] = field(default_factory=dict)
    tokens: Callable[[str], dict[str, Any]] = lambda id_token: {
        "access_token": ACCESS_TOKEN,
        "token_type": "Bearer",
        "id_token": id_token,
    }
    answers: dict[str, Callable[[web.Request], Any]] = field(default_factory=dict)  # by path
    asked: list[str] = field(default_factory=list)
    forms: list[dict[str, Any]] = field(default_factory=list)
    nonce: str = ""

    def __post_init__(self) -> None:
        self.jwks = {"keys": [public_jwk(_RSA, "one")]}

    def took(self, authorization_url: str) -> str:
        """The browser came to its page; the state that goes back."""
        query = dict(parse_qsl(urlsplit(authorization_url).query))
        self.nonce = query["nonce"]
        return query["state"]

    def id_token(self) -> str:
        """As it stands now."""
        claims = {
            "iss": self.issuer,
            "sub": "somebody",
            "aud": CLIENT,
            "exp": int(self.now) + 300,
            "iat": int(self.now),
            "nonce": self.nonce,
            "email": "somebody@people.example",
            "email_verified": True,
            **self.claims,
        }
        return signed({k: v for k, v in claims.items() if v is not None}, self.key, self.algorithm, self.header)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.path)
        if request.path in self.answers:
            answer = self.answers[request.path](request)
            return await answer if asyncio.iscoroutine(answer) else answer
        if request.path == "/.well-known/openid-configuration":
            return web.json_response(
                {
                    "issuer": self.issuer,
                    "authorization_endpoint": f"{self.issuer}/authorize",
                    "token_endpoint": f"{self.issuer}/token",
                    "userinfo_endpoint": f"{self.issuer}/userinfo",
                    "jwks_uri": f"{self.issuer}/jwks",
                    **self.discovery,
                }
            )
        if request.path == "/jwks":
            return web.json_response(self.jwks)
        if request.path == "/userinfo":
            return web.json_response(self.userinfo)
        if request.path == "/token":
            self.forms.append(dict(await request.post()))
            return web.json_response(self.tokens(self.id_token()))
        raise web.HTTPNotFound


@asynccontextmanager
async def hostile_provider() -> AsyncIterator[HostileProvider]:
    """Starts one on a free port."""
    provider = HostileProvider()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", provider._answer)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    provider.issuer = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield provider
    await runner.cleanup()


def signed(claims: dict[str, Any], key: Any, algorithm: str, header: dict[str, Any]) -> str:
    """A token as it is told, however wrong. `none`: without a signature; HS256 with a public key: as forgers do it."""
    if algorithm == "HS256":
        secret = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        head, body = _part({"alg": "HS256", "typ": "JWT", **header}), _part(claims)
        return f"{head}.{body}.{_base64(hmac.digest(secret, f'{head}.{body}'.encode(), 'sha256'))}"
    if algorithm == "none":
        return f"{_part({'alg': 'none', **header})}.{_part(claims)}."
    return jwt.encode(claims, key, algorithm=algorithm, headers=header)


def at_hash(access_token: str) -> str:
    """Of an ID token over SHA-256."""
    return _base64(hashlib.sha256(access_token.encode()).digest()[:16])


def public_jwk(key: Any, kid: str, **more: Any) -> dict[str, Any]:
    """A private key's public half in a key set."""
    public = key.public_key()
    maker = jwt.algorithms.ECAlgorithm if isinstance(public, ec.EllipticCurvePublicKey) else jwt.algorithms.RSAAlgorithm
    return {**maker.to_jwk(public, as_dict=True), "kid": kid, "use": "sig", **more}


def _part(value: dict[str, Any]) -> str:
    return _base64(json.dumps(value).encode())


def _base64(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()

"""Access tokens that somebody made up: each is right but for one thing."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

from services.local.data_folder import DataFolder

HOUR_S = 3600


class Forger:
    """Knows the mesh's signing key and a token that is good."""

    def __init__(self, data: Path, good: str) -> None:
        key = serialization.load_pem_private_key(DataFolder(data).signing_key.read_bytes(), None)
        assert isinstance(key, EllipticCurvePrivateKey)
        self._key = key
        self._header: Mapping[str, Any] = jwt.get_unverified_header(good)
        self._claims: Mapping[str, Any] = jwt.decode(good, options={"verify_signature": False})
        self._good = good

    def all(self) -> dict[str, tuple[str, str]]:
        """What is wrong → (token, reason that it is refused with)."""
        now = time.time()
        invalid = {
            "forged: another key under the mesh's key id": self._signed(key=ec.generate_private_key(ec.SECP256R1())),
            "forged: a key id that the mesh does not have": self._signed(header={"kid": "someone-else"}),
            "forged: no key id": self._signed(header={"kid": None}),
            "forged: a claim changed under the old signature": self._tampered(roles=[1, 2, 3, 4]),
            "forged: no signature": self._good.rpartition(".")[0] + ".",
            "alg none": self._unsigned("none"),
            "alg None": self._unsigned("None"),
            "alg none, with the old signature": self._unsigned("none") + self._good.rpartition(".")[2],
            "HS256 with the public key as secret": self._symmetric(),
            "a key of the caller's own in the header": self._own_key(),
            "another type of token": self._signed(header={"typ": "JWT"}),
            "a mesh token signed by the wrong key": self._signed(header={"typ": "mesh+jwt"}),
            "another audience": self._signed(aud="promptmesh-mesh"),
            "an audience beside ours": self._signed(aud=["promptmesh", "other"]),
            "no audience": self._signed(aud=None),
            "another issuer": self._signed(iss="somebody"),
            "no expiry": self._signed(exp=None),
            "an expiry that is no number": self._signed(exp="tomorrow"),
            "issued in the future": self._signed(iat=now + HOUR_S, exp=now + 2 * HOUR_S),
            "not good before tomorrow": self._signed(nbf=now + 24 * HOUR_S),
            "nobody's": self._signed(sub=""),
            "roles that are no numbers": self._signed(roles=["ROLE_ADMIN"]),
            "no session": self._signed(sid=None),
            "very long": self._signed(name="x" * 8000),
            "no token at all": "gibberish",
            "three parts of nothing": "..",
        }
        expired = {"expired": self._signed(iat=now - 2 * HOUR_S, exp=now - HOUR_S)}
        return {what: (token, "CREDENTIAL_INVALID") for what, token in invalid.items()} | {
            what: (token, "CREDENTIAL_EXPIRED") for what, token in expired.items()
        }

    def good(self) -> str:
        """Proof that the others are refused for what is wrong with them: the same without."""
        return self._signed()

    def _signed(
        self, *, key: EllipticCurvePrivateKey | None = None, header: Mapping[str, Any] | None = None, **claims: Any
    ) -> str:
        merged = {name: value for name, value in {**self._claims, **claims}.items() if value is not None}
        headers = {**self._header, **(header or {})}
        signing_input = f"{_part(headers)}.{_part(merged)}"
        signature = jwt.get_algorithm_by_name("ES256").sign(signing_input.encode(), key or self._key)
        return f"{signing_input}.{_base64url(signature)}"

    def _tampered(self, **claims: Any) -> str:
        head, _, signature = self._good.split(".")
        return f"{head}.{_part({**self._claims, **claims})}.{signature}"

    def _unsigned(self, algorithm: str) -> str:
        return f"{_part({**self._header, 'alg': algorithm})}.{_part(self._claims)}."

    def _symmetric(self) -> str:
        public = self._key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        signing_input = f"{_part({**self._header, 'alg': 'HS256'})}.{_part(self._claims)}"
        return f"{signing_input}.{_base64url(hmac.digest(public, signing_input.encode(), hashlib.sha256))}"

    def _own_key(self) -> str:
        own = ec.generate_private_key(ec.SECP256R1())
        jwk = json.loads(jwt.get_algorithm_by_name("ES256").to_jwk(own.public_key()))
        return self._signed(key=own, header={"jwk": jwk})


def _part(value: Mapping[str, Any]) -> str:
    return _base64url(json.dumps(value).encode())


def _base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")

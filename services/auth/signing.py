"""The key that access tokens are signed with: an EC key on P-256, from a PEM file."""

from __future__ import annotations

import base64
import hashlib
import json
import stat
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from promptmesh.auth.v1.auth_pb2 import JsonWebKey

from services.mesh.access.tokens import ALGORITHM

CURVE = "P-256"
_COORDINATE_BYTES = 32
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_MAKE_ONE = "Make one with `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256`."


class SigningKeyError(ValueError):
    """The file holds no key that can be used; the message says why and what was expected."""


def load_signing_key(path: Path) -> EllipticCurvePrivateKey:
    """The private key in a PEM file. Raises SigningKeyError."""
    try:
        pem = path.read_bytes()
    except OSError as error:
        raise SigningKeyError(f"{path} cannot be read ({error.strerror}). {_MAKE_ONE}") from None
    try:
        key = load_pem_private_key(pem, password=None)
    except TypeError:
        raise SigningKeyError(
            f"{path} is encrypted; expected a private key without a passphrase. {_MAKE_ONE}"
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise SigningKeyError(f"{path} holds no private key in PEM. {_MAKE_ONE}") from None
    if not isinstance(key, EllipticCurvePrivateKey):
        raise SigningKeyError(f"{path} holds another kind of key; expected an EC key on {CURVE}. {_MAKE_ONE}")
    if not isinstance(key.curve, SECP256R1):
        raise SigningKeyError(f"{path} holds a key on {key.curve.name}; expected {CURVE} (secp256r1). {_MAKE_ONE}")
    return key


def readable_by_others(path: Path) -> bool:
    """Whether users of the machine other than the file's owner may do anything with it."""
    return bool(path.stat().st_mode & _OTHERS)


def public_jwk(key: EllipticCurvePrivateKey) -> JsonWebKey:
    """The public half, with its RFC 7638 thumbprint as `kid`."""
    numbers = key.public_key().public_numbers()
    return jwk_of(_base64url(numbers.x), _base64url(numbers.y))


def jwk_of(x: str, y: str) -> JsonWebKey:
    """The key of two coordinates in base64url."""
    return JsonWebKey(kty="EC", use="sig", alg=ALGORITHM, kid=thumbprint(x, y), crv=CURVE, x=x, y=y)


def thumbprint(x: str, y: str) -> str:
    """RFC 7638, section 3: SHA-256 of the required members in lexicographic order, without white space."""
    members = json.dumps({"crv": CURVE, "kty": "EC", "x": x, "y": y}, separators=(",", ":"))
    return base64.urlsafe_b64encode(hashlib.sha256(members.encode()).digest()).decode().rstrip("=")


def _base64url(coordinate: int) -> str:
    # RFC 7518, section 6.2.1.2: the full size, leading zeros kept.
    return base64.urlsafe_b64encode(coordinate.to_bytes(_COORDINATE_BYTES, "big")).decode().rstrip("=")

"""The keys that access tokens are signed with: EC keys on P-256, from a PEM file or a folder of them."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from promptmesh.auth.v1.auth_pb2 import JsonWebKey

from services.mesh.access.tokens import ALGORITHM

CURVE = "P-256"
_COORDINATE_BYTES = 32
_BLOCK = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----[^-]*-----END [A-Z ]*PRIVATE KEY-----")
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_MAKE_ONE = "Make one with `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256`."


class SigningKeyError(ValueError):
    """The file holds no key that can be used; the message says why and what was expected."""


@dataclass(frozen=True, slots=True)
class Signer:
    """A private key and the id that its public half is published under."""

    key: EllipticCurvePrivateKey = field(repr=False)
    kid: str


def load_signing_key(path: Path) -> EllipticCurvePrivateKey:
    """The first private key in a PEM file. Raises SigningKeyError."""
    return _keys_in(path)[0]


def _keys_in(path: Path) -> list[EllipticCurvePrivateKey]:
    try:
        pem = path.read_bytes()
    except OSError as error:
        raise SigningKeyError(f"{path} cannot be read ({error.strerror}). {_MAKE_ONE}") from None
    return [_key_of(block, path) for block in _BLOCK.findall(pem) or [pem]]


def _key_of(pem: bytes, path: Path) -> EllipticCurvePrivateKey:
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


def load_signing_keys(path: Path) -> list[Signer]:
    """The keys of a PEM file, or of all files `*.pem` of a folder in the order of their names: the newest is the last.

    A file may hold several keys, the newest last.

    Raises SigningKeyError.
    """
    files = key_files(path)
    if not files:
        raise SigningKeyError(f"{path} holds no file *.pem. {_MAKE_ONE}")
    signers = [Signer(key, public_jwk(key).kid) for file in files for key in _keys_in(file)]
    if len({one.kid for one in signers}) < len(signers):
        raise SigningKeyError(f"{path} holds a key twice: a rotation needs another one. {_MAKE_ONE}")
    return signers


def key_files(path: Path) -> list[Path]:
    """The files with keys, as load_signing_keys reads them. Raises SigningKeyError."""
    try:
        # Without those whose names begin with a dot: half-written ones.
        return sorted(one for one in path.glob("*.pem") if one.name[0] != ".") if path.is_dir() else [path]
    except OSError as error:
        raise SigningKeyError(f"{path} cannot be read ({error.strerror}). {_MAKE_ONE}") from None


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

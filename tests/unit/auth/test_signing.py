"""The signing key: its public half, and its thumbprint."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from services.auth.signing import public_jwk, readable_by_others, thumbprint
from services.mesh.access.tokens import public_keys

# The key of RFC 7515, appendix A.3.
X = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU"
Y = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"
# openssl dgst -sha256 over {"crv":"P-256","kty":"EC","x":"…","y":"…"}, base64url
KID = "oKIywvGUpTVTyxMQ3bwIIeQUudfr_CkLMjCE19ECD-U"


def test_the_thumbprint_is_that_of_rfc_7638() -> None:
    assert thumbprint(X, Y) == KID


def test_the_kit_reads_the_public_half() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    jwk = public_jwk(key)
    [(kid, public)] = public_keys([jwk]).items()
    assert kid == jwk.kid
    assert public.public_numbers() == key.public_key().public_numbers()


def test_leading_zeros_are_kept() -> None:
    # A coordinate below 2^248 has one in 256 keys; these are found by the seed, not by luck.
    numbers = (ec.derive_private_key(secret, ec.SECP256R1()) for secret in range(1, 2000))
    short = next(key for key in numbers if key.public_key().public_numbers().x < 2**248)
    jwk = public_jwk(short)
    assert (len(jwk.x), len(jwk.y)) == (43, 43)


@pytest.mark.parametrize(("mode", "open_"), [(0o600, False), (0o400, False), (0o640, True), (0o604, True)])
def test_a_file_that_others_may_read(tmp_path: Path, mode: int, open_: bool) -> None:
    file = tmp_path / "key.pem"
    file.touch()
    file.chmod(mode)
    assert readable_by_others(file) is open_

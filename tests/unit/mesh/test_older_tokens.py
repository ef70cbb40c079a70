"""Access tokens of a release that put less into them."""

from __future__ import annotations

import time

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from services.mesh.access.tokens import ALGORITHM, AUDIENCE, ISSUER, TYPE, verify_access_token

KEY = ec.generate_private_key(ec.SECP256R1())


@pytest.mark.parametrize("proved_before_s", [None, 0.0, 300.0, -50.0])
def test_when_a_session_proved_who_it_is(proved_before_s: float | None) -> None:
    """A token of v0.1.0 does not say it: it counts as proved when it was made, as it did there. None is from later."""
    issue_time = float(int(time.time()))
    claims = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "someone",
        "org": "theirs",
        "sid": "a session",
        "roles": [1],
        "iat": issue_time,
        "exp": issue_time + 600,
    }
    if proved_before_s is not None:
        claims["auth_time"] = issue_time - proved_before_s
    token = jwt.encode(claims, KEY, algorithm=ALGORITHM, headers={"kid": "one", "typ": TYPE})
    caller = verify_access_token(token, {"one": KEY.public_key()}).caller
    assert caller.auth_time == issue_time - max(proved_before_s or 0.0, 0.0)
    assert caller.plan == ""

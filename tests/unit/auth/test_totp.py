"""Codes of authenticator apps: the RFC's own values, and that no code is good twice."""

from __future__ import annotations

import base64
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.auth.factors import totp

RFC_SECRET = b"12345678901234567890"
secrets = st.binary(min_size=totp.SECRET_BYTES, max_size=totp.SECRET_BYTES)
moments = st.floats(min_value=120, max_value=20_000_000_000, allow_nan=False)


@pytest.mark.parametrize(
    ("moment", "code"),
    # RFC 6238, appendix B, SHA-1; of its eight digits the last six.
    [
        (59, "94287082"),
        (1111111109, "07081804"),
        (1111111111, "14050471"),
        (1234567890, "89005924"),
        (2000000000, "69279037"),
        (20000000000, "65353130"),
    ],
)
def test_the_values_of_the_rfc(moment: int, code: str) -> None:
    assert totp.code_at(RFC_SECRET, totp.step_at(moment)) == code[2:]


@pytest.mark.parametrize(
    ("counter", "code"),
    # RFC 4226, appendix D.
    list(
        enumerate(["755224", "287082", "359152", "969429", "338314", "254676", "287922", "162583", "399871", "520489"])
    ),
)
def test_the_values_of_hotp(counter: int, code: str) -> None:
    assert totp.code_at(RFC_SECRET, counter) == code


@given(secrets, moments, st.integers(-1, 1))
def test_the_codes_of_three_steps_are_good_and_their_step_is_told(secret: bytes, now: float, by: int) -> None:
    step = totp.step_at(now) + by
    found = totp.step_of(secret, totp.code_at(secret, step), now)
    assert found is not None
    assert totp.code_at(secret, found) == totp.code_at(secret, step)
    assert abs(found - totp.step_at(now)) <= totp.SKEW_STEPS


@given(secrets, moments, st.integers(min_value=2, max_value=50), st.sampled_from([-1, 1]))
def test_codes_of_other_times_are_wrong(secret: bytes, now: float, by: int, sign: int) -> None:
    present = totp.step_at(now)
    code = totp.code_at(secret, max(0, present + sign * by))
    near = {totp.code_at(secret, present + one) for one in (-1, 0, 1)}
    assert (totp.step_of(secret, code, now) is not None) == (code in near)


@given(secrets, st.lists(st.tuples(st.integers(0, 600), st.integers(-2, 2)), max_size=40))
def test_no_code_is_taken_twice_whatever_comes_in_which_order(secret: bytes, tries: list[tuple[int, int]]) -> None:
    """A model of the row: what is taken becomes the last step."""
    last_step, taken = -1, []
    for after_s, by in tries:
        now = 1_800_000_000.0 + after_s
        step = totp.step_of(secret, totp.code_at(secret, totp.step_at(now) + by), now, last_step)
        if step is not None:
            taken.append(step)
            last_step = step
    assert taken == sorted(set(taken))


@given(secrets)
def test_an_app_reads_what_is_written(secret: bytes) -> None:
    assert base64.b32decode(totp.written(secret)) == secret
    uri = urlsplit(totp.otpauth_uri(secret, "ada+x@example.com"))
    assert unquote(uri.path) == "/Promptmesh:ada+x@example.com"
    assert parse_qs(uri.query) == {
        "secret": [totp.written(secret)],
        "issuer": ["Promptmesh"],
        "algorithm": ["SHA1"],
        "digits": ["6"],
        "period": ["30"],
    }


def test_secrets_are_of_the_length_and_never_the_same() -> None:
    made = {totp.new_secret() for _ in range(50)}
    assert {len(one) for one in made} == {20}
    assert len(made) == 50

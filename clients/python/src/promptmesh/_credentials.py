"""What a call is made with, and how long a pair of tokens is good."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from promptmesh import types
from promptmesh._errors import UnauthenticatedError

#: So long before its end an access token is exchanged. Those who know it as ended sooner say UNAUTHENTICATED.
EARLY_S = 30.0


@dataclass(frozen=True, slots=True)
class Login:
    """A person's email and password, and what answers the present code of their authenticator app."""

    email: str
    password: str = field(repr=False)
    totp: Callable[[], str] | None = field(default=None, repr=False)

    def second_step(self, session: types.Session) -> types.CompleteSessionRequest | None:
        """What ends a log-in that awaits a second factor; None: it has ended. UnauthenticatedError: no code."""
        if not session.HasField("challenge"):
            return None
        if self.totp is None or types.FactorKind.FACTOR_KIND_TOTP not in session.challenge.factors:
            raise UnauthenticatedError(
                "the account has a second factor: give `totp`, a function that answers the present code of its "
                "authenticator app, or use an API key",
                code="UNAUTHENTICATED",
            )
        proof = types.Proof(totp_code=self.totp())
        return types.CompleteSessionRequest(challenge_token=session.challenge.challenge_token, proof=proof)


@dataclass(frozen=True, slots=True)
class Tokens:
    """A pair of tokens. `good_until_s` is on the monotonic clock."""

    access: str = field(repr=False)
    refresh: str = field(repr=False)
    good_until_s: float

    def is_good(self, clock: Callable[[], float] = time.monotonic) -> bool:
        return clock() < self.good_until_s


def tokens_of(
    session: types.Session, wall: Callable[[], float] = time.time, clock: Callable[[], float] = time.monotonic
) -> Tokens:
    """The tokens of an answer. Where this machine's clock makes their life look too short to be true, the server's word
    (UNAUTHENTICATED) is waited for instead of asking for new ones at every call."""
    life_s = session.access_expire_time.ToNanoseconds() / 1_000_000_000 - wall()
    is_credible = life_s > 2 * EARLY_S
    return Tokens(
        session.access_token, session.refresh_token, clock() + life_s - EARLY_S if is_credible else float("inf")
    )

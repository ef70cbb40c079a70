"""Puts the parts of second factors together, as the settings describe them."""

from __future__ import annotations

import hmac
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from services.auth.confirmations import Confirmations
from services.auth.cookies import RefreshCookie
from services.auth.factors.book import Book
from services.auth.factors.challenges import Challenges
from services.auth.factors.logins import Logins, SecondFactor
from services.auth.factors.notices import Notices
from services.auth.factors.passkeys import relying_party
from services.auth.factors.proofs import Proofs
from services.auth.factors.recovery import RecoveryDigests
from services.auth.factors.service import Factors
from services.auth.factors.settings import FactorSettings
from services.auth.factors.setup import Setup
from services.auth.factors.tries import Bucket, Tries
from services.auth.mail import Links, Mails
from services.auth.sessions import Sessions
from services.auth.throttle import Throttle
from services.mesh.database import Database
from services.mesh.events import Outbox
from services.mesh.sealing import Sealer, keys_of


@dataclass(frozen=True, slots=True)
class FactorParts:
    """What a service of auth has of second factors. book: its `reset` is for administrators."""

    service: Factors
    book: Book
    second_factor: SecondFactor
    challenges: Challenges


def factor_parts(
    settings: FactorSettings,
    database: Database,
    outbox: Outbox,
    sessions: Sessions,
    confirmations: Confirmations,
    mails: Mails,
    throttle: Throttle,
    *,
    cookie: RefreshCookie,
    pepper: bytes,
    public_url: str,
    issuers: Collection[str] = (),
) -> FactorParts:
    """All parts. pepper: of the mesh; public_url: where browsers reach it; issuers: of the identity
    providers that one can log in with."""
    sealer = _sealer(settings, pepper)
    passkeys = relying_party(public_url, _origins(cookie), settings.passkey_domain)
    digests = RecoveryDigests(pepper)
    notices = Notices(mails, Links(public_url))
    challenges = Challenges(
        tries_max=settings.challenge_tries_max,
        log_in_s=settings.challenge_s,
        setup_s=settings.factor_setup_s,
        open_max=settings.challenges_max,
    )
    tries = Tries(Bucket(settings.code_guesses_max, settings.code_guess_refill_s), notices)
    book = Book(outbox, challenges, digests, notices, factors_max=settings.factors_max, issuers=issuers)
    proofs = Proofs(outbox, sealer, digests, passkeys, tries, notices)
    setup = Setup(database, challenges, book, sealer, passkeys)
    logins = Logins(database, outbox, sessions, confirmations, challenges, proofs, passkeys, throttle)
    return FactorParts(Factors(setup, logins, cookie=cookie), book, SecondFactor(challenges, passkeys), challenges)


def _sealer(settings: FactorSettings, pepper: bytes) -> Sealer:
    own = keys_of(settings.factor_secret) if settings.factor_secret is not None else []
    return Sealer([*own, hmac.digest(pepper, b"promptmesh factor secrets", "sha256")])


def _origins(cookie: RefreshCookie) -> Iterable[str]:
    """Pages that may log in by cookie may use passkeys."""
    return cookie.origins

"""Puts the parts of log-ins elsewhere together, as the settings describe them."""

from __future__ import annotations

import hmac
from dataclasses import dataclass

from services.auth.accounts.parts import Parts
from services.auth.cookies import RefreshCookie
from services.auth.federation.begun import BegunLogins, LoginCookie
from services.auth.federation.config import read_providers
from services.auth.federation.identities import Identities
from services.auth.federation.logins import FederatedLogins
from services.auth.federation.provider import OidcOptions, OidcProvider
from services.auth.federation.service import Federation
from services.auth.federation.settings import FederationSettings
from services.auth.sessions import Sessions
from services.mesh.sealing import Sealer

CALLBACK = "/log-in/callback"


@dataclass(frozen=True, slots=True)
class FederationParts:
    """What a service of auth has of log-ins elsewhere."""

    service: Federation
    begun: BegunLogins
    identities: Identities
    providers: tuple[OidcProvider, ...]

    async def close(self) -> None:
        """Closes connections to providers."""
        for one in self.providers:
            await one.close()


def federation_parts(
    settings: FederationSettings, accounts: Parts, sessions: Sessions, *, cookie: RefreshCookie, pepper: bytes
) -> FederationParts:
    """All parts. pepper: of the mesh."""
    configs = read_providers(settings.oidc_file) if settings.oidc_file is not None else ()
    options = OidcOptions(
        settings.oidc_timeout_s, settings.oidc_kept_s, settings.oidc_refetch_s, max_age_s=settings.step_up_s
    )
    redirect_uri = settings.public_url.rstrip("/") + CALLBACK
    providers = {one.provider: OidcProvider(one, options, redirect_uri, accounts.clock) for one in configs}
    sealer = Sealer([hmac.digest(pepper, b"promptmesh log-ins elsewhere", "sha256")])
    begun = BegunLogins(accounts.database, sealer, lifetime_s=settings.oidc_login_s)
    identities = Identities(
        accounts.database,
        accounts.outbox,
        accounts.mails,
        accounts.pages,
        issuers=[one.issuer for one in configs],
        link_s=settings.oidc_login_s,
    )
    logins = FederatedLogins(accounts, sessions, identities, begun, providers)
    login_cookie = LoginCookie(cookie.secure, settings.oidc_login_s)
    service = Federation(logins, identities, cookie=login_cookie, refresh_cookie=cookie)
    return FederationParts(service, begun, identities, tuple(providers.values()))

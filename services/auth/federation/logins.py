"""BeginFederatedLogin and CompleteFederatedLogin: from a button to a session, a link, or the word that one is needed.

An address never joins a provider's person to an account by itself: whoever can make a provider say an address would
have the account. The account's owner logs in to it first, and links then.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from promptmesh.access.v1.access_pb2 import Role
from promptmesh.auth.v1 import federation_pb2 as pb

from services.auth import store
from services.auth.accounts.parts import Parts
from services.auth.federation.begun import BegunLogins
from services.auth.federation.faults import ProviderFault
from services.auth.federation.identities import Identities
from services.auth.federation.provider import Answer, OidcProvider, Person
from services.auth.sessions import Sessions
from services.auth.store import SQL, Row
from services.mesh import audit
from services.mesh.audit import Party
from services.mesh.call import Caller, CallerKind
from services.mesh.database import Connection
from services.mesh.errors import MeshError
from services.mesh.telemetry.logs import get_logger

log = get_logger()
# Somebody else may take the address or the identity meanwhile; then it is looked up once more.
_ATTEMPTS = 3
# Of a session whose provider does not say when its person proved who they are: as good as never, so that nothing that
# asks for a step-up takes it.
_NEVER = datetime.fromtimestamp(0, UTC)


class _Taken(Exception):  # noqa: N818  (no error: it is tried again)
    """Somebody was quicker: what was written is rolled back."""


@dataclass(frozen=True, slots=True)
class Begun:
    """Where the browser goes, and what its cookie is."""

    authorization_url: str
    cookie: str


class FederatedLogins:
    """Log-ins by providers. Raises MeshError for what a caller did wrong."""

    def __init__(
        self,
        parts: Parts,
        sessions: Sessions,
        identities: Identities,
        begun: BegunLogins,
        providers: Mapping[str, OidcProvider],
    ) -> None:
        self._parts, self._sessions, self._identities = parts, sessions, identities
        self._begun, self._providers = begun, providers

    def providers(self) -> pb.ListIdentityProvidersResponse:
        """Those that are configured."""
        configs = [one.config for one in self._providers.values()]
        return pb.ListIdentityProvidersResponse(
            providers=[pb.IdentityProvider(provider=one.provider, display_name=one.display_name) for one in configs]
        )

    async def begin(self, caller: Caller, name: str) -> Begun:
        """Begins a log-in, or a linking by the session that calls, which needs a new proof as LinkIdentity does.
        IDENTITY_PROVIDER_NOT_FOUND, IDENTITY_PROVIDER_FAILED, STEP_UP_REQUIRED, RATE_LIMITED."""
        provider = self._provider(name)
        if caller.kind is CallerKind.SESSION:
            self._parts.require_fresh(caller)
        await self._parts.throttle.log_in_elsewhere()
        new = self._begun.new()
        try:
            url = await provider.authorization_url(state=new.state, nonce=new.nonce, verifier=new.verifier)
        except ProviderFault as fault:
            raise _failed(provider, fault) from None
        await self._begun.add(new, name, caller)
        return Begun(url, new.cookie)

    async def complete(
        self, caller: Caller, request: pb.CompleteFederatedLoginRequest, cookie: str, replaced: str = ""
    ) -> pb.CompleteFederatedLoginResponse:
        """What came of it. LINK_INVALID, IDENTITY_PROVIDER_FAILED, IDENTITY_TAKEN, SUSPENDED, LOGIN_FAILED.

        replaced: the refresh token that a browser loses by this, whose session ends.
        """
        begun = await self._begun.take(request.state, cookie, caller)
        provider = self._provider(begun.provider)
        try:
            person = await provider.person(
                Answer(request.code, request.error, request.issuer),
                verifier=begun.verifier,
                nonce_digest=begun.nonce_digest,
            )
        except ProviderFault as fault:
            error = _failed(provider, fault)
            await self._refused(provider, error, begun.user_id or "")
            raise error from None
        if begun.session_id is not None:
            return pb.CompleteFederatedLoginResponse(linked=await self._identities.link(caller, person))
        return await self._log_in(provider, person, replaced)

    async def _log_in(self, provider: OidcProvider, person: Person, replaced: str) -> pb.CompleteFederatedLoginResponse:
        user_id = ""
        try:
            for _ in range(_ATTEMPTS):
                async with self._parts.database.connection() as conn:
                    known = await conn.fetchrow(SQL["identity_of"], person.issuer, person.subject)
                user_id = known["user_id"] if known is not None else ""
                try:
                    if known is not None:
                        return await self._known(known, person, replaced)
                    return await self._unknown(provider, person, replaced)
                except _Taken:
                    continue
        except MeshError as error:
            await self._refused(provider, error, user_id)
            raise
        raise MeshError("LOGIN_FAILED", "The account changed meanwhile. Log in again.")

    async def _known(self, identity: Row, person: Person, replaced: str) -> pb.CompleteFederatedLoginResponse:
        async with self._parts.database.transaction() as conn:
            user = await conn.fetchrow(SQL["user_to_log_in"], identity["user_id"])
            used = user and await conn.fetchval(
                SQL["use_identity"], identity["identity_id"], user["user_id"], person.provider, person.email
            )
            if user is None or not used:
                raise _Taken
            return await self._opened(conn, user, person, replaced)

    async def _unknown(
        self, provider: OidcProvider, person: Person, replaced: str
    ) -> pb.CompleteFederatedLoginResponse:
        name = provider.config.display_name
        if not person.email:
            raise MeshError("IDENTITY_PROVIDER_FAILED", f"{name} told no email address, which an account needs.")
        if self._parts.verification and not person.email_verified:
            # Before anything is looked up: nobody learns by an address that is not theirs whether it has an account.
            raise MeshError(
                "IDENTITY_PROVIDER_FAILED",
                f"{name} has not verified your email address. Have it verified there, or register here.",
            )
        await self._parts.throttle.register()
        async with self._parts.database.transaction() as conn:
            owner = await conn.fetchrow(SQL["user_by_email"], person.email)
            if owner is not None:
                # The account may be theirs, made a moment ago by another log-in of theirs.
                if await conn.fetchrow(SQL["identity_of"], person.issuer, person.subject) is not None:
                    raise _Taken
                return pb.CompleteFederatedLoginResponse(link_token=await self._identities.offer(conn, owner, person))
            return await self._opened(conn, await self._registered(conn, person), person, replaced)

    async def _registered(self, conn: Connection, person: Person) -> Row:
        """A new person who has no password; the address is proved only where the provider says so."""
        parts = self._parts
        added = await store.add_user(
            conn,
            parts.outbox,
            email=person.email,
            display_name=person.name,
            password_hash=None,
            roles=[Role.ROLE_USER],
            verified=person.email_verified,
        )
        user = await conn.fetchrow(SQL["user_to_log_in"], added["user_id"]) if added is not None else None
        if user is None:
            raise _Taken
        who = Party("user", user["user_id"], user["display_name"])
        await audit.record(
            conn,
            parts.outbox,
            "user.register",
            who,
            actor=who,
            subject_user_id=user["user_id"],
            org_id=user["org_id"],
            after={"provider": person.provider},
        )
        if await self._identities.add(conn, user, person, used=True) is None:
            raise _Taken
        if not person.email_verified:
            await parts.mail_verification(conn, user)
        return user

    async def _opened(
        self, conn: Connection, user: Row, person: Person, replaced: str
    ) -> pb.CompleteFederatedLoginResponse:
        store.refuse_suspended(user)
        if self._parts.verification and user["email_verify_time"] is None:
            raise MeshError(
                "LOGIN_FAILED", "The account's address is not confirmed yet: open the link that was mailed."
            )
        # No fresher than what was told: the browser may have been logged in there for weeks.
        told = _NEVER if person.auth_time is None else datetime.fromtimestamp(person.auth_time, UTC)
        session = await self._sessions.log_in(conn, user, [f"oidc:{person.provider}"], auth_time=told)
        if not session.HasField("challenge"):  # else CompleteSession does it
            await self._parts.throttle.logged_in_elsewhere(conn)
            await self._sessions.end_replaced(conn, replaced)
        return pb.CompleteFederatedLoginResponse(session=session)

    def _provider(self, name: str) -> OidcProvider:
        provider = self._providers.get(name)
        if provider is None:
            raise MeshError(
                "IDENTITY_PROVIDER_NOT_FOUND",
                f"There is no identity provider {name!r}. ListIdentityProviders shows those that there are.",
                metadata={"provider": name},
            )
        return provider

    async def _refused(self, provider: OidcProvider, error: MeshError, user_id: str) -> None:
        async with self._parts.database.transaction() as conn:
            await audit.record(
                conn,
                self._parts.outbox,
                "session.create",
                Party("user", user_id) if user_id else Party("identity_provider", provider.config.provider),
                subject_user_id=user_id,
                reason=error.reason,
                after={"methods": [f"oidc:{provider.config.provider}"]},
                succeeded=False,
            )


def _failed(provider: OidcProvider, fault: ProviderFault) -> MeshError:
    log.warning("an identity provider failed", provider=provider.config.provider, fault=str(fault))
    return MeshError(
        "IDENTITY_PROVIDER_FAILED",
        f"The log-in at {provider.config.display_name} did not succeed. Try again, or log in another way.",
        metadata={"provider": provider.config.provider},
    )

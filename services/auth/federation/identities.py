"""Providers' persons who are linked to accounts: linked after a log-in alone, listed, unlinked."""

from __future__ import annotations

import secrets
from collections.abc import Collection

from promptmesh.auth.v1 import federation_pb2

from services.auth import store
from services.auth.federation.begun import TOKEN_BYTES, digest_of, over
from services.auth.federation.provider import Person
from services.auth.mail import Links, Mails
from services.auth.purge import purge_on
from services.auth.store import SQL, Row
from services.mesh import audit
from services.mesh.access import tokens
from services.mesh.audit import Party
from services.mesh.call import Caller
from services.mesh.database import Connection, Database
from services.mesh.errors import MeshError
from services.mesh.events import Outbox
from services.mesh.ids import uuid7

PREFIX = "pmi_"


class Identities:
    """Identities of accounts. Raises MeshError for what a caller did wrong."""

    def __init__(
        self,
        database: Database,
        outbox: Outbox,
        mails: Mails,
        pages: Links,
        *,
        issuers: Collection[str],
        link_s: int,
    ) -> None:
        """issuers: of the providers that one can log in with; link_s: how long a link waits for a log-in."""
        self._database, self._outbox, self._mails, self._pages = database, outbox, mails, pages
        self._issuers, self._link_s = sorted(issuers), link_s

    async def add(self, conn: Connection, user: Row, person: Person, *, used: bool) -> Row | None:
        """Links somebody to an account, the row of which is locked. used: whether they log in with it just now. None:
        it cannot be, see `taken`."""
        row: Row | None = await conn.fetchrow(
            SQL["insert_identity"],
            *(uuid7(), user["org_id"], user["user_id"], person.provider, person.issuer, person.subject, person.email),
            used,
        )
        if row is not None:
            who = Party("user", user["user_id"], user["display_name"])
            await self._record(conn, "identity.link", user, row, actor=who)
        return row

    async def offer(self, conn: Connection, user: Row, person: Person) -> str:
        """A token with which the account that has the address can link the person, once it is logged in to."""
        token = PREFIX + secrets.token_urlsafe(TOKEN_BYTES)
        await conn.execute(
            SQL["insert_identity_link"],
            *(digest_of(token), user["user_id"], user["org_id"], person.provider, person.issuer, person.subject),
            *(person.email, self._link_s),
        )
        return token

    async def accept(self, caller: Caller, link_token: str) -> federation_pb2.LinkedIdentity:
        """Links the person of a token to the caller's account. LINK_INVALID, also where the token is for another
        account; IDENTITY_TAKEN."""
        async with self._database.transaction() as conn:
            user = await _locked(conn, caller)
            row = await conn.fetchrow(SQL["use_identity_link"], digest_of(link_token), caller.user_id)
            if row is None:
                raise over()
            person = Person(row["provider"], row["issuer"], row["subject"], row["email"], False, "")
            linked = await self._linked(conn, user, person)
        return await self._answer(caller, person, linked)

    async def link(self, caller: Caller, person: Person) -> federation_pb2.LinkedIdentity:
        """Links a person who just proved who they are to the caller's account. IDENTITY_TAKEN."""
        async with self._database.transaction() as conn:
            linked = await self._linked(conn, await _locked(conn, caller), person)
        return await self._answer(caller, person, linked)

    async def list(self, caller: Caller) -> federation_pb2.ListIdentitiesResponse:
        """The caller's."""
        async with self._database.connection() as conn:
            rows = await conn.fetch(SQL["identities_of_user"], caller.user_id)
        return federation_pb2.ListIdentitiesResponse(identities=[identity_of(row) for row in rows])

    async def unlink(self, caller: Caller, identity_id: str) -> None:
        """Unlinks one of the caller's; they are told by mail. What was logged in to with it ends, but the session that
        calls, and so do log-ins under way. IDENTITY_PROVIDER_NOT_FOUND, LAST_WAY_IN."""
        async with self._database.transaction() as conn:
            user = await _locked(conn, caller)
            row = await conn.fetchrow(SQL["delete_identity"], identity_id, caller.user_id)
            if row is None:
                raise MeshError(
                    "IDENTITY_PROVIDER_NOT_FOUND",
                    f"No identity {identity_id} is linked to your account. ListIdentities shows those that are.",
                    metadata={"identity_id": identity_id},
                )
            if not await conn.fetchval(SQL["has_way_in"], caller.user_id, self._issuers):
                raise MeshError(
                    "LAST_WAY_IN",
                    "This is your last way to log in. Set a password, add a passkey or link another provider first.",
                )
            method = f"oidc:{row['provider']}"
            await conn.execute(SQL["end_log_ins_by"], caller.user_id, method)
            for session_id in await store.end_sessions_by(
                conn, self._outbox, caller.user_id, method, spared=caller.session_id
            ):
                await audit.record(
                    conn,
                    self._outbox,
                    "session.end",
                    Party("session", session_id),
                    subject_user_id=caller.user_id,
                    org_id=user["org_id"],
                    reason="the identity that it was opened with was unlinked",
                )
            await self._record(conn, "identity.unlink", user, row)
            await self._tell(conn, user, "identity_unlinked", row["provider"])

    async def purge(self, *, every_s: float) -> None:
        """Removes links that have expired, for ever."""
        await purge_on(self._database, SQL["purge_identity_links"], every_s=every_s)

    async def _linked(self, conn: Connection, user: Row, person: Person) -> Row | None:
        found: Row | None = await conn.fetchrow(SQL["identity_of"], person.issuer, person.subject)
        if found is not None and found["user_id"] == user["user_id"]:
            return found  # it was before
        row = await self.add(conn, user, person, used=False)
        if row is not None:
            await self._tell(conn, user, "identity_linked", person.provider)
        return row

    async def _answer(self, caller: Caller, person: Person, row: Row | None) -> federation_pb2.LinkedIdentity:
        if row is not None:
            return identity_of(row)
        async with self._database.transaction() as conn:
            await audit.record(
                conn,
                self._outbox,
                "identity.link",
                Party("identity_provider", person.provider),
                subject_user_id=caller.user_id,
                after={"provider": person.provider},
                succeeded=False,
            )
        raise MeshError(
            "IDENTITY_TAKEN",
            "It is linked to another account, or another of this provider is linked to yours. Unlink that one first.",
        )

    async def _tell(self, conn: Connection, user: Row, template: str, provider: str) -> None:
        if user["email_verify_time"] is None:  # it may be the address of somebody who knows nothing of the account
            return
        await self._mails.send(
            conn,
            template,
            to=user["email"],
            org_id=user["org_id"],
            user_id=user["user_id"],
            provider=provider,
            link=self._pages.page("forgot-password"),
        )

    async def _record(self, conn: Connection, action: str, user: Row, row: Row, actor: Party | None = None) -> None:
        change = {"provider": row["provider"], "email": row["email"]}
        await audit.record(
            conn,
            self._outbox,
            action,
            Party("identity", row["identity_id"], row["provider"]),
            actor=actor,
            subject_user_id=user["user_id"],
            org_id=user["org_id"],
            before=change if action == "identity.unlink" else None,
            after=change if action == "identity.link" else None,
        )


def identity_of(row: Row) -> federation_pb2.LinkedIdentity:
    """The contract's identity from a row of `identities`."""
    identity = federation_pb2.LinkedIdentity(
        identity_id=row["identity_id"], provider=row["provider"], email=row["email"]
    )
    identity.create_time.FromDatetime(row["create_time"])
    if row["last_use_time"] is not None:
        identity.last_use_time.FromDatetime(row["last_use_time"])
    return identity


async def exported_identities(conn: Connection, user: Row) -> object:
    """What is kept of a person's identities, for them."""
    rows = await conn.fetch(SQL["identities_of_user"], user["user_id"])
    return [{**row, **{name: _text(row[name]) for name in ("create_time", "last_use_time")}} for row in rows]


def _text(moment: object) -> str | None:
    return None if moment is None else str(moment)


async def _locked(conn: Connection, caller: Caller) -> Row:
    user: Row | None = await conn.fetchrow(SQL["user_to_log_in"], caller.user_id)
    if user is None:
        raise tokens.revoked()
    store.refuse_suspended(user)
    return user

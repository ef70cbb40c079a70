"""SendVerification, VerifyEmail, RequestEmailChange, ConfirmEmailChange: whose address is whose."""

from __future__ import annotations

import asyncpg
from promptmesh.auth.v1 import accounts_pb2, auth_pb2

from services.auth import store
from services.auth.accounts.parts import Parts
from services.auth.accounts.requests import AccountRequests, RequestKind
from services.auth.links import LinkKind, digest_of, link_invalid
from services.auth.store import SQL
from services.auth.users import normal_email
from services.mesh import audit
from services.mesh.audit import Party
from services.mesh.call import Caller, CallerKind, current
from services.mesh.errors import MeshError


class Emails:
    """Addresses that are proved and changed. Raises MeshError for what a caller did wrong."""

    def __init__(self, parts: Parts, requests: AccountRequests) -> None:
        self._parts, self._requests = parts, requests

    async def send_verification(self, caller: Caller) -> None:
        """Mails the link once more, unless the address is proved. RATE_LIMITED."""
        parts = self._parts
        await parts.throttle.ask_for_own_mail(caller.user_id)
        async with parts.database.transaction() as conn:
            user = await parts.lock(conn, caller.user_id)
            if user["email_verify_time"] is None:
                await parts.mail_verification(conn, user)

    async def verify(self, request: accounts_pb2.VerifyEmailRequest) -> None:
        """Takes the link and the password. LINK_INVALID; PROOF_WRONG, which leaves the link good; RATE_LIMITED.

        The password shows that the account is of whoever has the mailbox. Where there is none (they log in elsewhere),
        a session of the account that makes the call shows it.
        """
        parts = self._parts
        async with parts.database.connection() as conn:
            link = await parts.links.find(conn, LinkKind.VERIFY_EMAIL, request.token)
            known = await conn.fetchrow(SQL["user_by_id"], link["user_id"])
        assert known is not None, "links refers to users"
        counted = await parts.throttle.link_proof(digest_of(request.token))
        async with parts.throttle.checking(counted):
            right = (await parts.passwords.check(known["password_hash"], request.password)).right
        caller = current().caller
        own = caller.kind is CallerKind.SESSION and caller.user_id == known["user_id"]
        if not right and not (known["password_hash"] is None and own):
            raise MeshError("PROOF_WRONG", "The password is not the one that was given when registering.")
        async with parts.database.transaction() as conn:
            user = await parts.lock(conn, known["user_id"])
            email = await parts.links.use(conn, LinkKind.VERIFY_EMAIL, request.token, user["user_id"])
            if user["password_hash"] != known["password_hash"] or user["email"] != email:
                raise link_invalid()
            await conn.execute(SQL["verify_email"], user["user_id"])
            await parts.links.drop(conn, user["user_id"], LinkKind.VERIFY_EMAIL)
            await parts.throttle.proved(conn, user)
            person = Party("user", user["user_id"], user["display_name"])
            await audit.record(
                conn,
                parts.outbox,
                "user.email.verify",
                person,
                actor=person,
                subject_user_id=user["user_id"],
                org_id=user["org_id"],
            )

    async def ask_for_change(self, caller: Caller, request: accounts_pb2.RequestEmailChangeRequest) -> None:
        """Has a link mailed to the new address, and the old one told. RATE_LIMITED."""
        await self._parts.throttle.ask_for_own_mail(caller.user_id)
        await self._requests.add(RequestKind.CHANGE_EMAIL, normal_email(request.new_email), user_id=caller.user_id)

    async def confirm_change(self, caller: Caller, request: accounts_pb2.ConfirmEmailChangeRequest) -> auth_pb2.User:
        """The person with the new address. LINK_INVALID, also where somebody has the address by now."""
        parts = self._parts
        try:
            async with parts.database.transaction() as conn:
                user = await parts.lock(conn, caller.user_id)
                email = await parts.links.use(conn, LinkKind.CONFIRM_EMAIL, request.token, caller.user_id)
                changed = await conn.fetchrow(SQL["change_email"], caller.user_id, email)
                assert changed is not None, "the transaction holds the lock of the row"
                # Links that went to the old address must not open the account any more.
                await parts.links.drop(conn, caller.user_id, *LinkKind)
                await store.end_sessions_of(conn, parts.outbox, caller.user_id, spared=caller.session_id)
                await parts.mail(conn, "email_changed", user, new_email=email)
                await audit.record(
                    conn,
                    parts.outbox,
                    "user.email.change",
                    Party("user", user["user_id"], user["display_name"]),
                    subject_user_id=user["user_id"],
                    before={"email": user["email"]},
                    after={"email": email},
                )
        except asyncpg.UniqueViolationError:
            raise link_invalid() from None
        return store.user_of(changed)

"""RequestPasswordReset, ResetPassword, ChangePassword."""

from __future__ import annotations

from promptmesh.auth.v1 import accounts_pb2

from services.auth import store
from services.auth.accounts.parts import FORGOT_PAGE, Parts
from services.auth.accounts.requests import AccountRequests, RequestKind
from services.auth.administration import NoSecondFactors, SecondFactors
from services.auth.links import LinkKind
from services.auth.organisations.leaving import dispossess
from services.auth.passwords import same
from services.auth.store import SQL, Row
from services.auth.users import normal_email
from services.mesh import audit
from services.mesh.access import tokens
from services.mesh.audit import Party
from services.mesh.call import Caller
from services.mesh.database import Connection
from services.mesh.errors import FieldViolation, MeshError

_FIELD = "new_password"
_NOTHING = accounts_pb2.ResetPasswordResponse()
_NONE = {field.name: "0" for field in accounts_pb2.ResetPasswordResponse.DESCRIPTOR.fields}


class NewPasswords:
    """Passwords that are replaced. Raises MeshError for what a caller did wrong."""

    def __init__(self, parts: Parts, requests: AccountRequests) -> None:
        self._parts, self._requests = parts, requests
        self._factors: SecondFactors = NoSecondFactors()

    def use_factors(self, factors: SecondFactors) -> None:
        """Sets who has people's second factors (services/auth/factors)."""
        self._factors = factors

    async def ask_for_link(self, request: accounts_pb2.RequestPasswordResetRequest) -> None:
        """Has a link mailed, if an account has the address. RATE_LIMITED, by where the call comes from alone."""
        await self._parts.throttle.ask_for_mail()
        await self._requests.add(RequestKind.RESET_PASSWORD, normal_email(request.email))

    async def reset(self, request: accounts_pb2.ResetPasswordRequest) -> accounts_pb2.ResetPasswordResponse:
        """Sets a password with a link, once, and ends every session; what went with it. LINK_INVALID, PASSWORD_WEAK
        (which leaves the link good), RATE_LIMITED.

        Who has the link has the mailbox: where the address was never proved, it is proved now, and what somebody else
        may have made with it before is worth nothing: second factors, log-ins elsewhere, API keys, teams and places
        that it was used from go too.
        """
        parts = self._parts
        async with parts.database.connection() as conn:
            link = await parts.links.find(conn, LinkKind.RESET_PASSWORD, request.token)
            known = await conn.fetchrow(SQL["user_by_id"], link["user_id"])
        assert known is not None, "links refers to users"
        parts.rules.check(request.new_password, email=known["email"], display_name=known["display_name"], field=_FIELD)
        password_hash = await parts.passwords.hash(request.new_password)
        async with parts.database.transaction() as conn:
            user = await parts.lock(conn, known["user_id"])
            await parts.links.use(conn, LinkKind.RESET_PASSWORD, request.token, user["user_id"])
            taken = await self._take_over(conn, user) if user["email_verify_time"] is None else _NOTHING
            await parts.links.drop(conn, user["user_id"], *LinkKind)
            await parts.throttle.proved(conn, user)
            await self._set(conn, user, password_hash, taken)
            ended = await store.end_sessions_of(conn, parts.outbox, user["user_id"])
            await self._record(conn, user, "user.password.reset", ended, taken)
        return taken

    async def _take_over(self, conn: Connection, user: Row) -> accounts_pb2.ResetPasswordResponse:
        """Leaves nothing to whoever registered under the address of the person, who proves it now; how much there was.
        user: locked."""
        user_id, outbox = user["user_id"], self._parts.outbox
        await conn.execute(SQL["verify_email"], user_id)
        # Some go with their organisations.
        keys = await conn.fetchval(SQL["count_keys_to_go"], user_id, user["org_id"])
        accounts = await dispossess(conn, outbox, user)
        factors = await self._factors.reset(conn, user_id)
        identities = await conn.fetch(SQL["delete_identities_of_user"], user_id)
        await conn.execute(SQL["forget_stranger"], user_id)
        await store.end_sessions_of(conn, outbox, user_id)
        await store.revoke_keys_of(conn, outbox, user)
        return accounts_pb2.ResetPasswordResponse(
            api_keys_revoked=keys,
            factors_removed=factors,
            identities_unlinked=len(identities),
            service_accounts_deleted=accounts,
        )

    async def change(self, caller: Caller, request: accounts_pb2.ChangePasswordRequest) -> None:
        """Replaces the caller's password and ends their other sessions. PROOF_WRONG, PASSWORD_WEAK, RATE_LIMITED;
        CREDENTIAL_REVOKED after too many wrong ones, which end the session."""
        parts = self._parts
        _refuse_same(request)
        known = await parts.own(caller)
        parts.rules.check(request.new_password, email=known["email"], display_name=known["display_name"], field=_FIELD)
        counted = await parts.throttle.proof(caller.session_id)
        if known["password_hash"] is None:  # they log in elsewhere: there is none to ask for
            parts.require_fresh(caller)
        else:
            async with parts.throttle.checking(counted):
                checked = await parts.passwords.check(known["password_hash"], request.current_password)
            if not checked.right:
                raise await self._wrong(caller, known)
        async with parts.throttle.checking(counted):
            password_hash = await parts.passwords.hash(request.new_password)
        async with parts.throttle.checking(counted), parts.database.transaction() as conn:
            user = await parts.lock(conn, caller.user_id)
            replaced = user["password_hash"] != known["password_hash"]
            if not replaced:
                await parts.throttle.change_password(conn, user["user_id"])
                await parts.links.drop(conn, user["user_id"], LinkKind.RESET_PASSWORD)
                await conn.execute(SQL["set_password"], user["user_id"], password_hash)
                await parts.notify(conn, "password_changed", user, link=parts.pages.page(FORGOT_PAGE))
                ended = await store.end_sessions_of(conn, parts.outbox, user["user_id"], spared=caller.session_id)
                await self._record(conn, user, "user.password.change", ended, _NOTHING)
        if replaced:
            raise await self._wrong(caller, known)
        await parts.throttle.proof_given(caller.session_id)

    async def _set(
        self, conn: Connection, user: Row, password_hash: str, taken: accounts_pb2.ResetPasswordResponse
    ) -> None:
        await conn.execute(SQL["set_password"], user["user_id"], password_hash)
        link = self._parts.pages.page(FORGOT_PAGE)
        if taken == _NOTHING:
            await self._parts.mail(conn, "password_changed", user, link=link)
            return
        counts = {field.name: str(value) for field, value in taken.ListFields()}
        await self._parts.mail(conn, "account_taken_over", user, link=link, **{**_NONE, **counts})

    async def _record(
        self, conn: Connection, user: Row, action: str, ended: int, taken: accounts_pb2.ResetPasswordResponse
    ) -> None:
        person = Party("user", user["user_id"], user["display_name"])
        await audit.record(
            conn,
            self._parts.outbox,
            action,
            person,
            actor=person,
            subject_user_id=user["user_id"],
            org_id=user["org_id"],
            after={"sessions_ended": ended, **{field.name: value for field, value in taken.ListFields()}},
        )

    async def _wrong(self, caller: Caller, user: Row) -> MeshError:
        async with self._parts.database.transaction() as conn:
            await audit.record(
                conn,
                self._parts.outbox,
                "user.password.change",
                Party("user", user["user_id"], user["display_name"]),
                subject_user_id=user["user_id"],
                succeeded=False,
            )
        if await self._parts.wrong_proofs.count(caller):
            return tokens.revoked()
        return MeshError("PROOF_WRONG", "The present password is another one.")


def _refuse_same(request: accounts_pb2.ChangePasswordRequest) -> None:
    """PASSWORD_WEAK for a new password that is the present one; whether that is right does not matter yet."""
    if same(request.new_password, request.current_password):
        why = "it is the present one"
        raise MeshError(
            "PASSWORD_WEAK",
            f"The new password is not new: {why}. Take another, or leave it as it is.",
            violations=[FieldViolation(_FIELD, why, "password.same")],
        )

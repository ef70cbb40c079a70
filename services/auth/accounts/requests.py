"""What is asked for under an address, by whoever: the call writes a row, always the same, and says nothing; a
background job finds out whether there is an account, and the mail tells whoever reads that address."""

from __future__ import annotations

import asyncio
from enum import IntEnum

from promptmesh.access.v1.access_pb2 import Role

from services.auth import store
from services.auth.accounts.parts import FORGOT_PAGE, Parts
from services.auth.links import LinkKind
from services.auth.store import SQL, Row
from services.mesh import audit
from services.mesh.audit import Party
from services.mesh.database import Connection
from services.mesh.database.after_commit import after_commit
from services.mesh.ids import uuid7
from services.mesh.telemetry.logs import get_logger

log = get_logger()
ATTEMPTS_MAX = 5
RETRY_S = 10.0
_NOBODY = Party("anonymous", "")


class RequestKind(IntEnum):
    """What is asked for."""

    REGISTER = 1
    RESET_PASSWORD = 2
    CHANGE_EMAIL = 3


class AccountRequests:
    """Takes requests and does them."""

    def __init__(self, parts: Parts, *, poll_s: float) -> None:
        """poll_s: how often to look for requests that nobody in this process told of."""
        self._parts, self._poll_s = parts, poll_s
        self._woken = asyncio.Event()

    async def add(
        self,
        kind: RequestKind,
        email: str,
        *,
        user_id: str | None = None,
        display_name: str = "",
        password_hash: str = "",
    ) -> None:
        """Writes a request. email: in its normal form."""
        async with self._parts.database.transaction() as conn:
            await conn.execute(
                SQL["insert_account_request"], uuid7(), int(kind), user_id, email, display_name, password_hash
            )
            after_commit(self._woken.set)

    async def run(self) -> None:
        """Does requests for ever."""
        while True:
            self._woken.clear()
            while await self.do_one():
                pass
            try:
                async with asyncio.timeout(self._poll_s):
                    await self._woken.wait()
            except TimeoutError:
                pass

    async def do_one(self) -> bool:
        """Does one request, in one transaction with its end; whether there was one."""
        request: Row | None = None
        try:
            async with self._parts.database.transaction() as conn:
                request = await conn.fetchrow(SQL["take_account_request"])
                if request is None:
                    return False
                await self._do(conn, request)
        except Exception:
            if request is None:
                raise
            await self._failed(request)
        return True

    async def _failed(self, request: Row) -> None:
        """Later again, so that one that cannot be done does not hold up the others; not for ever."""
        log.exception("a request about an account failed", request_id=request["request_id"], kind=request["kind"])
        async with self._parts.database.connection() as conn:
            attempts = await conn.fetchval(SQL["delay_account_request"], request["request_id"], RETRY_S)
            if attempts is not None and attempts >= ATTEMPTS_MAX:
                await conn.execute(SQL["drop_account_request"], request["request_id"])

    async def _do(self, conn: Connection, request: Row) -> None:
        kind = RequestKind(request["kind"])
        if kind is RequestKind.REGISTER:
            await self._register(conn, request)
        elif kind is RequestKind.RESET_PASSWORD:
            await self._reset(conn, request["email"])
        else:
            await self._change_email(conn, request)

    async def _register(self, conn: Connection, request: Row) -> None:
        email = request["email"]
        taken = await conn.fetchrow(SQL["user_by_email"], email)
        # Two registrations of one address at once: the second fails on its unique index, and is done again.
        if taken is not None:
            await self._tell_owner(conn, taken)
            return
        row = await store.add_user(
            conn,
            self._parts.outbox,
            email=email,
            display_name=request["display_name"],
            password_hash=request["password_hash"],
            roles=[Role.ROLE_USER],
        )
        if row is None:
            raise RuntimeError("the address was taken this very moment")
        await audit.record(
            conn,
            self._parts.outbox,
            "user.register",
            Party("user", row["user_id"], row["display_name"]),
            actor=_NOBODY,
            subject_user_id=row["user_id"],
            org_id=row["org_id"],
        )
        if await self._parts.throttle.may_mail(conn, email, "verify"):
            await self._parts.mail_verification(conn, row)

    async def _reset(self, conn: Connection, email: str) -> None:
        user = await conn.fetchrow(SQL["user_by_email"], email)
        if user is None or not await self._parts.throttle.may_mail(conn, email, "reset"):
            return
        token = await self._parts.links.make(conn, LinkKind.RESET_PASSWORD, user, email)
        await self._parts.mail(conn, "reset_password", user, link=self._parts.pages.to("reset-password", token))

    async def _change_email(self, conn: Connection, request: Row) -> None:
        email = request["email"]
        user = await conn.fetchrow(SQL["user_by_id"], request["user_id"])
        if user is None or user["email"] == email:
            return
        taken = await conn.fetchrow(SQL["user_by_email"], email)
        if taken is not None:
            await self._tell_owner(conn, taken)
        elif await self._parts.throttle.may_mail(conn, email, "change"):
            token = await self._parts.links.make(conn, LinkKind.CONFIRM_EMAIL, user, email)
            link = self._parts.pages.to("confirm-email", token)
            await self._parts.mail(conn, "confirm_new_email", user, to=email, link=link)
        if await self._parts.throttle.may_mail(conn, user["email"], "told of a change"):
            link = self._parts.pages.page(FORGOT_PAGE)
            await self._parts.mail(conn, "email_change_asked", user, new_email=email, link=link)

    async def _tell_owner(self, conn: Connection, taken: Row) -> None:
        if await self._parts.throttle.may_mail(conn, taken["email"], "has an account"):
            link = self._parts.pages.page(FORGOT_PAGE)
            await self._parts.mail(conn, "already_registered", taken, link=link)

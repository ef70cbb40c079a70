"""What the files of this folder stand on."""

from __future__ import annotations

from dataclasses import dataclass

from promptmesh.auth.v1 import auth_pb2

from services.auth.links import LinkKind, MailedLinks
from services.auth.mail import Links, Mails
from services.auth.password_rules import PasswordRules
from services.auth.passwords import Passwords
from services.auth.store import SQL, Row
from services.auth.throttle import Throttle
from services.auth.wrong_proofs import WrongProofs
from services.mesh.call import Caller
from services.mesh.database import Connection, Database
from services.mesh.errors import MeshError
from services.mesh.events import Outbox
from services.mesh.ids import SYSTEM_CLOCK, Clock

FORGOT_PAGE = "forgot-password"


@dataclass(frozen=True, slots=True)
class Parts:
    """verification: whether accounts can be used only once their address is proved; step_up_s: age of a proof."""

    database: Database
    outbox: Outbox
    passwords: Passwords
    rules: PasswordRules
    throttle: Throttle
    wrong_proofs: WrongProofs
    links: MailedLinks
    mails: Mails
    pages: Links
    verification: bool
    step_up_s: float
    clock: Clock = SYSTEM_CLOCK

    async def own(self, caller: Caller) -> Row:
        """The caller's row. USER_NOT_FOUND."""
        async with self.database.connection() as conn:
            return _found(await conn.fetchrow(SQL["user_by_id"], caller.user_id), caller.user_id)

    async def lock(self, conn: Connection, user_id: str) -> Row:
        """A person's row, locked. USER_NOT_FOUND."""
        return _found(await conn.fetchrow(SQL["lock_user"], user_id), user_id)

    def require_fresh(self, caller: Caller) -> None:
        """STEP_UP_REQUIRED where a method asks for a newer proof only sometimes."""
        if caller.auth_time + self.step_up_s < self.clock.time():
            raise MeshError(
                "STEP_UP_REQUIRED",
                f"This call needs a proof of who you are that is at most {self.step_up_s:.0f} seconds old. Confirm the"
                " session with ConfirmSession, then repeat the call with the access token that it answers.",
                metadata={"max_age_s": f"{self.step_up_s:.0f}"},
            )

    async def mail(self, conn: Connection, template: str, user: Row, *, to: str = "", **values: str) -> None:
        """Writes a mail to a person, or to another address that is to be theirs."""
        await self.mails.send(
            conn, template, to=to or user["email"], org_id=user["org_id"], user_id=user["user_id"], **values
        )

    async def notify(self, conn: Connection, template: str, user: Row, **values: str) -> None:
        """Writes a mail that nobody waits for. To an address that was never proved there is none: it may be that of
        somebody who knows nothing of the account, and whoever made it could have them sent as many as they like."""
        if user["email_verify_time"] is not None:
            await self.mail(conn, template, user, **values)

    async def mail_verification(self, conn: Connection, user: Row) -> None:
        """Writes the mail that proves a person's address."""
        token = await self.links.make(conn, LinkKind.VERIFY_EMAIL, user, user["email"])
        link = self.pages.to("verify-email", token)
        if self.verification:
            await self.mail(conn, "verify_email", user, link=link)
        else:
            forgot_link = self.pages.page(FORGOT_PAGE)
            await self.mail(conn, "verify_email_optional", user, link=link, forgot_link=forgot_link)


def unproved(email: str, display_name: str) -> auth_pb2.User:
    """What is answered to a registration that is still to be proved: what the caller knows, and no more."""
    return auth_pb2.User(email=email, display_name=display_name)


def _found(row: Row | None, user_id: str) -> Row:
    if row is None:
        raise MeshError("USER_NOT_FOUND", f"There is no user {user_id}.", metadata={"user_id": user_id})
    return row

"""The parts of accounts, wired: for main.py."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.auth.account_service import Accounts
from services.auth.accounts.emails import Emails
from services.auth.accounts.new_passwords import NewPasswords
from services.auth.accounts.parts import Parts
from services.auth.accounts.profile import Exported, Leaving, Profile
from services.auth.accounts.registration import Registration
from services.auth.accounts.requests import AccountRequests
from services.auth.known_passwords import KnownPasswords
from services.auth.links import LinkKind, MailedLinks, purge_links
from services.auth.mail import Links, waiting
from services.auth.mail.outgoing import OutgoingMails
from services.auth.mail.sender import MailSender
from services.auth.password_rules import PasswordRules
from services.auth.passwords import Passwords
from services.auth.session_list import SessionList
from services.auth.store import RESTRICTION_MARGIN_S, SQL
from services.auth.throttle import Throttle
from services.auth.wrong_proofs import WrongProofs
from services.mesh.background import look_now_and_then
from services.mesh.database import Database
from services.mesh.events import Outbox
from services.mesh.run import Mesh
from services.mesh.settings import secret_bytes

if TYPE_CHECKING:
    from services.auth.settings import AuthSettings

FORGET_EVERY_S = 300.0


@dataclass(frozen=True, slots=True)
class AccountParts:
    """What others stand on."""

    service: Accounts
    new_passwords: NewPasswords
    parts: Parts
    registration: Registration
    throttle: Throttle
    mails: OutgoingMails
    pages: Links
    verification: bool


def accounts_of(
    mesh: Mesh[AuthSettings],
    database: Database,
    outbox: Outbox,
    passwords: Passwords,
    session_list: SessionList,
    *,
    leaving: Sequence[Leaving] = (),
    exported: Mapping[str, Exported] | None = None,
) -> AccountParts:
    """Makes the parts and starts their background jobs.

    leaving: what other parts of auth do before a person is deleted; exported: what they keep of one, by name.
    """
    settings = mesh.settings
    options = settings.account_options
    throttle = Throttle(database, secret_bytes(settings.key_pepper), options.throttle)
    mails = OutgoingMails(on=bool(options.smtp.host))
    lifetimes_s = {
        LinkKind.VERIFY_EMAIL: options.verify_link_s,
        LinkKind.RESET_PASSWORD: options.reset_link_s,
        LinkKind.CONFIRM_EMAIL: options.confirm_link_s,
    }
    pages = Links(settings.public_url)
    parts = Parts(
        database=database,
        outbox=outbox,
        passwords=passwords,
        rules=PasswordRules(KnownPasswords.read()),
        throttle=throttle,
        wrong_proofs=WrongProofs(database, outbox, throttle, mails, pages),
        links=MailedLinks(lifetimes_s),
        mails=mails,
        pages=pages,
        verification=options.verification,
        step_up_s=settings.step_up_s,
    )
    requests = AccountRequests(parts, poll_s=options.sending.poll_s)
    mesh.background("account requests", requests.run)
    mesh.background("tries", throttle.purge)
    mesh.background("links", lambda: purge_links(database))
    forget_s = settings.access_lifetime_s + RESTRICTION_MARGIN_S
    mesh.background("deleted people", lambda: _forget_deleted(database, forget_s))
    if options.smtp.host:
        mesh.background("waiting mails", lambda: look_now_and_then(lambda: waiting.look(database), waiting.INTERVAL_S))
    if options.smtp.host and options.sends_here:
        sender = MailSender(database, options.smtp, options.sending)
        mails.wake = sender.wake
        mesh.background("mail", sender.run)
        mesh.background("mail purge", sender.purge)
    new_passwords = NewPasswords(parts, requests)
    profile = Profile(parts, leaving=leaving, exported=exported)
    service = Accounts(Emails(parts, requests), new_passwords, profile, session_list)
    return AccountParts(
        service, new_passwords, parts, Registration(parts, requests), throttle, mails, pages, options.verification
    )


async def _forget_deleted(database: Database, after_s: int) -> None:
    """Forgets the ids of people who were deleted, once no token of theirs can run, for ever."""
    while True:
        async with database.connection() as conn:
            await conn.execute(SQL["purge_deleted_users"], after_s)
        await asyncio.sleep(FORGET_EVERY_S)

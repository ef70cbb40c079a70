"""Tries are counted, so that nobody guesses passwords or floods others with mail; and so that nobody can use that to
lock somebody out.

A log-in counts for three: its address; its account from its address; and its account from all addresses that it was
never logged in to from. Who has logged in from where they are is not held back by what strangers try, and whoever is
held back comes in by a reset of the password, which makes their address a known one. What was refused by one count
does not add to the next, so that one stranger's flood does not use up the tries of others, nor make a row for each
name that it comes up with. A try that succeeds, or that nobody had time to look at, is given back.

An address is an IPv4 address or the /64 of an IPv6 one. The loopback address is nobody's own (a proxy on the machine
has it for everyone), so there is no count of it alone. Counts are in PostgreSQL: where that is away, nobody can log in
anyway. The table is bounded by the work that each try costs, and windows that are over are removed.
"""

from __future__ import annotations

import hmac
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from services.auth.purge import purge_on
from services.auth.store import SQL, Row
from services.mesh.addresses import address_of_call, household
from services.mesh.call import Call, current_or_none
from services.mesh.database import Connection, Database
from services.mesh.errors import MeshError, QuotaViolation

PURGE_EVERY_S = 60.0
_KEY_BYTES = 16
_RETRY_MIN_S = 1.0


@dataclass(frozen=True, slots=True)
class ThrottleOptions:
    """How many in a window of so many seconds. mails_*: the window is that of the links in them, so that whoever's
    mails are held back has one with a link that is still good."""

    window_s: int
    logins_per_address: int
    logins_per_account_and_address: int
    logins_per_account_by_strangers: int
    proofs_per_session: int
    wrong_proofs: int
    wrong_proofs_window_s: int
    second_factors_per_address: int
    passkey_proofs_per_address: int
    registrations_per_address: int
    mail_requests_per_address: int
    mails_per_recipient: int
    mails_window_s: int
    password_changes: int
    password_changes_window_s: int
    invitations: int
    invitations_per_address: int
    invitations_per_recipient: int
    invitations_per_recipient_in_all: int
    invitations_window_s: int
    known_addresses: int


@dataclass(frozen=True, slots=True)
class Limited:
    """One count: what for (never told), at most how many, in what window."""

    key: bytes
    most: int
    window_s: int


@dataclass(frozen=True, slots=True)
class LogInTry:
    """A try of logging in that was let through."""

    taken: tuple[Limited, ...]
    pair: Limited
    place: bytes  # digest of the household


class Throttle:
    """Counts tries. Raises MeshError RATE_LIMITED."""

    def __init__(self, database: Database, pepper: bytes, options: ThrottleOptions) -> None:
        """pepper: so that what is stored cannot be turned back into addresses by trying all."""
        self._database, self._pepper, self._options = database, pepper, options

    # Logging in

    async def log_in(self, email: str) -> LogInTry:
        """Counts a log-in from where the call under way comes from. The same work whether there is such an account."""
        options = self._options
        home = _household(current_or_none())
        pair = self._limited("log-in pair", f"{email}\n{home}", options.logins_per_account_and_address)
        taken = [*await self._from_address("log-in address", options.logins_per_address)]
        await self._take([pair])
        taken.append(pair)
        place = self._digest("place", home)
        async with self._database.connection() as conn:
            known = await conn.fetchval(SQL["address_is_known"], email, place)
        strangers = self._limited("log-in account", email, options.logins_per_account_by_strangers)
        if not known:
            try:
                await self._take([strangers])
            except MeshError:
                raise _too_many(options.window_s, "Set a new password by mail to come in at once.") from None
            taken.append(strangers)
        return LogInTry(tuple(taken), pair, place)

    async def logged_in(self, conn: Connection, done: LogInTry, user: Row) -> None:
        """It succeeded: gives the tries back, and remembers the address."""
        others = [one.key for one in done.taken if one is not done.pair]
        await conn.execute(SQL["give_back_tries"], [done.pair.key], others)
        await self._know(conn, done.place, user)

    async def proved(self, conn: Connection, user: Row) -> None:
        """The person proved, beside a password, who they are: the address is known from now on, with tries left."""
        email, home = user["email"], _household(current_or_none())
        pair = self._limited("log-in pair", f"{email}\n{home}", 0)
        await conn.execute(SQL["forget_tries"], [pair.key])
        await self._know(conn, self._digest("place", home), user)

    async def completed(self, conn: Connection, user: Row, methods: Sequence[str]) -> None:
        """The last proof of a log-in was right: as proved, and gives back what the first ones took. methods: those
        first ones; none: a passkey alone, which took nothing."""
        options, email, home = self._options, user["email"], _household(current_or_none())
        place = self._digest("place", home)
        taken = []
        if "password" in methods:
            taken.append(self._limited("log-in address", home, options.logins_per_address))
            if not await conn.fetchval(SQL["address_is_known"], email, place):
                taken.append(self._limited("log-in account", email, options.logins_per_account_by_strangers))
        elif methods:
            taken.append(self._limited("log-in elsewhere", home, options.logins_per_address))
        pair = self._limited("log-in pair", f"{email}\n{home}", options.logins_per_account_and_address)
        await conn.execute(SQL["give_back_tries"], [pair.key], [one.key for one in taken])
        await self._know(conn, place, user)

    async def logged_in_elsewhere(self, conn: Connection) -> None:
        """A log-in by an identity provider succeeded: gives the try back."""
        most = self._options.logins_per_address
        await self.give_back(self._limited("log-in elsewhere", _household(current_or_none()), most), within=conn)

    async def _know(self, conn: Connection, place: bytes, user: Row) -> None:
        most = self._options.known_addresses - 1
        await conn.execute(SQL["know_address"], user["user_id"], user["org_id"], place, most)

    # All else

    async def proof(self, session_id: str) -> Limited:
        """Counts a password that a session is asked for."""
        limited = self._limited("proof", session_id, self._options.proofs_per_session)
        await self._take([limited])
        return limited

    async def proof_given(self, session_id: str) -> None:
        """The password was right."""
        async with self._database.connection() as conn:
            await conn.execute(SQL["forget_tries"], [self._limited("proof", session_id, 0).key])

    async def wrong_proof(self, conn: Connection, session_id: str) -> bool:
        """Counts a proof of a session that was wrong; True: it was the last that the session may give."""
        options = self._options
        key = self._digest("wrong proof", session_id)
        return bool(await self._over(conn, [Limited(key, options.wrong_proofs - 1, options.wrong_proofs_window_s)]))

    async def link_proof(self, digest: bytes) -> Limited:
        """Counts a password that comes with a link."""
        limited = self._limited("link", digest.hex(), self._options.logins_per_account_and_address)
        await self._take([limited])
        return limited

    async def second_factor(self) -> tuple[Limited, ...]:
        """Counts a proof that is to end a log-in."""
        return await self._from_address("second factor", self._options.second_factors_per_address)

    async def passkey_proof(self) -> None:
        """Counts a proof by passkey that somebody without a session begins."""
        await self._from_address("passkey proof", self._options.passkey_proofs_per_address)

    async def register(self) -> tuple[Limited, ...]:
        """Counts a registration."""
        return await self._from_address("register", self._options.registrations_per_address)

    async def log_in_elsewhere(self) -> None:
        """Counts a log-in by an identity provider that begins."""
        await self._from_address("log-in elsewhere", self._options.logins_per_address)

    async def ask_for_mail(self) -> None:
        """Counts a mail that somebody without a credential asks for."""
        await self._from_address("ask for mail", self._options.mail_requests_per_address)

    async def ask_for_own_mail(self, user_id: str) -> None:
        """Counts a mail that a person asks for with their session."""
        options = self._options
        limited = Limited(self._digest("own mail", user_id), options.mails_per_recipient, options.mails_window_s)
        await self._take([limited])

    async def change_password(self, conn: Connection, user_id: str) -> None:
        """Counts a change of a person's password in the transaction that makes it; none is forgotten: each is told by
        mail."""
        options = self._options
        window = f"{options.password_changes_window_s / 3600:g} h"
        key = self._digest("password changes", user_id)
        left_s = await self._over(conn, [Limited(key, options.password_changes, options.password_changes_window_s)])
        if left_s:
            why = f"A password is changed at most {options.password_changes} times in {window}."
            raise MeshError(
                "RATE_LIMITED",
                f"{why} Retry after the delay in RetryInfo.",
                retry_after_s=left_s,
                quota=[QuotaViolation(f"user:{user_id}", why)],
            )

    async def may_mail(self, conn: Connection, email: str, what: str) -> bool:
        """Counts a mail of a kind to an address; False: there were enough. Nobody is told."""
        options = self._options
        limited = Limited(self._digest(f"mail {what}", email), options.mails_per_recipient, options.mails_window_s)
        return not await self._over(conn, [limited])

    async def invite(self, conn: Connection, org_id: str, user_id: str, email: str) -> None:
        """Counts an invitation in the transaction that makes it: of the organisation, of who sends it, of where they
        are, and of who gets it. By one organisation that is few, so that its mails are bounded; by all it is many, so
        that no stranger uses up what others may send."""
        options = self._options
        hours = f"{options.invitations_window_s / 3600:g} hours"
        sent = f"At most {options.invitations} invitations in {hours} go out from one organisation, or by one person."
        there = f"At most {options.invitations_per_address} invitations in {hours} are sent from one network address."
        got = (
            f"At most {options.invitations_per_recipient} invitations in {hours} go from an organisation to an address."
        )
        all_got = f"At most {options.invitations_per_recipient_in_all} invitations in {hours} go to one address."
        wanted = {
            self._digest("invitations of organisation", org_id): (options.invitations, f"org:{org_id}", sent),
            self._digest("invitations by", user_id): (options.invitations, f"user:{user_id}", sent),
            self._digest("invitations of organisation to", f"{org_id}\n{email}"): (
                options.invitations_per_recipient,
                "invited address",
                got,
            ),
            self._digest("invitations to", email): (
                options.invitations_per_recipient_in_all,
                "invited address",
                all_got,
            ),
        }
        if home := _household(current_or_none()):
            key = self._digest("invitations from", home)
            wanted[key] = (options.invitations_per_address, "network address", there)
        rows = await conn.fetch(
            SQL["take_tries"], list(wanted), [float(options.invitations_window_s) for _ in range(len(wanted))]
        )
        over = [(row["left_s"], *wanted[row["key"]][1:]) for row in rows if row["count"] > wanted[row["key"]][0]]
        if over:  # what was counted is rolled back with what was not sent
            left_s, _, why = max(over)
            raise MeshError(
                "RATE_LIMITED",
                f"{why} Retry after the delay in RetryInfo.",
                retry_after_s=max(left_s, _RETRY_MIN_S),
                quota=[QuotaViolation(subject, one) for _, subject, one in over],
            )

    @asynccontextmanager
    async def checking(self, *taken: Limited) -> AsyncIterator[None]:
        """For a block that checks what was counted, and raises MeshError where nobody has time to: then the tries are
        given back. A storm must not use up the tries of those who are in it."""
        try:
            yield
        except MeshError:
            await self.give_back(*taken)
            raise

    async def give_back(self, *taken: Limited, within: Connection | None = None) -> None:
        """Takes tries out of their counts again. within: the transaction in which they turned out to be right."""
        keys = [one.key for one in taken]
        if within is not None:
            await within.execute(SQL["give_back_tries"], [], keys)
        elif keys:
            async with self._database.connection() as conn:
                await conn.execute(SQL["give_back_tries"], [], keys)

    async def _from_address(self, what: str, most: int) -> tuple[Limited, ...]:
        """Counts one of the address of the call under way; what was counted: nothing where it is nobody's own."""
        home = _household(current_or_none())
        taken = (self._limited(what, home, most),) if home else ()
        if taken:
            await self._take(taken)
        return taken

    async def purge(self) -> None:
        """Removes windows that are over, for ever."""
        await purge_on(self._database, SQL["purge_tries"], every_s=PURGE_EVERY_S)

    async def _take(self, wanted: Sequence[Limited]) -> None:
        async with self._database.connection() as conn:
            left_s = await self._over(conn, wanted)
        if left_s:
            raise _too_many(left_s)

    async def _over(self, conn: Connection, wanted: Sequence[Limited]) -> float:
        """How long until there are tries again; 0: there are."""
        rows = await conn.fetch(SQL["take_tries"], [one.key for one in wanted], [float(one.window_s) for one in wanted])
        most = {one.key: one.most for one in wanted}
        return max((max(row["left_s"], _RETRY_MIN_S) for row in rows if row["count"] > most[row["key"]]), default=0.0)

    def _limited(self, what: str, whom: str, most: int) -> Limited:
        return Limited(self._digest(what, whom), most, self._options.window_s)

    def _digest(self, what: str, whom: str) -> bytes:
        return hmac.digest(self._pepper, f"tries\n{what}\n{whom}".encode(), "sha256")[:_KEY_BYTES]


def _household(call: Call | None) -> str:
    """Whose address it is; "": nobody's own."""
    address = address_of_call(call) if call is not None else None
    return "" if address is None or address.is_loopback else household(address)


def _too_many(left_s: float, advice: str = "") -> MeshError:
    what = "There were too many tries."
    return MeshError(
        "RATE_LIMITED",
        " ".join(filter(None, (what, "Retry after the delay in RetryInfo.", advice))),
        retry_after_s=left_s,
        quota=[QuotaViolation("tries", what)],
    )

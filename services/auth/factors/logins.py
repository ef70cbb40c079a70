"""Log-ins that await a second factor, log-ins by passkey alone, and step-ups by factor."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from promptmesh.auth.v1 import auth_pb2, factors_pb2

from services.auth.confirmations import Confirmations
from services.auth.factors.book import locked
from services.auth.factors.challenges import LOG_IN, PROOF, Challenges, NewChallenge, new_webauthn, over
from services.auth.factors.passkeys import RelyingParty
from services.auth.factors.proofs import Proofs, method_of, wrong
from services.auth.sessions import Sessions
from services.auth.store import SQL, Row
from services.auth.throttle import Throttle
from services.mesh import audit
from services.mesh.audit import Party
from services.mesh.call import Caller, CallerKind
from services.mesh.database import Connection, Database
from services.mesh.errors import MeshError
from services.mesh.events import Outbox

_FACTOR_INSTEAD = (
    "This account has a second factor, so its password alone proves nothing here. Give a code of your app, a recovery"
    " code or a passkey."
)


class SecondFactor:
    """What CreateSession asks before it opens a session."""

    def __init__(self, challenges: Challenges, relying_party: RelyingParty) -> None:
        self._challenges, self._relying_party = challenges, relying_party

    async def challenge(
        self, conn: Connection, user: Row, methods: Sequence[str]
    ) -> auth_pb2.SecondFactorChallenge | None:
        """What is still to be proved; None: the person has no second factor.

        user: of the query `user_to_log_in`, in this transaction; methods: what is proved, as SessionInfo names it.
        """
        if not user["second_factor"]:
            return None
        rows = await conn.fetch(SQL["factors_of_user"], user["user_id"])
        kinds = {row["kind"] for row in rows}
        if await conn.fetchval(SQL["count_recovery_codes"], user["user_id"]):
            kinds.add(auth_pb2.FACTOR_KIND_RECOVERY_CODE)
        has_passkey = auth_pb2.FACTOR_KIND_PASSKEY in kinds
        webauthn = new_webauthn() if has_passkey else None
        new = NewChallenge(
            LOG_IN, user["user_id"], webauthn=webauthn, methods=methods, password_digest=_password_digest(user)
        )
        token, expire_time = await self._challenges.begin(conn, new)
        challenge = auth_pb2.SecondFactorChallenge(challenge_token=token, factors=sorted(kinds))
        challenge.expire_time.FromDatetime(expire_time)
        if webauthn is not None:
            challenge.passkey_options = self._relying_party.request_options(webauthn, _allowed(rows))
        return challenge


@dataclass(frozen=True, slots=True)
class Completed:
    """What came of a proof that ends a log-in."""

    session: auth_pb2.Session | None  # None: the proof was wrong
    method: str


class Logins:
    """CompleteSession, BeginPasskeyProof, ConfirmSession. Raises MeshError for what a caller did wrong."""

    def __init__(
        self,
        database: Database,
        outbox: Outbox,
        sessions: Sessions,
        confirmations: Confirmations,
        challenges: Challenges,
        proofs: Proofs,
        relying_party: RelyingParty,
        throttle: Throttle,
    ) -> None:
        self._database, self._outbox, self._sessions, self._confirmations = database, outbox, sessions, confirmations
        self._throttle = throttle
        self._challenges, self._proofs, self._relying_party = challenges, proofs, relying_party

    async def begin_passkey(self, caller: Caller) -> factors_pb2.BeginPasskeyProofResponse:
        """Options for any passkey of the mesh; with a session, for those of its person. RATE_LIMITED."""
        webauthn = new_webauthn()
        named = caller.kind is CallerKind.SESSION
        if not named:
            await self._throttle.passkey_proof()
        new = NewChallenge(
            PROOF, caller.user_id if named else None, caller.session_id if named else None, webauthn=webauthn
        )
        async with self._database.transaction() as conn:
            rows = await conn.fetch(SQL["factors_of_user"], caller.user_id) if named else []
            token, _ = await self._challenges.begin(conn, new)
        options = self._relying_party.request_options(webauthn, _allowed(rows))
        return factors_pb2.BeginPasskeyProofResponse(options=options, challenge_token=token)

    async def complete(self, request: factors_pb2.CompleteSessionRequest, replaced: str = "") -> auth_pb2.Session:
        """The session that a log-in ends with. PROOF_WRONG, LINK_INVALID, RATE_LIMITED, SUSPENDED.

        replaced: the refresh token that a browser loses by this, whose session ends.
        """
        method = method_of(request.proof)
        counted = await self._throttle.second_factor()
        async with self._database.transaction() as conn:
            named = await self._challenges.owner(conn, request.challenge_token)
            user_id = named or await self._proofs.owner(conn, request.proof)
            # Locked before the challenge, as everywhere.
            user = await conn.fetchrow(SQL["user_to_log_in"], user_id) if user_id else None
            challenge = await self._challenges.take(
                conn, request.challenge_token, LOG_IN, PROOF, user_id=named, session_id=None
            )
            if challenge["purpose"] == LOG_IN and (
                user is None or bytes(challenge["password_digest"]) != _password_digest(user)
            ):
                raise over()  # the password that was right then has been replaced
            session = await self._session(conn, request.proof, challenge, user, method, replaced)
            if session is not None:
                await self._throttle.give_back(*counted, within=conn)
        if session is None:  # raised outside, so that the try is counted
            raise wrong(method)
        return session

    async def confirm(self, caller: Caller, request: factors_pb2.ConfirmSessionRequest) -> auth_pb2.Session:
        """The caller's session with a token that passes where a step-up is asked. PROOF_WRONG, LINK_INVALID."""
        method = method_of(request.proof)
        if method == "password":
            async with self._database.connection() as conn:
                user = await conn.fetchrow(SQL["user_by_id"], caller.user_id)
            if user is None or not user["second_factor"]:
                return await self._confirmations.confirm_by_password(caller, request.proof.password)
        await self._confirmations.attempt(caller)
        if method == "password":
            raise await self._confirmations.wrong(caller, method, _FACTOR_INSTEAD)
        if not await self._proved(caller, request, method):
            raise await self._confirmations.wrong(caller, method)
        return await self._confirmations.confirm(caller, [method])

    async def _session(
        self,
        conn: Connection,
        proof: factors_pb2.Proof,
        challenge: Row,
        user: Row | None,
        method: str,
        replaced: str,
    ) -> auth_pb2.Session | None:
        webauthn = challenge["webauthn"]
        if user is not None and await self._proofs.check(conn, user, proof, bytes(webauthn) if webauthn else None):
            await self._challenges.end(conn, challenge)
            return await self._sessions.complete(conn, user, [*challenge["methods"], method], replaced)
        await self._challenges.count(conn, challenge)
        if user is not None:
            await self._refused(conn, user, method)
        return None

    async def _refused(self, conn: Connection, user: Row, method: str) -> None:
        await audit.record(
            conn,
            self._outbox,
            "session.create",
            Party("user", user["user_id"], user["display_name"]),
            actor=Party("anonymous", ""),
            subject_user_id=user["user_id"],
            org_id=user["org_id"],
            after={"methods": [method]},
            succeeded=False,
        )

    async def _proved(self, caller: Caller, request: factors_pb2.ConfirmSessionRequest, method: str) -> bool:
        if method == "passkey" and not request.challenge_token:
            raise MeshError(
                "LINK_INVALID", "A passkey proves nothing without the challenge_token of BeginPasskeyProof."
            )
        async with self._database.transaction() as conn:
            user = await locked(conn, caller)
            challenge = None
            if method == "passkey":
                challenge = await self._challenges.take(
                    conn, request.challenge_token, PROOF, user_id=caller.user_id, session_id=caller.session_id
                )
            right = await self._proofs.check(
                conn, user, request.proof, bytes(challenge["webauthn"]) if challenge is not None else None
            )
            if challenge is not None:
                await (self._challenges.end if right else self._challenges.count)(conn, challenge)
        return right


def _allowed(rows: Sequence[Row]) -> list[tuple[bytes, list[str]]]:
    return [(bytes(row["credential_id"]), row["transports"]) for row in rows if row["credential_id"] is not None]


def _password_digest(user: Row) -> bytes:
    """Of the password's hash: a log-in that is under way ends with the password that it began with."""
    return hashlib.sha256((user["password_hash"] or "").encode()).digest()

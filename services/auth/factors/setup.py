"""BeginTotp, CreateTotp, BeginPasskey, CreatePasskey, and what a person does with the factors that they have."""

from __future__ import annotations

from promptmesh.auth.v1 import auth_pb2, factors_pb2

from services.auth.factors import totp
from services.auth.factors.book import Book, factor_of, locked
from services.auth.factors.challenges import PASSKEY, TOTP, Challenges, NewChallenge, new_webauthn
from services.auth.factors.passkeys import PasskeyError, RelyingParty
from services.auth.factors.proofs import handle_of, wrong
from services.auth.store import SQL, Row
from services.mesh.call import Caller
from services.mesh.database import Connection, Database
from services.mesh.errors import MeshError
from services.mesh.ids import uuid7
from services.mesh.sealing import Sealer
from services.mesh.telemetry.logs import get_logger

log = get_logger()


class Setup:
    """Factors of the caller. Raises MeshError for what a caller did wrong."""

    def __init__(
        self, database: Database, challenges: Challenges, book: Book, sealer: Sealer, relying_party: RelyingParty
    ) -> None:
        self._database, self._challenges, self._book = database, challenges, book
        self._sealer, self._relying_party = sealer, relying_party

    async def list(self, caller: Caller) -> factors_pb2.ListFactorsResponse:
        """The caller's factors, oldest first."""
        async with self._database.connection() as conn:
            rows = await conn.fetch(SQL["factors_of_user"], caller.user_id)
            left = await conn.fetchval(SQL["count_recovery_codes"], caller.user_id)
        return factors_pb2.ListFactorsResponse(factors=[factor_of(row) for row in rows], recovery_codes_left=left)

    async def begin_totp(self, caller: Caller) -> factors_pb2.BeginTotpResponse:
        """A secret that counts from CreateTotp on; one that was begun before is forgotten. FACTOR_LIMIT."""
        secret, factor_id = totp.new_secret(), uuid7()
        async with self._database.transaction() as conn:
            user = await self._begun(conn, caller, TOTP)
            new = NewChallenge(
                TOTP,
                caller.user_id,
                caller.session_id,
                factor_id=factor_id,
                secret=self._sealer.seal(secret.hex(), factor_id, caller.user_id),
            )
            token, _ = await self._challenges.begin(conn, new)
        uri = totp.otpauth_uri(secret, user["email"])
        return factors_pb2.BeginTotpResponse(secret=totp.written(secret), otpauth_uri=uri, setup_token=token)

    async def create_totp(
        self, caller: Caller, request: factors_pb2.CreateTotpRequest
    ) -> factors_pb2.CreateFactorResponse:
        """The app as a factor. PROOF_WRONG, LINK_INVALID, FACTOR_LIMIT."""
        created = None
        async with self._database.transaction() as conn:
            user = await locked(conn, caller)
            challenge = await self._taken(conn, caller, request.setup_token, TOTP)
            factor_id, sealed = challenge["factor_id"], bytes(challenge["secret"])
            secret = bytes.fromhex(self._sealer.open(sealed, factor_id, caller.user_id))
            step = totp.step_of(secret, request.code, user["moment"].timestamp())
            if step is None:
                await self._challenges.count(conn, challenge)
            else:
                await self._challenges.end(conn, challenge)
                created = await self._book.add(
                    conn,
                    user,
                    caller.session_id,
                    factor_id=factor_id,
                    kind=auth_pb2.FACTOR_KIND_TOTP,
                    display_name=request.display_name,
                    secret=sealed,
                    last_step=step,  # this code is used
                )
        if created is None:  # raised outside, so that the try is counted
            raise wrong("totp")
        return created

    async def begin_passkey(self, caller: Caller) -> factors_pb2.BeginPasskeyResponse:
        """Options for the browser. FACTOR_LIMIT."""
        webauthn = new_webauthn()
        async with self._database.transaction() as conn:
            user = await self._begun(conn, caller, PASSKEY)
            new = NewChallenge(PASSKEY, caller.user_id, caller.session_id, webauthn=webauthn)
            token, _ = await self._challenges.begin(conn, new)
            rows = await conn.fetch(SQL["factors_of_user"], caller.user_id)
        existing = [bytes(row["credential_id"]) for row in rows if row["credential_id"] is not None]
        options = self._relying_party.creation_options(
            webauthn, handle_of(caller.user_id), user["email"], user["display_name"], existing
        )
        return factors_pb2.BeginPasskeyResponse(options=options, setup_token=token)

    async def create_passkey(
        self, caller: Caller, request: factors_pb2.CreatePasskeyRequest
    ) -> factors_pb2.CreateFactorResponse:
        """The passkey as a factor. PROOF_WRONG, LINK_INVALID, FACTOR_LIMIT."""
        created = None
        async with self._database.transaction() as conn:
            user = await locked(conn, caller)
            challenge = await self._taken(conn, caller, request.setup_token, PASSKEY)
            try:
                made = self._relying_party.registered(request.credential, bytes(challenge["webauthn"]))
            except PasskeyError as error:
                log.info("a passkey was not registered", user_id=caller.user_id, why=str(error))
                await self._challenges.count(conn, challenge)
            else:
                await self._challenges.end(conn, challenge)
                created = await self._book.add(
                    conn,
                    user,
                    caller.session_id,
                    factor_id=uuid7(),
                    kind=auth_pb2.FACTOR_KIND_PASSKEY,
                    display_name=request.display_name,
                    credential_id=made.credential_id,
                    credential=made.data,
                    sign_count=made.sign_count,
                    transports=made.transports,
                )
        if created is None:
            raise wrong("passkey")
        return created

    async def delete(self, caller: Caller, factor_id: str) -> None:
        """Removes one of the caller's factors. FACTOR_NOT_FOUND."""
        async with self._database.transaction() as conn:
            await self._book.remove(conn, await locked(conn, caller), caller.session_id, factor_id)

    async def renew_codes(self, caller: Caller) -> factors_pb2.CreateRecoveryCodesResponse:
        """Ten new recovery codes. FACTOR_NOT_FOUND: there is no factor that they could stand in for."""
        async with self._database.transaction() as conn:
            user = await locked(conn, caller)
            if not user["second_factor"]:
                raise MeshError(
                    "FACTOR_NOT_FOUND",
                    "Recovery codes stand in for a second factor, and you have none. Set up an authenticator app or a "
                    "passkey first; ten codes come with it.",
                )
            codes = await self._book.renew_codes(conn, user)
            await self._book.tell_of_codes(conn, user)
        return factors_pb2.CreateRecoveryCodesResponse(recovery_codes=codes)

    async def _begun(self, conn: Connection, caller: Caller, purpose: str) -> Row:
        user = await locked(conn, caller)
        await self._book.check_room(conn, user)
        await self._challenges.end_all(conn, caller.user_id, purpose)
        return user

    async def _taken(self, conn: Connection, caller: Caller, token: str, purpose: str) -> Row:
        return await self._challenges.take(conn, token, purpose, user_id=caller.user_id, session_id=caller.session_id)

"""Proofs: whether a code, a recovery code or a passkey is a person's, and good now. What is good once is used up."""

from __future__ import annotations

from uuid import UUID

from promptmesh.auth.v1 import auth_pb2, factors_pb2

from services.auth.factors import totp
from services.auth.factors.notices import Notices
from services.auth.factors.passkeys import PasskeyError, RelyingParty
from services.auth.factors.recovery import RecoveryDigests
from services.auth.factors.tries import Tries
from services.auth.store import SQL, Row
from services.auth.wrong_proofs import words_for
from services.mesh import audit
from services.mesh.audit import Party
from services.mesh.database import Connection
from services.mesh.errors import MeshError
from services.mesh.events import Outbox
from services.mesh.sealing import Sealer, SealError
from services.mesh.telemetry.logs import get_logger

log = get_logger()
_METHODS = {"totp_code": "totp", "recovery_code": "recovery_code", "passkey": "passkey", "password": "password"}


def method_of(proof: factors_pb2.Proof) -> str:
    """Its name, as SessionInfo has it."""
    return _METHODS[proof.WhichOneof("proof") or "password"]


class Proofs:
    """Checks proofs. All methods want the lock of the person's row (`user`, of the query `user_to_log_in`), under which
    whatever is good once is used up: of two calls with the same code, the second sees what the first one wrote."""

    def __init__(
        self,
        outbox: Outbox,
        sealer: Sealer,
        digests: RecoveryDigests,
        relying_party: RelyingParty,
        tries: Tries,
        notices: Notices,
    ) -> None:
        self._outbox, self._sealer, self._digests = outbox, sealer, digests
        self._relying_party, self._tries, self._notices = relying_party, tries, notices

    async def check(self, conn: Connection, user: Row, proof: factors_pb2.Proof, webauthn: bytes | None) -> bool:
        """Whether the proof is right; commit either way, as wrong ones are counted. RATE_LIMITED.

        webauthn: what a passkey had to sign; None: there is no challenge, so no passkey is right. A password is none
        of these proofs: it is never right here.
        """
        method = method_of(proof)
        if method == "totp":
            return await self._code(conn, user, proof.totp_code)
        if method == "recovery_code":
            return await self._recovery_code(conn, user, proof.recovery_code)
        return method == "passkey" and webauthn is not None and await self._passkey(conn, user, proof.passkey, webauthn)

    async def owner(self, conn: Connection, proof: factors_pb2.Proof) -> str | None:
        """Whose passkey it says it is, before anything is verified; None: nobody's."""
        if method_of(proof) != "passkey":
            return None
        try:
            assertion = self._relying_party.read(proof.passkey)
        except PasskeyError:
            return None
        row = await conn.fetchrow(SQL["factor_of_credential"], assertion.credential_id)
        # Where nobody was named, the authenticator has to say whose it is (WebAuthn, section 7.2, step 6).
        if row is None or assertion.user_handle != handle_of(row["user_id"]):
            return None
        owner: str = row["user_id"]
        return owner

    async def _code(self, conn: Connection, user: Row, code: str) -> bool:
        await self._tries.check(conn, user)
        for factor in await conn.fetch(SQL["factors_of_user"], user["user_id"]):
            if factor["kind"] != auth_pb2.FACTOR_KIND_TOTP:
                continue
            secret = await self._secret(conn, factor)
            now = user["moment"].timestamp()
            step = totp.step_of(secret, code, now, factor["last_step"]) if secret else None
            if step is not None and await conn.fetchval(SQL["use_totp"], factor["factor_id"], step):
                return True
        await self._tries.count(conn, user)
        return False

    async def _secret(self, conn: Connection, factor: Row) -> bytes:
        """Of an app; b"" where it cannot be opened any more."""
        factor_id, sealed = factor["factor_id"], bytes(factor["secret"])
        try:
            secret = self._sealer.open(sealed, factor_id, factor["user_id"])
        except SealError as error:
            log.error("the secret of an authenticator app cannot be opened", factor_id=factor_id, why=str(error))
            return b""
        if not self._sealer.is_current(sealed):  # so that an older key can go
            resealed = self._sealer.seal(secret, factor_id, factor["user_id"])
            await conn.execute(SQL["reseal_factor"], factor_id, sealed, resealed)
        return bytes.fromhex(secret)

    async def _recovery_code(self, conn: Connection, user: Row, code: str) -> bool:
        digest = self._digests.of(user["user_id"], code)
        if not await conn.fetchval(SQL["use_recovery_code"], user["user_id"], digest):
            return False
        left: int = await conn.fetchval(SQL["count_recovery_codes"], user["user_id"])
        await self._notices.tell(conn, user, "recovery_code_used", left=str(left))
        me = Party("user", user["user_id"], user["display_name"])
        await audit.record(
            conn,
            self._outbox,
            "recovery_code.use",
            me,
            actor=me,
            subject_user_id=user["user_id"],
            org_id=user["org_id"],
            after={"left": left},
        )
        return True

    async def _passkey(self, conn: Connection, user: Row, credential: str, webauthn: bytes) -> bool:
        try:
            assertion = self._relying_party.read(credential)
            factor = await conn.fetchrow(SQL["factor_of_credential"], assertion.credential_id)
            if factor is None or factor["user_id"] != user["user_id"]:
                raise PasskeyError("it is not one of this person's")
            if assertion.user_handle and assertion.user_handle != handle_of(user["user_id"]):
                raise PasskeyError("it is another person's")
            sign_count = self._relying_party.verify(
                assertion, webauthn, bytes(factor["credential"]), factor["sign_count"]
            )
        except PasskeyError as error:
            log.info("a passkey proved nothing", user_id=user["user_id"], why=str(error))
            return False
        await conn.execute(SQL["use_passkey"], factor["factor_id"], sign_count)
        return True


def handle_of(user_id: str) -> bytes:
    """A person towards authenticators: nothing that tells who they are (WebAuthn, section 14.6.1)."""
    return UUID(user_id).bytes


def wrong(method: str) -> MeshError:
    """PROOF_WRONG for a log-in or a set-up."""
    return MeshError(
        "PROOF_WRONG",
        f"{words_for(method)} After some wrong tries it has to be begun anew.",
    )

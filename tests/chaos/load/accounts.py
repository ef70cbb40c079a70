"""People who register, log in, renew and end sessions, and make and revoke keys."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from tests.chaos.load import methods
from tests.chaos.load.callers import Caller
from tests.chaos.load.journal import OK, Op
from tests.chaos.load.methods import Method
from tests.chaos.load.people import Cast, Member
from tests.chaos.load.publishing import until_acknowledged
from tests.mesh.people import PASSWORD

REVOKES, KEYS_KEPT_MAX = 0.5, 20


@dataclass
class Key:
    """A key, and the operation that made it."""

    made: Op
    key_id: str
    secret: str


@dataclass
class Newcomer:
    """Somebody new at every turn, who registers, logs in, renews the session and ends it. Passwords are slow to check:
    a turn a few seconds is enough."""

    cast: Cast
    caller: Caller  # that registers; sessions are over plain HTTP, where whoever asks holds the tokens
    #: Access tokens of sessions that were ended, by the operation that ended them; and those that live.
    ended: dict[int, str] = field(default_factory=dict)
    live: dict[int, str] = field(default_factory=dict)

    async def turn(self) -> None:
        """One life."""
        email = f"{self.cast.name()}@example.com"
        op = self.cast.journal.begin("register", self.caller.name, email=email)
        # EMAIL_TAKEN: the answer to the first try got lost.
        fields = {"email": email, "password": PASSWORD, "displayName": "Somebody"}
        user = await until_acknowledged(
            self.cast, op, self.caller, {}, methods.REGISTER, fields, allowed={"EMAIL_TAKEN"}
        )
        taken = op.answer.get("reason") == "EMAIL_TAKEN"
        if user is not None:
            self.cast.journal.end(op, OK, user_id=user["userId"])
        elif taken and len(op.tries) == 1:
            self.cast.journal.wonder(f"registration {op.number} of {email}: taken at the first try")
        elif not taken:
            return
        await self._session(email)

    async def _session(self, email: str) -> None:
        session = await self._do("log_in", {}, methods.LOG_IN, {"email": email, "password": PASSWORD}, email=email)
        if session is None:
            return
        op, answer = session
        token = answer["accessToken"]
        if self.cast.rng.random() < 0.5:
            # Within 10 s the same token may be sent again; later it would end the session, so it is sent but twice.
            renewed = await self._do(
                "refresh",
                {},
                methods.REFRESH,
                {"refreshToken": answer["refreshToken"]},
                allowed={"CREDENTIAL_INVALID", "CREDENTIAL_REVOKED", "CREDENTIAL_EXPIRED"},
                tries=2,
                session_id=answer["sessionId"],
            )
            if renewed is None:
                return
            op, token = renewed[0], renewed[1]["accessToken"]
        if self.cast.rng.random() < 0.5:
            self.live[op.number] = token
            return
        # A retry whose first answer got lost finds the session ended.
        left = await self._do(
            "log_out",
            {"token": token},
            methods.LOG_OUT,
            {},
            allowed={"CREDENTIAL_REVOKED", "CREDENTIAL_INVALID"},
            session_id=answer["sessionId"],
        )
        if left is not None:
            self.ended[left[0].number] = token

    async def _do(
        self,
        kind: str,
        who: dict[str, str],
        method: Method,
        fields: dict[str, Any],
        *,
        allowed: Collection[str] = (),
        tries: int = 20,
        **facts: Any,
    ) -> tuple[Op, dict[str, Any]] | None:
        op = self.cast.journal.begin(kind, self.cast.rest.name, **facts)
        answer = await until_acknowledged(
            self.cast, op, self.cast.rest, who, method, fields, allowed=allowed, tries=tries
        )
        if answer is None:
            return None
        self.cast.journal.end(op, OK, session_id=answer.get("sessionId") or facts.get("session_id"))
        return op, answer


@dataclass
class KeyHolder:
    """Somebody who makes keys and revokes them."""

    cast: Cast
    member: Member
    caller: Caller
    live: list[Key] = field(default_factory=list)
    #: Revocations that were acknowledged, by their operation.
    revoked: dict[int, Key] = field(default_factory=dict)

    async def turn(self) -> None:
        """Makes one, or revokes one."""
        if self.live and (len(self.live) > KEYS_KEPT_MAX or self.cast.rng.random() < REVOKES):
            await self._revoke(self.live.pop(self.cast.rng.randrange(len(self.live))))
        else:
            await self._make()

    async def _make(self) -> None:
        request_id = self.cast.uuid()
        op = self.cast.journal.begin("key", self.caller.name, request_id=request_id)
        fields = {"displayName": "chaos", "scopes": ["posts:read"], "requestId": request_id}
        # A retry whose first answer got lost is told so: a secret is shown once.
        once = {"REQUEST_ID_REUSED"}
        answer = await until_acknowledged(
            self.cast, op, self.caller, self.member.by_password, methods.CREATE_KEY, fields, allowed=once, tries=40
        )
        if answer is not None:
            key_id = answer["apiKey"]["apiKeyId"]
            self.cast.journal.end(op, OK, api_key_id=key_id)
            self.live.append(Key(op, key_id, answer["secret"]))

    async def _revoke(self, key: Key) -> None:
        op = self.cast.journal.begin("revoke", self.caller.name, api_key_id=key.key_id)
        answer = await until_acknowledged(
            self.cast, op, self.caller, self.member.by_password, methods.REVOKE_KEY, {"apiKeyId": key.key_id}
        )
        if answer is not None:
            self.cast.journal.end(op, OK, api_key_id=key.key_id)
            self.revoked[op.number] = key

"""Pairs of tokens: an access token that every service checks by itself, and the refresh token that follows it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from promptmesh.auth.v1 import auth_pb2

from services.auth import store
from services.auth.refresh_tokens import RefreshToken, RefreshTokens
from services.auth.signing import Signer
from services.auth.store import Row
from services.mesh.access.tokens import sign_access_token


@dataclass(frozen=True, slots=True)
class Refresh:
    """A refresh token and when it ends."""

    token: str
    expire_time: datetime


class Issuer:
    """Makes pairs of tokens. Lifetimes are in seconds."""

    def __init__(
        self,
        signer: Callable[[], Signer],
        refresh_tokens: RefreshTokens,
        *,
        access_lifetime_s: int,
        refresh_lifetime_s: int,
        session_lifetime_s: int,
    ) -> None:
        """signer: answers the key to sign with now; refresh_lifetime_s: after which a session that is not used ends;
        session_lifetime_s: after which it ends whatever happens."""
        self._signer = signer
        self._refresh_tokens = refresh_tokens
        self._access_lifetime = timedelta(seconds=access_lifetime_s)
        self._refresh_lifetime = timedelta(seconds=refresh_lifetime_s)
        self._session_lifetime = timedelta(seconds=session_lifetime_s)
        self.session_lifetime_s = session_lifetime_s

    def end_of(self, create_time: datetime) -> datetime:
        """When a session that was opened then ends whatever happens."""
        return create_time + self._session_lifetime

    def issue(
        self,
        user: Row,
        session_id: str,
        now: datetime,
        *,
        auth_time: datetime,
        plan: str,
        end_time: datetime,
        refresh: Refresh | None = None,
        org_id: str = "",
        access_end_time: datetime | None = None,
    ) -> auth_pb2.Session:
        """A pair for a session, with a new refresh token or a given one.

        user: a row of `users`; now: no later than that row was read; auth_time: when the session last proved who it is;
        plan: of the organisation that it acts for, read no earlier than `now`; end_time: which no token of it outlives;
        org_id: that it acts for; "": the person's own; access_end_time: which the access token does not outlive, where
        nothing but another access token was shown for it.
        """
        org_id = org_id or user["org_id"]
        refresh = refresh or Refresh(self._refresh_tokens.make(session_id), now + self._refresh_lifetime)
        access_expire_time = min(now + self._access_lifetime, end_time, access_end_time or end_time)
        signer = self._signer()
        access_token = sign_access_token(
            signer.key,
            signer.kid,
            user_id=user["user_id"],
            org_id=org_id,
            display_name=user["display_name"],
            roles=user["roles"],
            session_id=session_id,
            issue_time=now.timestamp(),
            expire_time=access_expire_time.timestamp(),
            auth_time=auth_time.timestamp(),
            plan=plan,
        )
        session = auth_pb2.Session(
            session_id=session_id,
            access_token=access_token,
            refresh_token=refresh.token,
            user=store.user_of(user),
            org_id=org_id,
        )
        session.user.plan = plan if org_id == user["org_id"] else ""
        session.access_expire_time.FromDatetime(access_expire_time)
        session.refresh_expire_time.FromDatetime(min(refresh.expire_time, end_time))
        session.end_time.FromDatetime(end_time)
        return session

    def next(self, token: RefreshToken, salt: bytes, now: datetime) -> Refresh:
        """The refresh token that follows another."""
        return Refresh(self._refresh_tokens.successor(token, salt), now + self._refresh_lifetime)

    def read(self, refresh_token: str) -> RefreshToken | None:
        """What a refresh token says; None if it has not the form of one."""
        return self._refresh_tokens.read(refresh_token)


def proved(row: Row) -> datetime:
    """When a session last proved who it is. row: of `sessions`."""
    moment: datetime = row["auth_time"] or row["create_time"]
    return moment

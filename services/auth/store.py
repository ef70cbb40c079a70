"""What auth keeps, in the words of its contract: rows to messages, changes to events.

A change and its event are one transaction, which is the caller's.

Rows are locked in one order, or calls that come at once could wait for each other in a circle: plans, roles
(`lock_roles`), user, organisation, session, service account, API key; of each kind by id. Who writes a session or a key
in whose event or token the organisation's plan stands holds the organisation (`held_plan`) before that row, and
`tell_of_key` takes the plan that it answered. A session's organisation changes under the lock of its person's row.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
from promptmesh.access.v1.access_pb2 import Role
from promptmesh.auth.v1 import auth_pb2, events_pb2

from services.auth.devices import Origin
from services.auth.signing import jwk_of
from services.mesh.access import tokens
from services.mesh.database import Connection, queries
from services.mesh.events import NewEvent, Outbox
from services.mesh.ids import uuid7

SQL = queries("services.auth")

# After a token's end its restriction is kept this long: verifiers allow for clocks that differ (LEEWAY_S of tokens.py).
RESTRICTION_MARGIN_S = 60
_FIRST_VERSION = 1
_ENDED_VERSION = 2

Row = asyncpg.Record


# Rows → messages


def user_of(row: Row) -> auth_pb2.User:
    """The contract's user from a row of `users`."""
    user = auth_pb2.User(
        user_id=row["user_id"],
        org_id=row["org_id"],
        email=row["email"],
        display_name=row["display_name"],
        roles=row["roles"],
        second_factor=row["second_factor"],
        email_verified=row["email_verify_time"] is not None,
    )
    user.create_time.FromDatetime(row["create_time"])
    return user


def account_as_user(row: Row) -> auth_pb2.User:
    """A service account as GetMe answers it to the holder of one of its keys."""
    user = auth_pb2.User(
        user_id=row["service_account_id"],
        org_id=row["org_id"],
        display_name=row["display_name"],
        roles=[Role.ROLE_SERVICE],
    )
    user.create_time.FromDatetime(row["create_time"])
    return user


def listed_user_of(row: Row) -> auth_pb2.User:
    """The same with when they last logged in, for those who may know it."""
    user = user_of(row)
    if row["last_login_time"] is not None:
        user.last_login_time.FromDatetime(row["last_login_time"])
    return user


def administered_user_of(row: Row) -> auth_pb2.User:
    """The same with what administrators are told beside it. row: with `moment`, or at least read just now."""
    user = listed_user_of(row)
    if suspended(row):
        user.suspend_time.FromDatetime(row["suspend_time"])
        user.suspend_reason = row["suspend_reason"]
    return user


def api_key_of(row: Row) -> auth_pb2.ApiKey:
    """The contract's API key from a row of `api_keys`."""
    key = auth_pb2.ApiKey(
        api_key_id=row["api_key_id"],
        org_id=row["org_id"],
        display_name=row["display_name"],
        prefix=row["prefix"],
        scopes=row["scopes"],
    )
    key.create_time.FromDatetime(row["create_time"])
    if row["expire_time"] is not None:
        key.expire_time.FromDatetime(row["expire_time"])
    if row["revoke_time"] is not None:
        key.revoke_time.FromDatetime(row["revoke_time"])
    key.allowed_networks.extend(row["allowed_networks"])
    key.models.extend(row["models"])
    if row["last_use_time"] is not None:
        key.last_use_time.FromDatetime(row["last_use_time"])
    if row["service_account_id"] is not None:
        key.service_account_id = row["service_account_id"]
    if row["previous_expire_time"] is not None:
        key.previous_expire_time.FromDatetime(row["previous_expire_time"])
    return key


def key_identity_of(row: Row, display_name: str, roles: Iterable[Any], plan: str) -> auth_pb2.KeyIdentity:
    """What services are told of an API key, from its row, the present name and roles of whom it acts for, and the
    present plan of its organisation."""
    identity = auth_pb2.KeyIdentity(
        api_key_id=row["api_key_id"],
        digest=row["digest"],
        org_id=row["org_id"],
        user_id=row["user_id"] or row["service_account_id"],
        display_name=display_name,
        roles=roles,
        scopes=row["scopes"],
        revoked=row["revoke_time"] is not None,
        allowed_networks=row["allowed_networks"],
        models=row["models"],
        plan=plan,
    )
    if row["previous_digest"] is not None:
        identity.previous_digest = row["previous_digest"]
        identity.previous_expire_time.FromDatetime(row["previous_expire_time"])
    if row["expire_time"] is not None:
        identity.expire_time.FromDatetime(row["expire_time"])
    return identity


def user_restriction_of(row: Row) -> auth_pb2.UserRestriction:
    """A person's roles as they are since they changed, from a row of `users`."""
    restriction = auth_pb2.UserRestriction(user_id=row["user_id"], roles=row["roles"])
    if row["roles_change_time"] is not None:
        restriction.change_time.FromDatetime(row["roles_change_time"])
    if row["suspend_time"] is not None:
        restriction.suspend_time.FromDatetime(row["suspend_time"])
    return restriction


def gone_user_of(row: Row) -> auth_pb2.UserRestriction:
    """A person who is gone, from a row of `deleted_users`."""
    restriction = auth_pb2.UserRestriction(user_id=row["user_id"], deleted=True)
    restriction.change_time.FromDatetime(row["delete_time"])
    return restriction


def session_restriction_of(row: Row) -> auth_pb2.SessionRestriction:
    """An ended session, until its last access token has ended everywhere, from a row of `sessions`."""
    restriction = auth_pb2.SessionRestriction(session_id=row["session_id"])
    restriction.forget_time.FromDatetime(row["access_expire_time"] + timedelta(seconds=RESTRICTION_MARGIN_S))
    return restriction


# People


async def add_user(
    conn: Connection,
    outbox: Outbox,
    *,
    email: str,
    display_name: str,
    password_hash: str | None,
    roles: Sequence[int],
    verified: bool = False,
) -> Row | None:
    """Makes a person with an organisation of their own; their row. None if the email is taken: roll back then.

    password_hash: None: they log in elsewhere; verified: whether the email is known to be theirs.
    """
    row = await conn.fetchrow(
        SQL["insert_user"], uuid7(), uuid7(), email, display_name, password_hash, sorted(roles), verified
    )
    if row is None:
        return None
    user = user_of(row)
    registered = events_pb2.UserRegistered(user=user)
    await outbox.append(conn, [NewEvent(user.org_id, user.user_id, _FIRST_VERSION, registered)])
    return row


async def change_roles(conn: Connection, outbox: Outbox, user_id: str, roles: Sequence[int]) -> Row:
    """Replaces a person's roles; the row as it then is."""
    return await _restricted(conn, outbox, await conn.fetchrow(SQL["set_roles"], user_id, roles))


async def suspend(conn: Connection, outbox: Outbox, user_id: str, until: datetime | None, reason: str) -> Row:
    """Suspends a person until a time, or no more (None); the row as it then is."""
    return await _restricted(conn, outbox, await conn.fetchrow(SQL["set_suspension"], user_id, until, reason))


async def _restricted(conn: Connection, outbox: Outbox, row: Row | None) -> Row:
    assert row is not None, "the caller holds the lock of the row"
    told = user_restriction_of(row)
    changed = events_pb2.UserRolesChanged(user_id=row["user_id"], roles=row["roles"], change_time=told.change_time)
    if told.HasField("suspend_time"):
        changed.suspend_time.CopyFrom(told.suspend_time)
    await outbox.append(conn, [NewEvent(row["org_id"], row["user_id"], row["version"], changed)])
    return row


def suspended(user: Row) -> bool:
    """Whether a person is suspended. user: a row of `users`, with the `moment` of its reading if it matters."""
    until: datetime | None = user["suspend_time"]
    return until is not None and until > (user.get("moment") or datetime.now(UTC))


def refuse_suspended(user: Row) -> None:
    """Raises SUSPENDED for a person who is. Only what they have proved to be theirs may be answered so."""
    if suspended(user):
        raise tokens.suspended(user["suspend_time"].timestamp())


# Sessions


async def add_session(
    conn: Connection,
    user: Row,
    *,
    session_id: str,
    refresh_digest: bytes,
    now: datetime,
    access_expire_time: datetime,
    refresh_expire_time: datetime,
    methods: Sequence[str],
    origin: Origin,
) -> None:
    """Opens a session of a person."""
    await conn.execute(
        SQL["insert_session"],
        *(session_id, user["org_id"], user["user_id"], refresh_digest),
        *(access_expire_time, refresh_expire_time, now, list(methods), origin.device, origin.network),
    )


async def end_session(conn: Connection, outbox: Outbox, session_id: str) -> bool:
    """Ends a session; whether it was still open."""
    return await _ended(conn, outbox, await conn.fetch(SQL["end_session"], session_id)) > 0


async def end_sessions_of(conn: Connection, outbox: Outbox, user_id: str, *, spared: str | None = None) -> int:
    """Ends all sessions of a person, but one that is spared; how many there were."""
    return await _ended(conn, outbox, await conn.fetch(SQL["end_sessions_of_user"], user_id, spared))


async def end_sessions_by(conn: Connection, outbox: Outbox, user_id: str, method: str, *, spared: str) -> list[str]:
    """Ends the sessions of a person (locked) that were opened by a way to log in, but one that is spared; their ids."""
    rows = await conn.fetch(SQL["end_sessions_by"], user_id, method, spared)
    await _ended(conn, outbox, rows)
    return [row["session_id"] for row in rows]


async def end_unused_sessions(
    conn: Connection, outbox: Outbox, user_id: str, *, kept: int, spared: str, lifetime_s: int
) -> list[str]:
    """Ends the open sessions of a person (locked) beyond `kept`, the least recently used ones, but one that is spared;
    their ids. lifetime_s: after which a session is over anyway."""
    rows = await conn.fetch(SQL["end_unused_sessions"], user_id, kept, spared, float(lifetime_s))
    await _ended(conn, outbox, rows)
    return [row["session_id"] for row in rows]


async def end_sessions_of_org(conn: Connection, outbox: Outbox, org_id: str, user_id: str | None) -> int:
    """Ends the sessions that act for an organisation, of one person or of all; how many there were."""
    return await _ended(conn, outbox, await conn.fetch(SQL["end_sessions_of_org"], org_id, user_id))


async def _ended(conn: Connection, outbox: Outbox, rows: Sequence[Row]) -> int:
    events = []
    for row in rows:
        restriction = session_restriction_of(row)
        ended = events_pb2.SessionEnded(session_id=restriction.session_id, forget_time=restriction.forget_time)
        events.append(NewEvent(row["org_id"], row["session_id"], _ENDED_VERSION, ended))
    await outbox.append(conn, events)
    return len(events)


# API keys


async def tell_of_key(
    conn: Connection, outbox: Outbox, row: Row, who: Mapping[str, Any] | Row, plan: str, ended: Sequence[bytes] = ()
) -> None:
    """Tells that a key was made, rotated or revoked.

    who: `display_name` and `roles` of its person or service account; plan: of its organisation, as `held_plan` answered
    before the key was written; ended: digests that are good no more.
    """
    identity = key_identity_of(row, who["display_name"], who["roles"], plan)
    identity.ended_digests.extend(ended)
    changed = events_pb2.ApiKeyChanged(identity=identity)
    await outbox.append(conn, [NewEvent(row["org_id"], row["api_key_id"], row["version"], changed)])


async def revoke_keys_of_org(
    conn: Connection,
    outbox: Outbox,
    org_id: str,
    *,
    user_id: str | None = None,
    service_account_id: str | None = None,
) -> int:
    """Revokes the keys that act for an organisation: of a person, of a service account, or all; how many there were."""
    return await _revoked(
        conn, outbox, await conn.fetch(SQL["revoke_keys_of_org"], org_id, user_id, service_account_id)
    )


async def revoke_account_keys(conn: Connection, outbox: Outbox, org_id: str) -> int:
    """Revokes the keys of all service accounts of a locked organisation; how many there were."""
    return await _revoked(conn, outbox, await conn.fetch(SQL["revoke_account_keys"], org_id))


async def _revoked(conn: Connection, outbox: Outbox, rows: Sequence[Row]) -> int:
    events = []
    for row in rows:
        changed = events_pb2.ApiKeyChanged(identity=key_identity_of(row, row["user_name"], row["roles"], ""))
        events.append(NewEvent(row["org_id"], row["api_key_id"], row["version"], changed))
    await outbox.append(conn, events)
    return len(events)


# Plans


async def held_plan(conn: Connection, org_id: str) -> str:
    """An organisation's plan, which stays until the transaction ends; "": the default one."""
    plan: str | None = await conn.fetchval(SQL["share_plan"], org_id)
    return plan or ""


async def held_session_plan(conn: Connection, session_id: str) -> str:
    """The same, of the organisation that a session acts for. Its person is locked or shared, the session not yet."""
    plan: str | None = await conn.fetchval(SQL["share_session_plan"], session_id)
    return plan or ""


async def add_plans(conn: Connection, users: Sequence[auth_pb2.User]) -> None:
    """Says of people which plan the organisations of their own have."""
    plans = {row["org_id"]: row["plan"] for row in await conn.fetch(SQL["plans_of"], [one.org_id for one in users])}
    for user in users:
        user.plan = plans.get(user.org_id, "")


def org_restriction_of(row: Row) -> auth_pb2.OrgRestriction:
    """An organisation's plan, and the suspension of its owners, since they changed, from a row of `organisations`."""
    restriction = auth_pb2.OrgRestriction(org_id=row["org_id"], plan=row["plan"])
    restriction.change_time.FromDatetime(row["plan_change_time"])
    if row["suspend_time"] is not None:
        restriction.suspend_time.FromDatetime(row["suspend_time"])
    return restriction


async def tell_of_org(conn: Connection, outbox: Outbox, row: Row) -> None:
    """Tells every service what org_restriction_of says. row: after the change, with its `version`."""
    told = org_restriction_of(row)
    changed = events_pb2.OrganisationPlanChanged(org_id=told.org_id, plan=told.plan, change_time=told.change_time)
    if told.HasField("suspend_time"):
        changed.suspend_time.CopyFrom(told.suspend_time)
    await outbox.append(conn, [NewEvent(told.org_id, told.org_id, row["version"], changed)])


async def revoke_keys_of(conn: Connection, outbox: Outbox, user: Row) -> int:
    """Revokes all API keys of a person, a row of `users`; how many were in force."""
    plans = {row["org_id"]: row["plan"] for row in await conn.fetch(SQL["share_key_plans"], user["user_id"])}
    rows = await conn.fetch(SQL["revoke_api_keys"], user["user_id"])
    for row in rows:
        await tell_of_key(conn, outbox, row, user, plans.get(row["org_id"], ""))
    return len(rows)


# Signing keys


async def signing_keys(conn: Connection) -> auth_pb2.JsonWebKeySet:
    """The keys that tokens are verified with."""
    rows = await conn.fetch(SQL["signing_keys"])
    return auth_pb2.JsonWebKeySet(keys=[jwk_of(row["x"], row["y"]) for row in rows])


async def tell_of_signing_keys(conn: Connection, outbox: Outbox, kid: str) -> None:
    """Tells that a key came into force or went."""
    changed = events_pb2.SigningKeysChanged(jwks=await signing_keys(conn))
    await outbox.append(conn, [NewEvent("", kid, _FIRST_VERSION, changed)])

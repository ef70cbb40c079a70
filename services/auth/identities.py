"""WatchIdentities and ResolveApiKey: what other services, and this one, need to check callers by themselves.

The feed's version is the position in this service's log of events. The whole state is read as of one moment together
with the position that it reflects, so that the events after it are all that can have been missed. An event that
concerns no identity takes its version with an empty message, since followers take a gap for a loss.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass

from promptmesh.auth.v1 import auth_pb2, events_pb2
from promptmesh.auth.v1.auth_pb2 import WatchIdentitiesResponse

from services.auth import store, workload_accounts
from services.auth.api_keys import ApiKeys
from services.auth.store import RESTRICTION_MARGIN_S, SQL
from services.mesh.access import keys
from services.mesh.database import Database
from services.mesh.errors import MeshError
from services.mesh.events import Event, Tail


@dataclass(frozen=True, slots=True)
class FeedOptions:
    """How the feed behaves, in seconds. access_lifetime_s: of access tokens, for which restrictions are told."""

    access_lifetime_s: int
    grace_s: int
    heartbeat_s: float


class IdentityFeed:
    """The source of identities, for this process (`Mesh.local_identities`) and for others."""

    def __init__(self, database: Database, tail: Tail, api_keys: ApiKeys, options: FeedOptions) -> None:
        self._database, self._tail, self._api_keys, self._options = database, tail, api_keys, options

    async def resolve(self, digest: bytes) -> auth_pb2.KeyIdentity:
        """The identity behind an API key's digest, or a workload's. API_KEY_NOT_FOUND, DEPENDENCY_UNAVAILABLE."""
        account_id = keys.account_of(digest)
        if account_id is None:
            return await self._api_keys.resolve(digest)
        async with self._database.connection() as conn:
            row = await conn.fetchrow(SQL["resolve_service_account"], account_id)
        if row is None:
            raise MeshError("API_KEY_NOT_FOUND", "There is no such service account.")
        return workload_accounts.identity_of(row, row["plan"])

    async def report_uses(self, api_key_ids: Sequence[str]) -> None:
        """Keys were used just now."""
        await self._api_keys.used(api_key_ids)

    async def watch(self, after_version: int) -> AsyncGenerator[WatchIdentitiesResponse, None]:
        """What came after a version and then every change, without end; the whole state first if the version is 0 or
        not known any more. A heartbeat, of silence, says that PostgreSQL answers and nothing happened.

        Raises WATCHER_TOO_SLOW, DEPENDENCY_UNAVAILABLE, WATCH_LIMIT: the watcher comes again with its version.
        """
        if after_version > 0:
            with suppress(StateNeeded):
                async with aclosing(self._changes(after_version, {})) as messages:
                    async for message in messages:
                        yield message
        while True:
            state = await self._state()
            yield state
            newest = {one.user_id: one.change_time.ToNanoseconds() for one in state.state.users}
            newest |= {one.org_id: one.change_time.ToNanoseconds() for one in state.state.orgs}
            with suppress(StateNeeded):
                async with aclosing(self._changes(state.version, newest)) as messages:
                    async for message in messages:
                        yield message

    async def _state(self) -> WatchIdentitiesResponse:
        """Everything as of one moment."""
        restricted_s = self._options.access_lifetime_s + RESTRICTION_MARGIN_S
        async with self._database.transaction() as conn:
            await conn.execute(SQL["snapshot"])
            version = await conn.fetchval(SQL["identity_version"])
            jwks = await store.signing_keys(conn)
            users = await conn.fetch(SQL["changed_users"], restricted_s)
            orgs = await conn.fetch(SQL["changed_plans"], restricted_s)
            gone = await conn.fetch(SQL["gone_users"], restricted_s)
            sessions = await conn.fetch(SQL["ended_sessions"], RESTRICTION_MARGIN_S)
        state = auth_pb2.IdentityState(
            jwks=jwks,
            users=[*(store.user_restriction_of(row) for row in users), *(store.gone_user_of(row) for row in gone)],
            sessions=[store.session_restriction_of(row) for row in sessions],
            grace_seconds=self._options.grace_s,
            orgs=[store.org_restriction_of(row) for row in orgs],
        )
        return WatchIdentitiesResponse(version=version, state=state)

    async def _changes(self, version: int, newest: Mapping[str, int]) -> AsyncGenerator[WatchIdentitiesResponse, None]:
        """Messages after a version. newest: when roles and plans changed as far as the watcher knows (epoch ns), since
        a state may be ahead of the log's numbering, and must not be undone by the changes that led to it.

        Raises StateNeeded where changes do not tell enough.
        """
        try:
            async with self._tail.subscribe(version) as log, aclosing(self._or_silence(log)) as events:
                async for event in events:
                    if event is None:
                        yield WatchIdentitiesResponse(version=version, heartbeat=auth_pb2.FeedHeartbeat())
                    else:
                        version += 1
                        yield message_of(event, version, newest)
        except MeshError as error:
            if error.reason != "CURSOR_EXPIRED":
                raise
            raise StateNeeded from None

    async def _or_silence(self, events: AsyncIterator[Event]) -> AsyncGenerator[Event | None, None]:
        """Events as they come; None for each silence in which PostgreSQL answered."""
        waiting: asyncio.Future[Event] | None = None
        try:
            while True:
                waiting = waiting or asyncio.ensure_future(anext(events))
                done, _ = await asyncio.wait([waiting], timeout=self._options.heartbeat_s)
                if done:
                    event, waiting = waiting.result(), None
                    yield event
                else:
                    # Alive means: had anything changed, it would have been told. Raises if that cannot be said.
                    async with self._database.connection() as conn:
                        await conn.fetchval(SQL["identity_version"])
                    yield None
        finally:
            if waiting is not None:
                waiting.cancel()
                await asyncio.wait([waiting])
                if not waiting.cancelled():
                    waiting.exception()  # seen


class StateNeeded(Exception):  # noqa: N818 - it is no error
    """The watcher has to have the whole state."""


def message_of(event: Event, version: int, newest: Mapping[str, int]) -> WatchIdentitiesResponse:
    """The message of an event, which has to be the one of this version. Raises StateNeeded."""
    payload = event.payload
    if event.position != version or isinstance(payload, events_pb2.SigningKeysChanged):
        # A gap is an event that this release does not know, as while another one is being rolled out.
        raise StateNeeded
    message = WatchIdentitiesResponse(version=version)
    if isinstance(payload, events_pb2.UserRolesChanged):
        if payload.change_time.ToNanoseconds() >= newest.get(payload.user_id, 0):
            message.user_changed.user_id = payload.user_id
            message.user_changed.roles.extend(payload.roles)
            message.user_changed.change_time.CopyFrom(payload.change_time)
            if payload.HasField("suspend_time"):
                message.user_changed.suspend_time.CopyFrom(payload.suspend_time)
    elif isinstance(payload, events_pb2.OrganisationPlanChanged):
        if payload.change_time.ToNanoseconds() >= newest.get(payload.org_id, 0):
            message.org_changed.org_id = payload.org_id
            message.org_changed.plan = payload.plan
            message.org_changed.change_time.CopyFrom(payload.change_time)
            if payload.HasField("suspend_time"):
                message.org_changed.suspend_time.CopyFrom(payload.suspend_time)
    elif isinstance(payload, events_pb2.UserDeleted):
        message.user_changed.user_id = payload.user_id
        message.user_changed.change_time.CopyFrom(payload.delete_time)
        message.user_changed.deleted = True
    elif isinstance(payload, events_pb2.SessionEnded):
        message.session_ended.session_id = payload.session_id
        message.session_ended.forget_time.CopyFrom(payload.forget_time)
    elif isinstance(payload, events_pb2.ApiKeyChanged):
        message.key_changed.CopyFrom(payload.identity)
    return message

"""What this process knows of identities: keys to verify tokens with, restrictions in force, API keys seen so far.

Fed by auth's WatchIdentities, and by ResolveApiKey for API keys that are not known yet.
"""

from __future__ import annotations

import asyncio
import contextvars
import math
from collections.abc import AsyncIterable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_network
from typing import Protocol

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from promptmesh.access.v1.access_pb2 import Role
from promptmesh.auth.v1.auth_pb2 import (
    IdentityState,
    KeyIdentity,
    OrgRestriction,
    SessionRestriction,
    UserRestriction,
    WatchIdentitiesResponse,
)

from services.mesh.access.scopes import scopes_of
from services.mesh.access.tokens import public_keys
from services.mesh.call import Caller, CallerKind
from services.mesh.ids import SYSTEM_CLOCK, Clock
from services.mesh.lru import Lru
from services.mesh.snapshots import ResyncError

GRACE_S = 3600.0  # until auth says another
KEYS_KNOWN_MAX = 100_000
ACCOUNT_ROLES = frozenset({int(Role.ROLE_SERVICE)})  # of service accounts, and of nobody else
FORGET_EVERY = 256  # messages between two looks for restrictions that can be forgotten


class IdentitySource(Protocol):
    """Where identities come from: auth over gRPC, or, in auth itself, its own store."""

    def watch(self, after_version: int) -> AsyncIterable[WatchIdentitiesResponse]:
        """The feed of WatchIdentities."""

    async def resolve(self, digest: bytes) -> KeyIdentity:
        """As ResolveApiKey. Raises MeshError API_KEY_NOT_FOUND, or any error that says that it cannot be known now."""

    async def report_uses(self, api_key_ids: Sequence[str]) -> None:
        """As ReportKeyUses. Raises any error: it is told again later."""


@dataclass(frozen=True, slots=True)
class KnownKey:
    """An API key as it was last heard of."""

    caller: Caller
    revoked: bool
    epoch: int  # of the feed's whole states: a key of an older one has to be asked for again


@dataclass(frozen=True, slots=True)
class PresentUser:
    """A person as they are, against what their tokens say. Times are seconds since the epoch."""

    change_time: float
    roles: frozenset[int]
    suspend_time: float | None = None  # until when every credential is refused; infinite: the person is gone


class Identities:
    """The snapshot. `apply` is called by the Follower with each message."""

    def __init__(self, *, keys_max: int = KEYS_KNOWN_MAX, clock: Clock = SYSTEM_CLOCK) -> None:
        self.version = 0
        self.epoch = 0
        self.grace_s = GRACE_S
        self.jwks: dict[str, EllipticCurvePublicKey] = {}
        self._users: dict[str, PresentUser] = {}
        self._orgs: dict[str, tuple[float, str]] = {}  # organisation → time of the change, plan
        # Organisations whose every owner is suspended → until when, as their service accounts are with them.
        self._suspended_orgs: dict[str, float] = {}
        self._sessions: dict[str, float] = {}  # ended session → when to forget it
        self._keys: Lru[bytes, KnownKey] = Lru(keys_max)
        self._clock = clock
        self._messages = 0
        # Of a session, a person, an organisation's service accounts, a digest of an API key.
        self._ends: dict[str | bytes, set[Callable[[], None]]] = {}
        # Keys whose end somebody wants to be told: digest → caller, epoch in which auth last told of it.
        self._watched_keys: dict[bytes, tuple[Caller, int]] = {}

    # The feed

    def apply(self, message: WatchIdentitiesResponse) -> int:
        """Applies one message and returns the version then reached. Raises ResyncError after a gap."""
        kind = message.WhichOneof("event")
        if kind == "state":
            self._replace(message.state)
        elif kind == "heartbeat":
            if message.version != self.version:
                raise ResyncError(f"heartbeat of version {message.version}, known is {self.version}")
        else:
            if message.version > self.version + 1 or self.epoch == 0:
                raise ResyncError(f"change to version {message.version}, known is {self.version}")
            self._change(kind, message)
        self.version = max(self.version, message.version) if kind != "state" else message.version
        self._messages += 1
        if self._messages % FORGET_EVERY == 0:
            self._forget()
        return self.version

    def _change(self, kind: str | None, message: WatchIdentitiesResponse) -> None:
        # A change that was seen before (a feed may begin a little early) changes nothing when applied again.
        if kind == "key_changed":
            self._key_changed(message.key_changed)
        elif kind == "user_changed":
            self._user_changed(message.user_changed)
        elif kind == "session_ended":
            self._session_ended(message.session_ended)
        elif kind == "org_changed":
            self._org_changed(message.org_changed)

    def _replace(self, state: IdentityState) -> None:
        self.epoch += 1
        self.jwks = public_keys(state.jwks.keys)
        self.grace_s = float(state.grace_seconds) or GRACE_S
        known_users, known_sessions, known_orgs = self._users, self._sessions, self._suspended_orgs
        self._users = {one.user_id: _present(one) for one in state.users}
        self._orgs = {one.org_id: _plan_of(one) for one in state.orgs}
        suspended = {one.org_id: _suspended_of(one) for one in state.orgs}
        self._suspended_orgs = {org_id: until for org_id, until in suspended.items() if until is not None}
        self._sessions = {one.session_id: one.forget_time.ToNanoseconds() / 1e9 for one in state.sessions}
        self._end(session for session in self._sessions if session not in known_sessions)
        self._end(user for user, present in self._users.items() if known_users.get(user) != present)
        self._end(org_id for org_id in self._suspended_orgs if org_id not in known_orgs)

    def _key_changed(self, identity: KeyIdentity) -> None:
        # Learned even if it was not known: an answer to a question asked before the change may still be under way.
        self.learn(identity)
        # That a key was made is told too, perhaps while its first call is under way already: nothing ends by that.
        for digest in (identity.digest, identity.previous_digest, *identity.ended_digests):
            watched = self._watched_keys.get(digest)
            if watched is not None and self.ended(watched[0]):
                self._end([digest])

    def _user_changed(self, restriction: UserRestriction) -> None:
        self._users[restriction.user_id] = _present(restriction)
        self._end([restriction.user_id])

    def _org_changed(self, restriction: OrgRestriction) -> None:
        self._orgs[restriction.org_id] = _plan_of(restriction)
        until = _suspended_of(restriction)
        if until is None:
            self._suspended_orgs.pop(restriction.org_id, None)
        else:
            self._suspended_orgs[restriction.org_id] = until
            self._end([restriction.org_id])

    def _session_ended(self, restriction: SessionRestriction) -> None:
        self._sessions[restriction.session_id] = restriction.forget_time.ToNanoseconds() / 1e9
        self._end([restriction.session_id])

    def _forget(self) -> None:
        now = self._clock.time()
        for session in [session for session, forget_time in self._sessions.items() if forget_time < now]:
            del self._sessions[session]

    # Questions

    def session_ended(self, session_id: str) -> bool:
        """Whether the session has ended though its tokens may still run."""
        return session_id in self._sessions

    def suspended_until(self, caller: Caller) -> float | None:
        """Until when credentials of a person, or of a service account, are refused, in seconds since the epoch; None:
        they are not."""
        present = self._users.get(caller.user_id)
        if present is not None:
            return present.suspend_time
        if self._suspended_orgs and caller.roles == ACCOUNT_ROLES:
            return self._suspended_orgs.get(caller.org_id)
        return None

    def with_present_roles(self, caller: Caller) -> Caller:
        """The caller with the roles and the plan of now, if they changed since the token was made."""
        org = self._orgs.get(caller.org_id)
        if org is not None and caller.issue_time <= org[0] and caller.plan != org[1]:
            caller = replace(caller, plan=org[1])
        present = self._users.get(caller.user_id)
        if present is None or caller.issue_time > present.change_time:
            return caller
        return replace(caller, roles=present.roles, scopes=scopes_of(present.roles))

    def ended(self, caller: Caller) -> bool:
        """Whether what a caller was let in with is over by now: session ended, key revoked, or other roles."""
        if caller.key_digest:
            known = self.key(caller.key_digest)
            until = self.suspended_until(caller)
            if until is not None and until > self._clock.time():
                return True
            if known is None or known.caller is caller:
                return known is not None and known.revoked
            return known.revoked or _stands_for(known.caller) != _stands_for(caller)
        if caller.session_id and caller.session_id in self._sessions:
            return True
        present = self._users.get(caller.user_id)
        if present is None:
            return False
        if present.suspend_time is not None and present.suspend_time > self._clock.time():
            return True
        return caller.issue_time <= present.change_time and present.roles != caller.roles

    def key(self, digest: bytes) -> KnownKey | None:
        """The key with this digest, if it was heard of. Its roles and its plan are those of now."""
        known = self._keys.get(digest)
        if known is None:
            return None
        caller = known.caller
        org = self._orgs.get(caller.org_id)
        if org is not None and caller.plan != org[1]:
            caller = replace(caller, plan=org[1])
        present = self._users.get(caller.user_id)
        if present is not None and present.roles != caller.roles:
            caller = _key_caller_with(caller, present.roles)
        return known if caller is known.caller else replace(known, caller=caller)

    def learn(self, identity: KeyIdentity, epoch: int | None = None) -> KnownKey:
        """Remembers a key that auth told of, under each of its secrets' digests; the one of the present secret.

        What was heard before is not undone, for an answer may be older than the feed: revoked stays revoked, and no
        secret's end moves later. epoch: when auth was asked, the present one if not given: an answer from before a gap
        is not good after it.
        """
        roles = frozenset(int(role) for role in identity.roles)
        caller = Caller(
            CallerKind.API_KEY,
            user_id=identity.user_id,
            org_id=identity.org_id,
            display_name=identity.display_name,
            roles=roles,
            scopes=frozenset(identity.scopes) & scopes_of(roles),
            api_key_id=identity.api_key_id,
            expire_time=identity.expire_time.ToNanoseconds() / 1e9 if identity.HasField("expire_time") else None,
            plan=identity.plan,
            models=frozenset(identity.models),
            networks=tuple(ip_network(one) for one in identity.allowed_networks),
            key_digest=identity.digest,
        )
        epoch = self.epoch if epoch is None else epoch
        if identity.previous_digest:
            end = identity.previous_expire_time.ToNanoseconds() / 1e9
            end = end if caller.expire_time is None else min(end, caller.expire_time)
            previous = replace(caller, key_digest=identity.previous_digest, expire_time=end)
            self._remember(previous, identity.revoked, epoch)
        for digest in identity.ended_digests:
            self._remember(replace(caller, key_digest=digest), True, epoch)
        return self._remember(caller, identity.revoked, epoch)

    def _remember(self, caller: Caller, revoked: bool, epoch: int) -> KnownKey:
        before = self._keys.get(caller.key_digest)
        if before is not None:
            revoked = revoked or before.revoked
            end = before.caller.expire_time
            if end is not None and (caller.expire_time is None or end < caller.expire_time):
                caller = replace(caller, expire_time=end)
        known = KnownKey(caller, revoked, epoch)
        self._keys.put(caller.key_digest, known)
        watched = self._watched_keys.get(caller.key_digest)
        if watched is not None:
            self._watched_keys[caller.key_digest] = watched[0], epoch
        return known

    def forget_key(self, digest: bytes) -> None:
        """Auth says that there is no such key."""
        self._keys.drop(digest)

    # Ends

    def on_end(self, caller: Caller, told: Callable[[], None]) -> Callable[[], None]:
        """Calls `told` when the caller's session, key or roles change, or they are suspended. Returns what takes that
        back."""
        ends = self._ends
        org_id = caller.org_id if caller.roles == ACCOUNT_ROLES else ""
        subjects = [one for one in (caller.session_id, caller.key_digest, caller.user_id, org_id) if one]
        for subject in subjects:
            listeners = ends.get(subject)
            if listeners is None:
                ends[subject] = {told}
            else:
                listeners.add(told)
        if caller.key_digest:
            self._watch_key(caller)

        def take_back() -> None:
            for subject in subjects:
                listeners = ends.get(subject)
                if listeners is not None:
                    listeners.discard(told)
                    if not listeners:
                        del ends[subject]
                        if isinstance(subject, bytes):
                            self._watched_keys.pop(subject, None)

        return take_back

    def _watch_key(self, caller: Caller) -> None:
        known = self._keys.get(caller.key_digest)
        watched = self._watched_keys.get(caller.key_digest)
        epochs = known.epoch if known is not None else 0, watched[1] if watched is not None else 0
        self._watched_keys[caller.key_digest] = caller, max(epochs)

    def stale(self, caller: Caller) -> bool:
        """Whether the caller came by a key that is watched and was last told of before the last whole state, which says
        nothing of keys: whether it was revoked meanwhile has to be asked."""
        watched = self._watched_keys.get(caller.key_digest) if caller.key_digest else None
        return watched is not None and watched[1] != self.epoch

    def stale_callers(self) -> list[Caller]:
        """All such callers."""
        return [caller for caller, epoch in self._watched_keys.values() if epoch != self.epoch]

    def end_key(self, caller: Caller) -> None:
        """Tells whoever watches a key that it has ended."""
        self._watched_keys.pop(caller.key_digest, None)
        self._end([caller.key_digest])

    def end_secret(self, digest: bytes) -> None:
        """A secret of a key is good no more: tells whoever watches it."""
        self._end([digest])

    def _end(self, subjects: Iterable[str | bytes]) -> None:
        for subject in subjects:
            for told in list(self._ends.get(subject, ())):
                told()


def _stands_for(caller: Caller) -> tuple[object, ...]:
    # Not its end: that comes earlier for the secret before a rotation, and is told when it comes.
    return caller.org_id, caller.roles, caller.scopes, caller.networks, caller.models


def _key_caller_with(caller: Caller, roles: frozenset[int]) -> Caller:
    return replace(caller, roles=roles, scopes=caller.scopes & scopes_of(roles))


def _present(restriction: UserRestriction) -> PresentUser:
    suspend_time: float | None = None
    if restriction.deleted:
        suspend_time = math.inf
    elif restriction.HasField("suspend_time"):
        suspend_time = restriction.suspend_time.ToNanoseconds() / 1e9
    roles = frozenset(int(role) for role in restriction.roles)
    return PresentUser(restriction.change_time.ToNanoseconds() / 1e9, roles, suspend_time)


def _suspended_of(restriction: OrgRestriction) -> float | None:
    return restriction.suspend_time.ToNanoseconds() / 1e9 if restriction.HasField("suspend_time") else None


def _plan_of(restriction: OrgRestriction) -> tuple[float, str]:
    return restriction.change_time.ToNanoseconds() / 1e9, restriction.plan


Flights = dict[tuple[int, bytes], asyncio.Task[KeyIdentity]]  # by epoch and digest


async def resolved_once(flights: Flights, epoch: int, digest: bytes, source: IdentitySource) -> KeyIdentity:
    """Asks the source for a key, joining a question of this epoch: a caller that leaves does not end it."""
    flight = flights.get((epoch, digest))
    if flight is None:
        flight = flights[epoch, digest] = asyncio.create_task(
            source.resolve(digest),
            name="resolve API key",
            context=contextvars.Context(),  # its deadline is nobody's who asks
        )
        flight.add_done_callback(lambda done: _landed(flights, (epoch, digest), done))
    return await asyncio.shield(flight)


def _landed(flights: Flights, key: tuple[int, bytes], done: asyncio.Task[KeyIdentity]) -> None:
    flights.pop(key, None)
    if not done.cancelled():
        done.exception()  # seen, even if every caller left

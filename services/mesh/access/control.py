"""From a call's metadata and its method's policy to a Caller, or to the error that says what to do."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Mapping

import grpc
from promptmesh.auth.v1.auth_pb2 import KeyIdentity, WatchIdentitiesResponse

from services.mesh.access import keys, service_tokens, tokens
from services.mesh.access.identities import Flights, Identities, IdentitySource, KnownKey, resolved_once
from services.mesh.access.key_uses import KeyUses
from services.mesh.access.policies import Policy
from services.mesh.access.rules import check_fresh, check_policy
from services.mesh.access.service_tokens import ServiceTokens
from services.mesh.access.tokens import UnknownKeyIdError, VerifiedToken
from services.mesh.backoff import Backoff
from services.mesh.call import ANONYMOUS, Caller, CallerKind
from services.mesh.errors import MeshError
from services.mesh.ids import SYSTEM_CLOCK, Clock
from services.mesh.lru import Lru
from services.mesh.snapshots import Follower
from services.mesh.telemetry.metrics import CREDENTIALS

AUTHORIZATION = "authorization"
API_KEY = "x-api-key"
_BEARER = "bearer "
TOKENS_KNOWN_MAX = 50_000
KEYS_UNKNOWN_MAX = 10_000
KEY_UNKNOWN_TTL_S = 5.0
STEP_UP_S = 600.0  # how old a session's proof may be where a method asks for a step-up
# Longest sleep that the event loop takes in one piece; a credential that ends later is looked at again.
_TIMER_S_MAX = 86_400.0
# Keys that auth is asked about at a time after a gap.
_ASK_AT_ONCE = 16


class AccessControl:
    """Who calls, and whether they may. One a process.

    While auth is away, what is known stays good for the grace time that auth stated; what is not known is answered
    with UNAVAILABLE, never with UNAUTHENTICATED: the credential may well be right.
    """

    def __init__(
        self,
        source: IdentitySource,
        service_tokens: ServiceTokens,
        key_pepper: bytes,
        *,
        identities: Identities | None = None,
        tokens_max: int = TOKENS_KNOWN_MAX,
        key_unknown_ttl_s: float = KEY_UNKNOWN_TTL_S,
        step_up_s: float = STEP_UP_S,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self.identities = identities or Identities(clock=clock)
        self.follower: Follower[WatchIdentitiesResponse] = Follower(
            "identities", source.watch, self._apply, clock=clock
        )
        self._source, self._service_tokens, self._pepper = source, service_tokens, key_pepper
        self._clock = clock
        self._tokens: Lru[bytes, VerifiedToken] = Lru(tokens_max)
        self._unknown_keys: Lru[bytes, float] = Lru(KEYS_UNKNOWN_MAX)  # digest → until when (monotonic)
        self._unknown_ttl_s, self._step_up_s = key_unknown_ttl_s, step_up_s
        self.key_uses = KeyUses()
        self._flights: Flights = {}
        self._asking: asyncio.Task[None] | None = None

    @property
    def ready(self) -> asyncio.Event:
        """Set once auth has told who is who."""
        return self.follower.ready

    async def authorize(
        self, policy: Policy, metadata: Mapping[str, str | bytes], workload: Caller | None = None
    ) -> Caller:
        """The caller, who may make the call. Raises MeshError.

        metadata: of the call, names in lower case; workload: whose certificate the connection showed: a credential
        comes before it.
        """
        credential = credential_of(metadata)
        if credential is None:
            caller = ANONYMOUS
            if workload is not None:
                caller = workload if workload.kind is CallerKind.SERVICE else await self._account_caller(workload)
            check_policy(policy, caller)
            return caller
        caller = await self.caller_of(credential)
        check_policy(policy, caller)
        if policy.step_up:
            check_fresh(policy, caller, self._clock.time(), self._step_up_s)
        return caller

    async def caller_of(self, credential: str) -> Caller:
        """The caller behind a credential: access token, mesh token or API key. Raises MeshError."""
        if keys.looks_like_key(credential):
            return await self._key_caller(credential)
        digest = tokens.token_hash(credential)
        known = self._tokens.get(digest)
        if known is None:
            known = self._verify(credential)
            self._tokens.put(digest, known)
        return self._still_good(known)

    # Tokens

    def _verify(self, token: str) -> VerifiedToken:
        kind = tokens.token_type(token)
        if kind == service_tokens.TYPE:
            return VerifiedToken(self._service_tokens.verify(token))
        if kind != tokens.TYPE:
            raise _refused("session", tokens.invalid("The credential is neither an access token nor an API key."))
        try:
            verified = tokens.verify_access_token(token, self.identities.jwks)
        except UnknownKeyIdError:
            raise self._signed_by_nobody() from None
        except MeshError as error:
            raise _refused("session", error) from None
        CREDENTIALS.labels("session", "verified").inc()
        return verified

    def _still_good(self, known: VerifiedToken) -> Caller:
        caller = known.caller
        if caller.expire_time is not None and caller.expire_time + tokens.LEEWAY_S <= self._clock.time():
            raise _refused(caller.kind.value, tokens.expired())
        if caller.kind is CallerKind.SERVICE:
            return caller
        if self._grace_over():
            raise _refused("session", tokens.unverifiable())
        if known.key_id not in self.identities.jwks:
            raise self._signed_by_nobody()  # an operator took the key away
        if self.identities.session_ended(caller.session_id):
            raise _refused("session", tokens.revoked())
        return self._unsuspended(self.identities.with_present_roles(caller))

    def _unsuspended(self, caller: Caller) -> Caller:
        until = self.identities.suspended_until(caller)
        if until is not None and until > self._clock.time():
            raise _refused(caller.kind.value, tokens.suspended(until))
        return caller

    def _signed_by_nobody(self) -> MeshError:
        # A key may be newer than what we know of, but not while auth keeps us up to date.
        if self.follower.connected:
            return _refused("session", tokens.invalid("The access token is signed with no key of this mesh."))
        return _refused("session", tokens.unverifiable())

    def _grace_over(self) -> bool:
        silent_s = self.follower.silent_s()
        return silent_s is None or silent_s > self.identities.grace_s

    # API keys

    async def _key_caller(self, secret: str) -> Caller:
        if not keys.well_formed(secret):
            raise _refused("api_key", tokens.invalid("The API key has a character missing or wrong."))
        digest = keys.digest(self._pepper, secret)
        known = self.identities.key(digest)
        if known is None or known.epoch != self.identities.epoch:
            known = await self._resolve(digest, known)
        if known.revoked:
            raise _refused("api_key", tokens.revoked())
        caller = known.caller
        if caller.expire_time is not None and caller.expire_time <= self._clock.time():
            raise _refused("api_key", tokens.expired())
        if self._grace_over():
            raise _refused("api_key", tokens.unverifiable())
        caller = self._unsuspended(caller)
        self.key_uses.note(caller.api_key_id)
        return caller

    async def _account_caller(self, workload: Caller) -> Caller:
        """The service account that a certificate stands for, as it is now: with the plan of its organisation, and
        refused where it was deleted or the organisation's owners are suspended. As an API key that never changes."""
        known = self.identities.key(workload.key_digest)
        if known is None or known.epoch != self.identities.epoch:
            known = await self._resolve(workload.key_digest, known)
        if known.revoked or known.caller.org_id != workload.org_id:
            raise _refused("workload", tokens.revoked())
        if self._grace_over():
            raise _refused("workload", tokens.unverifiable())
        return self._unsuspended(known.caller)

    async def _resolve(self, digest: bytes, stale: KnownKey | None) -> KnownKey:
        until = self._unknown_keys.get(digest)
        if until is not None and until > self._clock.monotonic():
            raise _refused("api_key", _no_such_key(digest))
        epoch = self.identities.epoch
        try:
            identity = await resolved_once(self._flights, epoch, digest, self._source)
        except MeshError as error:
            if error.reason == "API_KEY_NOT_FOUND":
                self._unknown_keys.put(digest, self._clock.monotonic() + self._unknown_ttl_s)
                self.identities.forget_key(digest)
                raise _refused("api_key", _no_such_key(digest)) from None
            if stale is not None:
                return stale  # auth is away: good for the grace time
            raise _refused("api_key", tokens.unverifiable()) from error
        except (grpc.RpcError, OSError, TimeoutError) as error:
            if stale is not None:
                return stale
            raise _refused("api_key", tokens.unverifiable()) from error
        self._unknown_keys.drop(digest)
        CREDENTIALS.labels("api_key", "resolved").inc()
        known = self.identities.learn(identity, epoch)
        return self.identities.key(digest) or known

    # Ends

    def on_revoked(self, caller: Caller, told: Callable[[], None]) -> Callable[[], None]:
        """Calls `told` when the caller's credential is revoked or stands for other roles, perhaps more than once;
        before this returns, if that came about since the caller was let in. Returns what takes that back.
        """
        off = self.identities.on_end(caller, told)
        if self.identities.ended(caller):
            told()
        elif caller.key_digest and self.identities.stale(caller):
            self._ask_again()
        return off

    def why_ended(self, caller: Caller) -> MeshError:
        """What to tell a caller whose credential is good no more: suspended, or revoked."""
        until = self.identities.suspended_until(caller)
        suspended = until is not None and until > self._clock.time()
        return tokens.suspended(until) if until is not None and suspended else tokens.revoked()

    def on_end(self, caller: Caller, told: Callable[[MeshError], None]) -> Callable[[], None]:
        """Calls `told` once when the caller's credential expires, is revoked, or stands for other roles; before this
        returns, if that came about since the caller was let in. Returns what takes that back.
        """
        loop = asyncio.get_running_loop()
        timer: asyncio.TimerHandle | None = None
        off: Callable[[], None] | None = None
        over = False

        def take_back() -> None:
            nonlocal over
            over = True
            if off is not None:
                off()
            if timer is not None:
                timer.cancel()

        def tell(error: MeshError) -> None:
            if not over:
                take_back()
                told(error)

        def look_at_time() -> None:
            nonlocal timer
            assert caller.expire_time is not None
            left_s = caller.expire_time - self._clock.time()
            if left_s <= 0:
                tell(tokens.expired())
            else:
                timer = loop.call_later(min(left_s, _TIMER_S_MAX), look_at_time)

        off = self.on_revoked(caller, lambda: tell(self.why_ended(caller)))
        if over:
            off()
        elif caller.expire_time is not None and caller.kind is not CallerKind.SERVICE:
            look_at_time()
        return take_back

    async def ended(self, caller: Caller) -> MeshError:
        """Waits until the caller's credential expires or is revoked, and returns what to tell them."""
        future: asyncio.Future[MeshError] = asyncio.get_running_loop().create_future()

        def told(error: MeshError) -> None:
            if not future.done():
                future.set_result(error)

        take_back = self.on_end(caller, told)
        try:
            return await future
        finally:
            take_back()

    # After a gap in what auth told

    def _apply(self, message: WatchIdentitiesResponse) -> int:
        version = self.identities.apply(message)
        kind = message.WhichOneof("event")
        if kind == "state" and self.identities.stale_callers():
            self._ask_again()
        elif kind == "key_changed" and message.key_changed.previous_digest:
            self._end_in_time(message.key_changed)
        return version

    def _end_in_time(self, identity: KeyIdentity) -> None:
        """What goes on under the secret before a rotation knew of no end; it ends when that secret does."""
        left_s = identity.previous_expire_time.ToNanoseconds() / 1e9 - self._clock.time()
        if left_s < _TIMER_S_MAX:  # nothing goes on for longer
            asyncio.get_running_loop().call_later(
                max(0.0, left_s), self.identities.end_secret, identity.previous_digest, context=contextvars.Context()
            )

    def _ask_again(self) -> None:
        """Asks about the keys behind streams and calls under way: a whole state does not tell which were revoked."""
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(
                self._ask_about_stale_keys(), name="ask about API keys again", context=contextvars.Context()
            )

    async def _ask_about_stale_keys(self) -> None:
        backoff = Backoff(0.1, 5.0)
        while stale := self.identities.stale_callers():
            answered = True
            for first in range(0, len(stale), _ASK_AT_ONCE):
                asked = [self._ask_about(caller) for caller in stale[first : first + _ASK_AT_ONCE]]
                answered = all(await asyncio.gather(*asked)) and answered
            if not answered:
                await asyncio.sleep(backoff.next_s())

    async def _ask_about(self, caller: Caller) -> bool:
        """Whether auth, or what it said a moment ago, could tell."""
        try:
            await self._resolve(caller.key_digest, None)
        except MeshError as error:
            if error.reason == "CREDENTIAL_UNVERIFIABLE":
                return False
            self.identities.end_key(caller)
        else:
            if self.identities.ended(caller):
                self.identities.end_key(caller)
        return True

    async def close(self) -> None:
        """Ends questions to auth that are under way."""
        asking = [self._asking] if self._asking is not None else []
        tasks = [*asking, *self._flights.values()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


def credential_of(metadata: Mapping[str, str | bytes]) -> str | None:
    """The credential that came with a call; None if none did. Raises MeshError if what came is of another form."""
    authorization = metadata.get(AUTHORIZATION)
    api_key = metadata.get(API_KEY)
    if authorization is not None and api_key is not None:
        raise tokens.invalid("Two credentials came with the call, in `authorization` and in `x-api-key`.")
    if api_key is not None:
        return _text(api_key)
    if authorization is None:
        return None
    text = _text(authorization)
    if text[: len(_BEARER)].lower() != _BEARER or not text[len(_BEARER) :].strip():
        raise tokens.invalid("The `authorization` header is not `Bearer <credential>`.")
    return text[len(_BEARER) :].strip()


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("latin-1")


def _refused(kind: str, error: MeshError) -> MeshError:
    CREDENTIALS.labels(kind, error.reason).inc()
    return error


def _no_such_key(digest: bytes) -> MeshError:
    account_id = keys.account_of(digest)
    if account_id is not None:
        return tokens.invalid(
            f"PROMPTMESH_WORKLOADS maps the certificate to {account_id}, and no service account is that."
        )
    return tokens.invalid("There is no such API key.")

"""A service of the mesh on a random port, its handlers given by the test, and an auth that speaks auth's contract."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from google.protobuf import empty_pb2
from jwt.algorithms import ECAlgorithm
from promptmesh.access.v1.access_pb2 import Role
from promptmesh.auth.v1 import auth_pb2, auth_pb2_grpc
from promptmesh.prompts.v1 import posts_pb2, posts_pb2_grpc

from services.mesh import client
from services.mesh.access import keys
from services.mesh.access.control import AccessControl
from services.mesh.access.remote import RemoteIdentities
from services.mesh.access.service_tokens import ServiceTokens
from services.mesh.access.tokens import sign_access_token
from services.mesh.call import current
from services.mesh.errors import MeshError
from services.mesh.ids import uuid7
from services.mesh.pipeline import Limits
from services.mesh.server import Server, ServerOptions
from services.mesh.streams import DrainEvent

SECRET = b"s" * 32
PEPPER = b"p" * 32
WAIT_S = 10.0


class Auth(auth_pb2_grpc.AuthServiceServicer):
    """What the other services see of auth: the feed and ResolveApiKey."""

    def __init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.kid = "key-1"
        self.grace_seconds = 600
        self.version = 1
        self.users: list[auth_pb2.UserRestriction] = []
        self.sessions: list[auth_pb2.SessionRestriction] = []
        self.api_keys: dict[bytes, auth_pb2.KeyIdentity] = {}
        self.resolved = 0
        self.answering = asyncio.Event()  # cleared: it hangs, as a stopped process does
        self.answering.set()
        self.watches: list[int] = []
        self._feeds: set[asyncio.Queue[auth_pb2.WatchIdentitiesResponse]] = set()

    # As an IdentitySource, for auth's own server

    async def watch(self, after_version: int) -> AsyncIterator[auth_pb2.WatchIdentitiesResponse]:
        queue: asyncio.Queue[auth_pb2.WatchIdentitiesResponse] = asyncio.Queue()
        self._feeds.add(queue)
        self.watches.append(after_version)
        try:
            yield auth_pb2.WatchIdentitiesResponse(version=self.version, state=self._state())
            while True:
                yield await queue.get()
        finally:
            self._feeds.discard(queue)

    async def resolve(self, digest: bytes) -> auth_pb2.KeyIdentity:
        self.resolved += 1
        await self.answering.wait()
        if digest not in self.api_keys:
            raise MeshError("API_KEY_NOT_FOUND", "There is no such key.")
        return self.api_keys[digest]

    # As a servicer

    def WatchIdentities(self, request: Any, context: Any) -> AsyncIterator[auth_pb2.WatchIdentitiesResponse]:
        return self.watch(request.after_version)

    async def ResolveApiKey(self, request: Any, context: Any) -> auth_pb2.KeyIdentity:
        return await self.resolve(request.digest or keys.account_digest(request.service_account_id))

    # What tests do

    def token(self, *, roles: tuple[int, ...] = (Role.ROLE_USER,), age_s: float = 0.0, **changes: Any) -> str:
        now = time.time() - age_s
        claims: dict[str, Any] = {
            "user_id": uuid7(),
            "org_id": uuid7(),
            "display_name": "Ada",
            "roles": roles,
            "session_id": uuid7(),
            "issue_time": now,
            "expire_time": now + 600,
        }
        return sign_access_token(self.key, self.kid, **(claims | changes))

    def api_key(self, scopes: tuple[str, ...] = ("posts:read",)) -> str:
        secret = keys.new_secret()
        digest = keys.digest(PEPPER, secret)
        self.api_keys[digest] = auth_pb2.KeyIdentity(
            api_key_id=uuid7(), digest=digest, org_id=uuid7(), user_id=uuid7(), roles=[Role.ROLE_USER], scopes=scopes
        )
        return secret

    def end_session(self, session_id: str) -> None:
        restriction = auth_pb2.SessionRestriction(session_id=session_id)
        restriction.forget_time.FromSeconds(int(time.time()) + 600)
        self.sessions.append(restriction)
        self._say(session_ended=restriction)

    def revoke(self, secret: str) -> None:
        identity = self.api_keys[keys.digest(PEPPER, secret)]
        identity.revoked = True
        self._say(key_changed=identity)

    def set_roles(self, user_id: str, roles: tuple[int, ...]) -> None:
        restriction = auth_pb2.UserRestriction(user_id=user_id, roles=roles)
        restriction.change_time.FromNanoseconds(time.time_ns())
        self.users.append(restriction)
        self._say(user_changed=restriction)

    def _say(self, **event: Any) -> None:
        self.version += 1
        for feed in self._feeds:
            feed.put_nowait(auth_pb2.WatchIdentitiesResponse(version=self.version, **event))

    def _state(self) -> auth_pb2.IdentityState:
        jwk = ECAlgorithm.to_jwk(self.key.public_key(), as_dict=True)
        key = auth_pb2.JsonWebKey(kty="EC", use="sig", alg="ES256", kid=self.kid, crv="P-256", x=jwk["x"], y=jwk["y"])
        return auth_pb2.IdentityState(
            jwks=auth_pb2.JsonWebKeySet(keys=[key]),
            users=self.users,
            sessions=self.sessions,
            grace_seconds=self.grace_seconds,
        )


class Posts(posts_pb2_grpc.PostServiceServicer):
    """Handlers that tests replace."""

    def __init__(self) -> None:
        self.calls: list[Any] = []  # the Call of each call that reached a handler
        self.on_get: Callable[[Any, Any], Awaitable[Any]] = self._post
        self.on_watch: Callable[[Any, Any], AsyncIterator[Any]] = self._nothing

    async def GetPost(self, request: Any, context: Any) -> Any:
        self.calls.append(current())
        return await self.on_get(request, context)

    async def CreatePost(self, request: Any, context: Any) -> Any:
        self.calls.append(current())
        return posts_pb2.Post(post_id=uuid7(), title=request.title)

    async def DeletePost(self, request: Any, context: Any) -> Any:
        self.calls.append(current())
        return empty_pb2.Empty()

    async def WatchFeed(self, request: Any, context: Any) -> AsyncIterator[Any]:
        self.calls.append(current())
        async for message in self.on_watch(request, context):
            yield message

    async def _post(self, request: Any, context: Any) -> Any:
        return posts_pb2.Post(post_id=request.post_id)

    async def _nothing(self, request: Any, context: Any) -> AsyncIterator[Any]:
        for _ in ():
            yield


@dataclass
class Host:
    """A GuardHost."""

    access: AccessControl | None = None
    draining: DrainEvent = field(default_factory=DrainEvent)
    heartbeat_s: float = 30.0
    stream_age_s: float = 900.0


class Service:
    """The service under test, with its own auth."""

    def __init__(self) -> None:
        self.auth = Auth()
        self.posts = Posts()
        self.host = Host()
        self.server: Server
        self.auth_server: Server | None = None
        self.access: AccessControl
        self.channel: grpc.aio.Channel
        self._tasks: list[asyncio.Task[None]] = []
        self._closers: list[Callable[[], Awaitable[None]]] = []
        self.auth_port = 0

    async def start(self, **limits: Any) -> None:
        await self.start_auth()
        tokens = ServiceTokens("prompts", SECRET)
        to_auth = client.channel(f"127.0.0.1:{self.auth_port}", tokens)
        self._closers.append(to_auth.close)
        self.access = AccessControl(RemoteIdentities(to_auth), tokens, PEPPER, key_unknown_ttl_s=60.0)
        self.access.follower._backoff._most_s = 0.05  # type: ignore[attr-defined]
        self._tasks.append(asyncio.create_task(self.access.follower.run()))
        self.host.access = self.access
        self.server = Server(
            self.access,
            options=ServerOptions(drain_s=2.0),
            limits=Limits(**limits) if limits else None,
            draining=self.host.draining,
            ready={"identities": self.access.ready.wait},
        )
        self.server.add(posts_pb2_grpc.add_PostServiceServicer_to_server, self.posts)
        port = await self.server.start()
        async with asyncio.timeout(WAIT_S):
            await self.server.ready()
        self.port = port
        self.channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")

    async def start_auth(self) -> None:
        access = AccessControl(self.auth, ServiceTokens("auth", SECRET), PEPPER)
        self._tasks.append(asyncio.create_task(access.follower.run()))
        self.auth_server = Server(
            access,
            options=ServerOptions(listen=f"127.0.0.1:{self.auth_port}", drain_s=0.0),
            ready={"self": access.ready.wait},
        )
        self.auth_server.add(auth_pb2_grpc.add_AuthServiceServicer_to_server, self.auth)
        self.auth_port = await self.auth_server.start()
        async with asyncio.timeout(WAIT_S):
            await self.auth_server.ready()

    async def stop_auth(self) -> None:
        assert self.auth_server is not None
        await self.auth_server.stop()
        self.auth_server = None
        async with asyncio.timeout(WAIT_S):
            while self.access.follower.connected:
                await asyncio.sleep(0.01)

    async def heard(self) -> None:
        """Waits until the service knows all that auth has said."""
        async with asyncio.timeout(WAIT_S):
            while self.access.follower.version != self.auth.version:
                await asyncio.sleep(0.005)

    @property
    def stub(self) -> posts_pb2_grpc.PostServiceAsyncStub:
        stub: Any = posts_pb2_grpc.PostServiceStub(self.channel)
        return stub

    async def stop(self) -> None:
        await self.channel.close()
        await self.server.stop()
        if self.auth_server is not None:
            await self.auth_server.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)
        await self.access.close()
        for close in self._closers:
            await close()


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    made = Service()
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
def bearer() -> Callable[[str], tuple[tuple[str, str], ...]]:
    """Metadata that carries a credential."""
    return lambda credential: (("authorization", f"Bearer {credential}"),)

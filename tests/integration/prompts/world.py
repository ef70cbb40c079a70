"""The prompts service as it runs (its own `main`), with real events from toy producers and identities of the tests."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import asyncpg
import grpc
import jwt.algorithms
from cryptography.hazmat.primitives.asymmetric import ec
from google.protobuf.message import Message
from promptmesh.access.v1 import access_pb2
from promptmesh.auth.v1.auth_pb2 import (
    IdentityState,
    JsonWebKey,
    JsonWebKeySet,
    KeyIdentity,
    SessionRestriction,
    WatchIdentitiesResponse,
)
from promptmesh.inference.v1.events_pb2 import ExamplePiece, ExampleProgress
from promptmesh.prompts.v1.posts_pb2_grpc import PostServiceStub
from pydantic import SecretStr

from services.mesh.access import keys
from services.mesh.access.control import AccessControl
from services.mesh.access.tokens import sign_access_token
from services.mesh.database.migrate import migrate, read_migrations
from services.mesh.database.provision import provision, role_of
from services.mesh.database.queries import package_folder
from services.mesh.database.setup import set_up
from services.mesh.errors import MeshError
from services.mesh.events import NewEvent, Outbox
from services.mesh.ids import uuid7
from services.mesh.live import LiveStream
from services.mesh.plans import Plans
from services.mesh.run import Mesh, S_co
from services.mesh.server import Server
from services.mesh.settings import MeshSettings
from services.prompts.main import main
from services.prompts.settings import PromptsSettings

PASSWORD = "of-the-tests"
SECRET = SecretStr(base64.urlsafe_b64encode(bytes(range(32))).decode())
PEPPER = bytes(range(32))
KEY_ID = "key-1"
HEARTBEAT_S = 3.0  # of the feed of identities, under the 15 s after which it is taken for dead


@dataclass(frozen=True, slots=True)
class Someone:
    """A person or key, as a test calls."""

    user_id: str = ""
    org_id: str = ""
    session_id: str = ""
    metadata: tuple[tuple[str, str], ...] = ()


NOBODY = Someone()


class ToyAuth:
    """Identities without the auth service: signs tokens, knows keys, ends sessions."""

    def __init__(self) -> None:
        self._private = ec.generate_private_key(ec.SECP256R1())
        self._version = 1
        self._keys: dict[bytes, KeyIdentity] = {}
        self._watchers: list[asyncio.Queue[WatchIdentitiesResponse]] = []

    def person(self, name: str = "Ann", *roles: int, lives_s: float = 600.0) -> Someone:
        """Someone with a session."""
        user_id, org_id, session_id = uuid7(), uuid7(), uuid7()
        now = time.time()
        token = sign_access_token(
            self._private,
            KEY_ID,
            user_id=user_id,
            org_id=org_id,
            display_name=name,
            roles=roles or (access_pb2.ROLE_USER,),
            session_id=session_id,
            issue_time=now,
            expire_time=now + lives_s,
        )
        return Someone(user_id, org_id, session_id, (("authorization", f"Bearer {token}"),))

    def key_of(self, owner: Someone, *scopes: str) -> Someone:
        """An API key that acts for someone."""
        secret = keys.new_secret()
        digest = keys.digest(PEPPER, secret)
        self._keys[digest] = KeyIdentity(
            api_key_id=uuid7(),
            digest=digest,
            org_id=owner.org_id,
            user_id=owner.user_id,
            display_name="Key",
            roles=[access_pb2.ROLE_USER],
            scopes=scopes,
        )
        return Someone(owner.user_id, owner.org_id, "", (("x-api-key", secret),))

    def end_session(self, someone: Someone) -> None:
        """As if they had logged out."""
        self._version += 1
        restriction = SessionRestriction(session_id=someone.session_id)
        restriction.forget_time.FromSeconds(int(time.time()) + 600)
        message = WatchIdentitiesResponse(version=self._version, session_ended=restriction)
        for watcher in self._watchers:
            watcher.put_nowait(message)

    async def watch(self, after_version: int) -> AsyncIterator[WatchIdentitiesResponse]:
        """The feed."""
        jwk = jwt.algorithms.ECAlgorithm.to_jwk(self._private.public_key(), as_dict=True)
        key = JsonWebKey(kty="EC", use="sig", alg="ES256", kid=KEY_ID, crv="P-256", x=jwk["x"], y=jwk["y"])
        state = IdentityState(jwks=JsonWebKeySet(keys=[key]), grace_seconds=600)
        queue: asyncio.Queue[WatchIdentitiesResponse] = asyncio.Queue()
        self._watchers.append(queue)
        yield WatchIdentitiesResponse(version=self._version, state=state)
        while True:
            try:
                async with asyncio.timeout(HEARTBEAT_S):
                    message = await queue.get()
            except TimeoutError:
                message = WatchIdentitiesResponse(version=self._version)
                message.heartbeat.SetInParent()
            yield message

    async def resolve(self, digest: bytes) -> KeyIdentity:
        """As ResolveApiKey."""
        if digest not in self._keys:
            raise MeshError("API_KEY_NOT_FOUND", "There is no such key.")
        return self._keys[digest]


class TestMesh(Mesh[S_co]):
    """A process whose identities are the test's, and whose server can be found."""

    __test__ = False

    def __init__(self, settings: S_co, auth: ToyAuth) -> None:
        super().__init__(settings)
        self._auth = auth
        self.started: Server | None = None
        self.plans = Plans()  # none: nobody has a limit

    async def follow_identities(self) -> AccessControl:
        return self.local_identities(self._auth)

    def follow_plans(self) -> Plans:
        return self.plans

    def server(self, access: AccessControl) -> Server:
        self.started = super().server(access)
        return self.started


class ToySettings(MeshSettings):
    """Of a toy producer."""


class ModerationSettings(ToySettings):
    service: ClassVar[str] = "moderation"


class InferenceSettings(ToySettings):
    service: ClassVar[str] = "inference"


class Producer:
    """Another service, as far as its events go: outbox, relay and replay are real."""

    def __init__(self, mesh: TestMesh[ToySettings], outbox: Outbox, database: Any, server: Server) -> None:
        self.mesh, self._outbox, self._database, self.server = mesh, outbox, database, server

    async def tell(self, *payloads: Message) -> None:
        """Tells of posts, in one transaction."""
        async with self._database.transaction() as conn:
            events = [NewEvent(uuid7(), payload.post_id, 1, payload) for payload in payloads]  # type: ignore[attr-defined]
            await self._outbox.append(conn, events)


class World:
    """The service under test, and what is around it."""

    def __init__(
        self,
        auth: ToyAuth,
        mesh: TestMesh[PromptsSettings],
        stub: Any,
        moderation: Producer,
        inference: Producer,
        live: LiveStream,
        task: asyncio.Task[None],
    ) -> None:
        self.auth, self.mesh, self.stub = auth, mesh, stub
        self.moderation, self.inference = moderation, inference
        self._live = live
        self.task = task

    async def piece(self, post_id: str, offset: int, text: str, revision: int = 1) -> None:
        """Sends a piece of an example, as inference does."""
        piece = ExamplePiece(post_id=post_id, revision=revision, offset=offset, text=text)
        assert await self._live.publish(ExampleProgress(pieces=[piece]).SerializeToString())


def dsn(database_url: str, service: str) -> str:
    """The DSN of a service's own role."""
    return f"postgresql://{role_of(service)}:{PASSWORD}@{database_url.partition('@')[2]}"


def _common(service: str, database_url: str, redis_url: str) -> dict[str, Any]:
    return {
        "worker": f"{service}-0",
        "database_url": SecretStr(dsn(database_url, service)),
        "redis_url": SecretStr(redis_url),
        "redis_timeout_ms": 2000,  # the machine that tests is busy with other tests
        "mesh_secret": SECRET,
        "key_pepper": SECRET,
        "drain_s": 1.0,
        "database_pool_max": 6,
        "event_partitions": 2,
    }


async def _producer(
    stack: AsyncExitStack, settings_type: type[ToySettings], database_url: str, redis_url: str, auth: ToyAuth
) -> Producer:
    service = settings_type.service
    admin = await asyncpg.connect(database_url)
    await provision(admin, service, PASSWORD)
    await admin.close()
    own = await asyncpg.connect(dsn(database_url, service))
    await migrate(own, read_migrations("mesh", package_folder("services.mesh.database") / "migrations"))
    await own.close()
    mesh = TestMesh(settings_type(**_common(service, database_url, redis_url)), auth)
    stack.push_async_callback(mesh.close)
    database = await mesh.open_database(serves=(0, 0))
    outbox = mesh.outbox(database)
    server = mesh.server(await mesh.follow_identities())
    await server.start()
    stack.push_async_callback(server.stop)
    return Producer(mesh, outbox, database, server)


@asynccontextmanager
async def running_world(database_url: str, redis_url: str, **settings: Any) -> AsyncIterator[World]:
    """All of it, ready. settings: of the prompts service, beside what it needs."""
    auth = ToyAuth()
    async with AsyncExitStack() as stack:
        await set_up({"prompts": dsn(database_url, "prompts")}, database_url, services=("prompts",))
        moderation = await _producer(stack, ModerationSettings, database_url, redis_url, auth)
        inference = await _producer(stack, InferenceSettings, database_url, redis_url, auth)
        prompts = PromptsSettings(
            **_common("prompts", database_url, redis_url),
            auth_target="127.0.0.1:1",  # whose events prompts reads: away
            moderation_target=f"127.0.0.1:{moderation.server.port}",
            inference_target=f"127.0.0.1:{inference.server.port}",
            **settings,
        )
        mesh = TestMesh(prompts, auth)
        stack.push_async_callback(mesh.close)
        task = asyncio.create_task(main(mesh), name="prompts")
        stack.push_async_callback(_stopped, mesh, task)
        while not mesh.serving:
            assert not task.done(), task.exception()
            await asyncio.sleep(0.01)
        assert mesh.started is not None
        await mesh.started.ready()
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(f"127.0.0.1:{mesh.started.port}"))
        live = LiveStream(await inference.mesh.open_redis(), "examples")
        yield World(auth, mesh, PostServiceStub(channel), moderation, inference, live, task)


async def _stopped(mesh: TestMesh[PromptsSettings], task: asyncio.Task[None]) -> None:
    mesh.draining.set()
    await task


async def collect(call: Any, into: list[Any], *, until: Any) -> list[Any]:
    """Reads a stream into a list until a message for which `until(message)` is true; fails loudly if it ends first."""
    async for message in call:
        into.append(message)
        if until(message):
            return into
    raise AssertionError(f"the stream ended after {into}")


def without_heartbeats(messages: Iterable[Any]) -> list[Any]:
    """Messages that tell something."""
    return [message for message in messages if message.WhichOneof("event") != "heartbeat"]

"""One process of a service: `Mesh` hands its `main` the parts, wired; `run` starts and ends it."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any, Generic, TypeVar, cast

import redis.asyncio as aioredis
import uvloop
from google.protobuf.message import Message
from promptmesh.events.v1.events_pb2_grpc import EventSourceServiceStub, add_EventSourceServiceServicer_to_server

from services.mesh import client, failpoints, memory, plans
from services.mesh import redis as mesh_redis
from services.mesh.access.control import AccessControl
from services.mesh.access.identities import Identities, IdentitySource
from services.mesh.access.remote import RemoteIdentities
from services.mesh.access.service_tokens import ServiceTokens
from services.mesh.background import Background, watch_loop_lag
from services.mesh.database import Database, DatabaseOptions
from services.mesh.database.partitions import maintain
from services.mesh.database.starting import Patience, until_done
from services.mesh.events import Consumer, EventSource, Outbox, Relay, Tail, TailOptions, connect_streams
from services.mesh.events.catch_up import Replay
from services.mesh.events.consumer import BLOCKING_TIMEOUT_S, ConsumerOptions
from services.mesh.events.envelope import Handler
from services.mesh.http import HttpOptions
from services.mesh.ids import SYSTEM_CLOCK
from services.mesh.paging import PageTokens
from services.mesh.pipeline import Limits
from services.mesh.server import Server, ServerOptions
from services.mesh.settings import MeshSettings, SettingsError, load_or_exit, secret_bytes
from services.mesh.snapshots import Follower
from services.mesh.stopping import Stop
from services.mesh.streams import DrainEvent
from services.mesh.telemetry import logs
from services.mesh.telemetry.metrics import MetricsServer
from services.mesh.telemetry.traces import Tracing

S = TypeVar("S", bound=MeshSettings)
T = TypeVar("T")
S_co = TypeVar("S_co", bound=MeshSettings, covariant=True)
log = logs.get_logger()
BLOCKING_CONNECTIONS_SPARE = 8  # of reads that were cut, while they close
START_POLL_S = 0.02


class Mesh(Generic[S_co]):
    """The parts of one process. What is opened here is closed by `close`, in reverse order."""

    def __init__(self, settings: S_co) -> None:
        self.settings = settings
        self.service = settings.service
        self.clock = SYSTEM_CLOCK
        self.draining = DrainEvent()
        self.access: AccessControl | None = None
        self.heartbeat_s = settings.heartbeat_s
        self.stream_age_s = settings.stream_age_s
        self.tracing = Tracing(settings.service, settings.worker, settings.trace_ratio)
        self.service_tokens = ServiceTokens(settings.service, secret_bytes(settings.mesh_secret))
        self._background = Background()
        self._closers: list[tuple[str, Callable[[], Awaitable[None]]]] = []
        self._channels: dict[str, client.MeshChannel] = {}
        self._database: Database | None = None
        self._relays: dict[Outbox, tuple[Database, Relay]] = {}
        self._sources: list[EventSource] = []
        self._streams: aioredis.Redis | None = None
        self._ready: dict[str, Callable[[], Awaitable[Any]]] = {}
        self.serving = False
        self.start = Patience()
        """Of all that this start waits for, together: `open_database` and each `at_start`."""

    # Tasks, readiness, ends

    def background(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """Starts a supervised task: an error is logged, and it starts again after a pause."""
        self._background.start(name, work)

    def on_close(self, name: str, close: Callable[[], Awaitable[None]]) -> None:
        """Has `close()` awaited when the process ends, after everything opened later was closed."""
        self._closers.append((name, close))

    def ready_when(self, name: str, wait: Callable[[], Awaitable[Any]]) -> None:
        """Health says SERVING only after `wait()` has returned once. Call it before `server`."""
        self._ready[name] = wait

    async def close(self) -> None:
        """Ends all background tasks, then closes what was opened."""
        await self._background.close()
        while self._closers:
            name, close = self._closers.pop()
            try:
                await close()
            except Exception as error:
                log.warning("could not be closed", part=name, exc_info=error)
        self.tracing.close()

    # What the service stands on

    async def open_database(self, *, serves: tuple[int, int]) -> Database:
        """The service's own schema. serves: the lowest and highest of its migrations that this code works with."""
        settings = self.settings
        options = DatabaseOptions(
            max_connections=settings.database_pool_max,
            acquire_timeout_s=settings.database_acquire_timeout_s,
            statement_timeout_s=settings.database_statement_timeout_s,
            pgbouncer=settings.database_pgbouncer,
        )
        database = await Database.open(
            settings.database_url.get_secret_value(),
            schema=self.service,
            application_name=f"promptmesh {settings.worker}",
            serves=serves,
            options=options,
            patience=self.start,
        )
        self.on_close("database", database.close)
        self.background("partitions", lambda: maintain(database))
        self._database = self._database or database
        return database

    async def at_start(self, what: str, work: Callable[[], Awaitable[T]]) -> T:
        """What `work()` answers, which a start needs: tried again while PostgreSQL is away or too slow, as long
        as this start has patience."""
        return await until_done(what, work, self.start)

    async def open_redis(self) -> mesh_redis.Redis:
        """The Redis of state: streams, limits. Every call is bounded; it may be away, now or later."""
        return self._open_redis("redis", self.settings.redis_url.get_secret_value())

    async def open_cache(self) -> mesh_redis.Redis | None:
        """The Redis of the cache, or None if there is none."""
        url = self.settings.redis_cache_url
        return None if url is None else self._open_redis("cache", url.get_secret_value())

    def _open_redis(self, name: str, url: str) -> mesh_redis.Redis:
        opened = mesh_redis.open(url, self.settings.redis_timeout_ms / 1000)
        self.on_close(name, opened.aclose)
        return opened

    # Who calls

    async def follow_identities(self) -> AccessControl:
        """Identities from auth. The server is ready once auth has told the first state; until then calls with a
        credential are answered with UNAVAILABLE."""
        return self._control_access(RemoteIdentities(self.channel("auth")))

    def local_identities(self, source: IdentitySource) -> AccessControl:
        """Identities from a source in this process: for auth itself."""
        return self._control_access(source)

    def _control_access(self, source: IdentitySource) -> AccessControl:
        settings = self.settings
        access = AccessControl(
            source,
            self.service_tokens,
            secret_bytes(settings.key_pepper),
            identities=Identities(keys_max=settings.key_cache_max),
            tokens_max=settings.token_cache_max,
            key_unknown_ttl_s=settings.key_unknown_ttl_s,
            key_resolve_timeout_s=settings.key_resolve_timeout_s,
            step_up_s=settings.step_up_s,
        )
        self.access = access
        self.on_close("access", access.close)
        self.background("identities", access.follower.run)
        self.background(
            "key uses", lambda: access.key_uses.keep_reporting(source.report_uses, settings.key_uses_report_s)
        )
        self.ready_when("identities", access.ready.wait)
        return access

    def follow_plans(self) -> plans.Plans:
        """The plans from auth. The server is ready once auth has told them: until then nobody's limits are known."""
        known = plans.Plans()
        follower = Follower("plans", plans.watch(self.channel("auth")), known.apply)
        self.background("plans", follower.run)
        self.ready_when("plans", follower.ready.wait)
        return known

    # Events

    def outbox(self, database: Database) -> Outbox:
        """This service's outbox, with its relay, and Replay served for those who missed events."""
        outbox = Outbox(self.service, self.settings.event_partitions)
        relay = Relay(database, outbox, self._event_streams(), tracing=self.tracing)
        self._relays[outbox] = (database, relay)
        self._sources.append(EventSource(database))
        self.background("relay", relay.run)
        return outbox

    def tail(self, outbox: Outbox, options: TailOptions | None = None) -> Tail:
        """Follows this service's own log."""
        database, relay = self._relays[outbox]
        tail = Tail(database, options, told=True)  # what other workers numbered, too
        relay.on_sequenced(tail.sequenced)
        self.background("tail", tail.run)
        return tail

    def consume(
        self,
        producer: str,
        *,
        group: str,
        types: Iterable[type[Message]],
        handle: Handler,
        options: ConsumerOptions | None = None,
    ) -> Consumer:
        """Consumes a service's events, or one's own. group: unique in the mesh, for example "prompts.screened"."""
        if self._database is None:
            raise RuntimeError(f"consume({producer!r}) remembers in the database what it did: open that first")
        partitions = self.settings.event_partitions
        # On a Redis Cluster each partition is read on a connection of its own.
        blocking = connect_streams(
            self.settings.redis_url.get_secret_value(),
            command_timeout_s=BLOCKING_TIMEOUT_S,
            max_connections=partitions + BLOCKING_CONNECTIONS_SPARE,
        )
        self.on_close(f"{group} streams", blocking.aclose)
        consumer = Consumer(
            self._database,
            self._event_streams(),
            blocking,
            producer=producer,
            group=group,
            worker=self.settings.worker,
            partitions=partitions,
            types=types,
            handle=handle,
            replay=self._replay_of(producer),
            options=options,
            tracer=self.tracing,
        )
        self.background(group, consumer.run)
        return consumer

    def _replay_of(self, producer: str) -> Replay:
        if producer == self.service and self._sources:
            source = self._sources[-1]  # its own events need no network
            return lambda request: source.Replay(request, None)
        return cast(Replay, EventSourceServiceStub(self.channel(producer)).Replay)

    def _event_streams(self) -> aioredis.Redis:
        if self._streams is None:
            self._streams = connect_streams(self.settings.redis_url.get_secret_value())
            self.on_close("event streams", self._streams.aclose)
        return self._streams

    # Calls

    def channel(self, service: str) -> client.MeshChannel:
        """The channel to another service, which PROMPTMESH_<SERVICE>_TARGET names."""
        known = self._channels.get(service)
        if known is not None:
            return known
        target = getattr(self.settings, f"{service}_target", None)
        if not target:
            raise SettingsError(
                f"{self.service} calls {service}, but PROMPTMESH_{service.upper()}_TARGET is not set; "
                "expected an address as gRPC takes it, for example dns:///auth:50051"
            )
        settings = self.settings
        options = client.ClientOptions(
            timeout_s=settings.client_timeout_s,
            margin_s=settings.deadline_margin_ms / 1000,
            message_bytes_max=settings.message_bytes_max,
            balancing=settings.peer_balancing,
        )
        opened = self._channels[service] = client.channel(target, self.service_tokens, options)
        self.on_close(f"channel to {service}", opened.close)
        return opened

    def page_tokens(self) -> PageTokens:
        """Makes and reads the page tokens of lists; all processes of the mesh understand each other's."""
        return PageTokens(secret_bytes(self.settings.key_pepper))

    def server(self, access: AccessControl) -> Server:
        """The gRPC server. Add the servicers to it, then `await server.serve()`."""
        settings = self.settings
        server = Server(
            access,
            options=ServerOptions(
                settings.listen,
                settings.message_bytes_max,
                settings.connection_age_s,
                settings.connection_grace_s,
                settings.drain_s,
                settings.identity_wait_s,
                settings.origins,
                settings.tls,
                settings.tls_listen,
                HttpOptions(
                    settings.http_listen,
                    body_bytes_max=settings.message_bytes_max,
                    held_bytes_max=settings.http_held_bytes_max,
                    head_bytes_max=settings.http_head_bytes_max,
                    receive_s=settings.http_receive_s,
                    idle_s=settings.http_idle_s,
                ),
            ),
            limits=Limits(settings.calls_max, settings.deadline_margin_ms / 1000, settings.call_timeout_s),
            tracing=self.tracing,
            draining=self.draining,
            ready=self._ready,
            on_start=self._server_started,
        )
        for source in self._sources:
            server.add(add_EventSourceServiceServicer_to_server, source)
        return server

    def _server_started(self) -> None:
        self.serving = True
        memory.settle()


@asynccontextmanager
async def opened(settings: S) -> AsyncIterator[Mesh[S]]:
    """A Mesh for a block: telemetry, failpoints and metrics are set up, and everything is closed at its end."""
    logs.configure(settings.service, settings.worker, settings.log_level, settings.log_format)
    failpoints.configure(settings.service, settings.failpoints_dir)
    metrics = MetricsServer(settings.metrics_listen)
    mesh = Mesh(settings)
    mesh.background("loop lag", watch_loop_lag)
    log.info("starting", pid=os.getpid(), metrics_port=metrics.port)
    try:
        yield mesh
    finally:
        await mesh.close()
        metrics.close()


def run(settings_type: type[S], main: Callable[[Mesh[S]], Awaitable[None]]) -> None:
    """Runs a service until SIGTERM or SIGINT, which drain it; a second one ends the process at once.

    Exits with 0 after a drain, 78 if settings are missing or wrong, 1 if the service could not start or failed.
    """
    settings = load_or_exit(settings_type)
    raise SystemExit(uvloop.run(_run(settings, main)))


async def _run(settings: S, main: Callable[[Mesh[S]], Awaitable[None]]) -> int:
    stop = Stop()  # first of all, so that no signal meets Python's own handling
    async with opened(settings) as mesh:
        task = asyncio.ensure_future(_begin(mesh, main))
        stop.told(mesh, task)
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            task.cancel()
            await asyncio.wait([task])
            raise
        return _outcome(task)


async def _begin(mesh: Mesh[S], main: Callable[[Mesh[S]], Awaitable[None]]) -> None:
    file = mesh.settings.start_file
    if file is not None:
        while not file.exists():  # noqa: ASYNC110 -- a file tells nobody; a stat takes 2 µs
            await asyncio.sleep(START_POLL_S)
    mesh.start = Patience()  # not of the wait for the file
    await main(mesh)


def _outcome(task: asyncio.Future[None]) -> int:
    if task.cancelled():
        return 0
    error = task.exception()
    if error is None:
        return 0
    if isinstance(error, SettingsError):
        sys.stderr.write(f"{error}\n")
        return 78
    log.error("the service failed", error=f"{type(error).__name__}: {error}", exc_info=error)
    return 1

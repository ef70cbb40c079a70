"""The gRPC server of a service: its handlers behind the pipeline, health, reflection, and a graceful end."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio  # type: ignore[attr-defined]

from services.mesh.access.control import AccessControl
from services.mesh.access.policies import Policy, policies_of
from services.mesh.access.workloads import Origins
from services.mesh.errors import MeshError
from services.mesh.http import HttpFront, HttpOptions
from services.mesh.http.routes import Render, raw_paths
from services.mesh.pipeline import ErrorRenderer, Limits, Pipeline, request_id_of
from services.mesh.reflection import add_reflection
from services.mesh.streams import DrainEvent
from services.mesh.telemetry.logs import get_logger
from services.mesh.telemetry.traces import Tracing
from services.mesh.tls import TlsFiles

log = get_logger()
T = TypeVar("T")
_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
LIVENESS = "liveness"
"""A name to ask health for: SERVING as soon as the process listens, ready or not. Who restarts what does not answer
asks for this one: "" is NOT_SERVING while auth is awaited, and a restart mends no such wait."""
# A client that pings more often than this is cut off; our clients ping every 30 s.
_PING_INTERVAL_MIN_MS = 10_000
_KEEPALIVE_MS = 60_000
_KEEPALIVE_TIMEOUT_MS = 10_000
_METADATA_BYTES_MAX = 16 * 1024


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """How a server listens, and how it ends."""

    listen: str = "127.0.0.1:0"
    message_bytes_max: int = 4 * 1024 * 1024
    connection_age_s: float = 600.0
    connection_grace_s: float = 960.0
    drain_s: float = 8.0
    ready_within_s: float = 10.0  # readiness that takes longer is reported
    origins: Origins | None = None  # what is believed of where calls come from
    tls: TlsFiles | None = None  # of the port `tls_listen`, for direct callers with certificates; None: there is none
    tls_listen: str = "127.0.0.1:0"
    http: HttpOptions | None = None  # of methods of raw bodies, beside gRPC; None: gRPC alone


class Server:
    """One server. `add` the servicers, then `serve`."""

    def __init__(
        self,
        access: AccessControl,
        *,
        options: ServerOptions | None = None,
        limits: Limits | None = None,
        tracing: Tracing | None = None,
        draining: DrainEvent | None = None,
        ready: Mapping[str, Callable[[], Awaitable[Any]]] | None = None,
        on_start: Callable[[], None] = lambda: None,
    ) -> None:
        """ready: what has to be before the server says that it serves, by name; each is awaited once."""
        self._on_start = on_start
        self._access, self._limits, self._tracing = access, limits, tracing
        self._options = options or ServerOptions()
        self.draining = draining or DrainEvent()
        self._ready = ready or {}
        self._additions: list[Callable[[Any], None]] = []
        self._services: list[str] = []
        self._renderers: dict[str, ErrorRenderer] = {}
        self._raw: dict[str, tuple[str, Any]] = {}  # path → full method name and handler
        self._front: HttpFront | None = None
        self._serving = False
        self._health = health_aio.HealthServicer()
        self._server: grpc.aio.Server | None = None
        self._readiness: asyncio.Task[None] | None = None
        self.pipeline: Pipeline | None = None
        self.port = 0
        self.http_port = 0
        self.tls_port = 0

    def add(
        self, register: Callable[[T, Any], None], servicer: T, *, render_error: ErrorRenderer | None = None
    ) -> None:
        """Adds a servicer with its generated `add_…Servicer_to_server`.

        render_error: for services whose clients read errors elsewhere than in gRPC's status.
        """
        registered = _registered(register, servicer)
        names = registered.names
        self._services += names
        self._additions.append(lambda server: register(servicer, server))
        if render_error is not None:
            for method in policies_of(names):
                self._renderers[method] = render_error
            # Who reads errors in raw bodies alone needs no more of gRPC than what stands there.
            for name in names:
                self._raw |= {path: (method, registered.handler_of(method)) for path, method in raw_paths(name).items()}

    async def start(self) -> int:
        """Listens, not yet ready; returns the port. Raises PolicyError, or OSError if the address is taken."""
        policies: dict[str, Policy] = policies_of(self._services)
        self.pipeline = Pipeline(
            self._access,
            policies,
            limits=self._limits,
            tracing=self._tracing,
            renderers=self._renderers,
            origins=self._options.origins,
        )
        server = grpc.aio.server(interceptors=[self.pipeline], options=self._channel_options())
        for add in self._additions:
            add(server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        add_reflection(server)
        for name in ("", *self._services):
            await self._health.set(name, _NOT_SERVING)
        await self._health.set(LIVENESS, _SERVING)
        self.port = _listen("LISTEN", self._options.listen, server.add_insecure_port)
        if self._options.tls is not None:
            secure = partial(server.add_secure_port, server_credentials=self._options.tls.credentials())
            self.tls_port = _listen("TLS_LISTEN", self._options.tls_listen, secure)
        await server.start()
        self._server = server
        if self._options.http is not None and self._raw:
            served = {path: self.pipeline.serve_of(method, handler) for path, (method, handler) in self._raw.items()}
            renders = {path: _rendering(self._renderers[method]) for path, (method, _) in self._raw.items()}
            self._front = HttpFront(served, self._options.http, lambda: self._serving, renders)
            self.http_port = await self._front.start()
        self._on_start()
        log.info("listening", address=f"{self._options.listen.rpartition(':')[0]}:{self.port}", services=self._services)
        self._readiness = asyncio.create_task(self._become_ready(), name="readiness")
        return self.port

    async def ready(self) -> None:
        """Waits until the server says that it serves."""
        assert self._readiness is not None
        await asyncio.shield(self._readiness)

    async def serve(self) -> None:
        """Listens until `draining` is set, then drains."""
        await self.start()
        await self.draining.wait()
        await self.stop()

    async def stop(self) -> None:
        """Says that it serves no more, lets calls under way end, and stops. Streams end by `guard`."""
        if self._server is None:
            return
        if self._readiness is not None:
            self._readiness.cancel()
            await asyncio.wait([self._readiness])
        self._serving = False
        await self._health.enter_graceful_shutdown()
        self.draining.set()
        log.info("draining", calls=self.pipeline.calls if self.pipeline else 0)
        drains: list[Awaitable[Any]] = [self._server.stop(self._options.drain_s)]
        if self._front is not None:
            drains.append(self._front.drain(self._options.drain_s))
        await asyncio.gather(*drains)
        self._server = None
        log.info("drained")

    async def _become_ready(self) -> None:
        waits = {name: asyncio.ensure_future(wait()) for name, wait in self._ready.items()}
        try:
            if waits:
                _, late = await asyncio.wait(waits.values(), timeout=self._options.ready_within_s)
                if late:
                    names = [name for name, one in waits.items() if one in late]
                    log.warning("not ready yet; serving what can be, health says NOT_SERVING", waits_for=names)
                await asyncio.gather(*waits.values())
        finally:
            for one in waits.values():
                one.cancel()
        for name in ("", *self._services):
            await self._health.set(name, _SERVING)
        self._serving = True
        log.info("ready")

    def _channel_options(self) -> list[tuple[str, int]]:
        options = self._options
        age_ms = int(options.connection_age_s * 1000)
        return [
            ("grpc.so_reuseport", 0),  # with a shared port, HTTP/2 would send everything to one process
            ("grpc.max_receive_message_length", options.message_bytes_max),
            ("grpc.max_send_message_length", options.message_bytes_max),
            ("grpc.max_metadata_size", _METADATA_BYTES_MAX),
            # gRPC itself adds a jitter of 10 %; ours spreads the processes that started together.
            ("grpc.max_connection_age_ms", int(age_ms * random.uniform(0.8, 1.0))),
            ("grpc.max_connection_age_grace_ms", int(options.connection_grace_s * 1000)),
            ("grpc.keepalive_time_ms", _KEEPALIVE_MS),
            ("grpc.keepalive_timeout_ms", _KEEPALIVE_TIMEOUT_MS),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.min_ping_interval_without_data_ms", _PING_INTERVAL_MIN_MS),
        ]


def _listen(setting: str, address: str, listen: Callable[[str], int]) -> int:
    try:
        return listen(address)
    except RuntimeError as error:
        raise OSError(f"PROMPTMESH_{setting}={address} cannot be listened on. Is another process there?") from error


class _Registry:
    """Stands in for a server, to learn which services a generated function adds, with which handlers."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self._handlers: list[Any] = []

    def add_generic_rpc_handlers(self, handlers: Sequence[Any]) -> None:
        self.names += [str(handler.service_name()) for handler in handlers]
        self._handlers += handlers

    def add_registered_method_handlers(self, service_name: str, handlers: Mapping[str, Any]) -> None:
        """The same service once more."""

    def handler_of(self, method: str) -> Any:
        """The handler of a method, by its full name."""
        details = _Details(method)
        return next(found for one in self._handlers if (found := one.service(details)) is not None)


@dataclass(frozen=True, slots=True)
class _Details:
    """What a generic handler asks of a call."""

    method: str
    invocation_metadata: tuple[()] = ()


def _rendering(render: ErrorRenderer) -> Render:
    """The same for errors that come before the pipeline."""

    def rendered(error: MeshError, metadata: Mapping[str, str]) -> tuple[Any, tuple[tuple[str, str], ...]]:
        said = render(error, request_id_of(metadata), started=False)
        return said.message, said.metadata

    return rendered


def _registered(register: Callable[[T, Any], None], servicer: T) -> _Registry:
    registry = _Registry()
    register(servicer, registry)
    return registry

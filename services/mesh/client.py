"""Channels to other services. What every call needs is put on it here: deadline, mesh token, request id, trace; and how
long it took is measured.

gRPC's own client interceptors cost a task or two for each call; a channel that hands out dressed-up callables costs a
function call, and generated stubs cannot tell.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import grpc
import orjson

from services.mesh.access.service_tokens import ServiceTokens
from services.mesh.call import Call, current_or_none
from services.mesh.deadlines import timeout_for
from services.mesh.ids import uuid7
from services.mesh.methods import safe_methods
from services.mesh.reflection import all_service_descriptors
from services.mesh.telemetry import metrics
from services.mesh.telemetry.traces import exemplar_of

RETRY_ATTEMPTS = 3
_KEEPALIVE_MS = 30_000
_KEEPALIVE_TIMEOUT_MS = 5_000
# First, most. Short, since a service that starts or is back is missed by all others; a try costs one packet.
_RECONNECT_MS = (50, 500)


@dataclass(frozen=True, slots=True)
class ClientOptions:
    """How calls to other services behave."""

    timeout_s: float = 5.0  # of a unary call that names none
    margin_s: float = 0.02
    message_bytes_max: int = 4 * 1024 * 1024
    balancing: str = "round_robin"  # or "pick_first", where the addresses after the first only stand in for it


def channel(target: str, tokens: ServiceTokens, options: ClientOptions | None = None) -> MeshChannel:
    """A channel to a service. target: as gRPC takes it ("dns:///prompts:50051", "ipv4:127.0.0.1:1,127.0.0.1:2").

    Connects on first use. A service that is away answers UNAVAILABLE at once (wait_for_ready is off).
    """
    options = options or ClientOptions()
    arguments = [
        ("grpc.service_config", service_config(options.balancing)),
        ("grpc.keepalive_time_ms", _KEEPALIVE_MS),
        ("grpc.keepalive_timeout_ms", _KEEPALIVE_TIMEOUT_MS),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.initial_reconnect_backoff_ms", _RECONNECT_MS[0]),
        ("grpc.max_reconnect_backoff_ms", _RECONNECT_MS[1]),
        ("grpc.max_receive_message_length", options.message_bytes_max),
        ("grpc.max_send_message_length", options.message_bytes_max),
        # Channels of one process to one target would share connections, and so one channel's end.
        ("grpc.use_local_subchannel_pool", 1),
        # Between services there is no proxy; one in the environment is for the providers.
        ("grpc.enable_http_proxy", 0),
    ]
    return MeshChannel(grpc.aio.insecure_channel(target, options=arguments), tokens, options)


def service_config(balancing: str = "round_robin") -> str:
    """gRPC's service config: the balancing, and retries of methods that only read, throttled."""
    return orjson.dumps(
        {
            "loadBalancingConfig": [{balancing: {}}],
            "methodConfig": [
                {
                    "name": [
                        {"service": service, "method": method}
                        for service, method in safe_methods(all_service_descriptors())
                    ],
                    "retryPolicy": {
                        "maxAttempts": RETRY_ATTEMPTS,
                        "initialBackoff": "0.05s",
                        "maxBackoff": "0.5s",
                        "backoffMultiplier": 2,
                        # CANCELLED: a gRPC server that drains says so to what comes before its GOAWAY is heard.
                        "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED"],
                    },
                }
            ],
            # A service that is down gets one retry in ten calls, not two for each.
            "retryThrottling": {"maxTokens": 10, "tokenRatio": 0.1},
        }
    ).decode()


class _Account:
    """How long the calls of one method took, its series looked up once for each status."""

    __slots__ = ("_durations", "_name")

    def __init__(self, name: str) -> None:
        self._name = name
        self._durations: dict[grpc.StatusCode, Any] = {}

    def ended(self, made: Any, began_s: float, above: Call | None) -> None:
        """A call has ended; above: the call that it was made for."""
        duration_s = time.perf_counter() - began_s
        asked = made.code()  # a coroutine that has nothing to wait for any more
        try:
            asked.send(None)
        except StopIteration as known:
            code: grpc.StatusCode = known.value
        else:
            asked.close()
            return
        duration = self._durations.get(code)
        if duration is None:
            duration = metrics.RPC_CLIENT_DURATION.labels(metrics.RPC_SYSTEM, self._name, code.name)
            self._durations[code] = duration
        duration.observe(duration_s, exemplar_of(above.traceparent) if above is not None and above.span else None)


class MeshChannel(grpc.aio.Channel):
    """A channel whose calls carry what the mesh wants them to carry."""

    def __init__(self, inner: grpc.aio.Channel, tokens: ServiceTokens, options: ClientOptions) -> None:
        self._inner, self._tokens, self._options = inner, tokens, options

    def unary_unary(self, method: Any, *arguments: Any, **options: Any) -> Any:
        return self._dressed(method, self._inner.unary_unary(method, *arguments, **options), self._options.timeout_s)

    def unary_stream(self, method: Any, *arguments: Any, **options: Any) -> Any:
        return self._dressed(method, self._inner.unary_stream(method, *arguments, **options), None)

    def stream_unary(self, method: Any, *arguments: Any, **options: Any) -> Any:
        return self._dressed(method, self._inner.stream_unary(method, *arguments, **options), self._options.timeout_s)

    def stream_stream(self, method: Any, *arguments: Any, **options: Any) -> Any:
        return self._dressed(method, self._inner.stream_stream(method, *arguments, **options), None)

    def _dressed(self, method: str, inner: Callable[..., Any], default_timeout_s: float | None) -> Callable[..., Any]:
        margin_s, account = self._options.margin_s, _Account(method[1:])

        def call(request: Any = None, *, timeout: float | None = None, metadata: Any = None, **more: Any) -> Any:
            above = current_or_none()
            timeout_s = timeout_for(default_timeout_s if timeout is None else timeout, margin_s)
            began_s = time.perf_counter()
            made = inner(request, timeout=timeout_s, metadata=self._metadata(above, metadata), **more)
            made.add_done_callback(lambda ended: account.ended(ended, began_s, above))
            return made

        return call

    def _metadata(self, call: Call | None, given: Any) -> tuple[tuple[str, str | bytes], ...]:
        request_id = call.request_id if call is not None else uuid7()
        ours: tuple[tuple[str, str | bytes], ...] = (
            ("authorization", f"Bearer {self._tokens.token()}"),
            ("x-request-id", request_id),
        )
        if call is not None and call.traceparent:
            ours += (("traceparent", call.traceparent),)
        return ours + tuple(given) if given else ours

    async def close(self, grace: float | None = None) -> None:
        await self._inner.close(grace)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        return self._inner.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        await self._inner.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        await self._inner.channel_ready()

    async def __aenter__(self) -> MeshChannel:
        return self

    async def __aexit__(self, *_exception: Any) -> None:
        await asyncio.shield(self.close(None))

"""Prometheus metrics of the kit, on a port of their own; docs/observability.md tells them all.

Names and labels are those of OpenTelemetry's semantic conventions, as Prometheus writes them, where it has one
(`rpc.server.call.duration` is `rpc_server_call_duration_seconds`), else `promptmesh_…`. A label takes its values from
the contracts, the configuration or a list in the code, never from what callers send.
"""

from __future__ import annotations

from typing import Any

from prometheus_client import Counter, Gauge, Histogram, disable_created_metrics, start_http_server

# In OpenMetrics each series would bring a second one that says when it began; nobody asks for those.
disable_created_metrics()  # type: ignore[no-untyped-call]

# From a cache hit to the longest unary call; a stream's whole life falls in the last ones.
_DURATION_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0)
RPC_SYSTEM = "grpc"
_RPC = ("rpc_method",)  # with its service: promptmesh.prompts.v1.PostService/GetPost

RPC_DURATION = Histogram(
    "rpc_server_call_duration_seconds",
    "How long calls took, until their last message.",
    ("rpc_system_name", *_RPC, "rpc_response_status_code"),
    buckets=_DURATION_BUCKETS_S,
)
RPC_CLIENT_DURATION = Histogram(
    "rpc_client_call_duration_seconds",
    "How long calls of other services took, retries included, as their caller saw it.",
    ("rpc_system_name", *_RPC, "rpc_response_status_code"),
    buckets=_DURATION_BUCKETS_S,
)
RPC_STARTED = Counter("rpc_server_started", "Calls that began.", _RPC)
RPC_IN_FLIGHT = Gauge("rpc_server_in_flight", "Calls under way, streams included.", _RPC)
RPC_ERRORS = Counter("promptmesh_errors", "Calls that ended in an error, by its reason.", (*_RPC, "reason"))

FEED_VERSION = Gauge("promptmesh_feed_version", "Version of a snapshot that a feed keeps up to date.", ("feed",))
FEED_CONNECTED = Gauge("promptmesh_feed_connected", "Whether the feed is connected.", ("feed",))
FEED_HEARD = Gauge("promptmesh_feed_heard_timestamp_seconds", "When the feed last said anything.", ("feed",))
FEED_RESYNCS = Counter("promptmesh_feed_resyncs", "How often a feed sent its whole state.", ("feed",))

CREDENTIALS = Counter("promptmesh_credentials", "Credentials looked at, by what became of them.", ("kind", "outcome"))
LIVE_DROPPED = Counter("promptmesh_live_dropped", "Live messages that Redis did not take.", ("stream",))
REDIS_FAILED = Counter("promptmesh_redis_failed", "Redis calls that failed or took too long.", ("kind",))
BACKGROUND_FAILED = Counter("promptmesh_background_failed", "Background tasks that failed and began again.", ("task",))
LOOP_LAG = Gauge("promptmesh_loop_lag_seconds", "The longest stall of the event loop in the last 60 s.")


class MetricsServer:
    """Serves what the process measures at `/metrics`."""

    def __init__(self, listen: str) -> None:
        host, _, port = listen.rpartition(":")
        started: Any = start_http_server(int(port), addr=host.strip("[]"))
        self._server, self._thread = started
        self.port: int = self._server.server_port

    def close(self) -> None:
        """Stops serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

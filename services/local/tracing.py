"""What the edge is told of traces: where the services send theirs, and how many are recorded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.collector import takes_spans

RATIO = "PROMPTMESH_TRACE_RATIO"
_ENDPOINT, _ENDPOINT_OF_TRACES = "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
_DISABLED = "OTEL_SDK_DISABLED"
_PATH = "/v1/traces"  # of OTLP over HTTP


def edge_tracing(environment: Mapping[str, str]) -> dict[str, Any]:
    """Settings of the edge, from the environment of the services.

    The edge sends no headers and speaks no TLS to a collector, and knows no user of it: with one that wants any of
    these, it makes no spans, and the services do.
    """
    found: dict[str, Any] = {}
    try:
        # What is no number, or too large, the services refuse by name.
        found["trace_ratio"] = min(1.0, max(0.0, float(environment.get(RATIO) or 0.0)))
    except ValueError:
        found["trace_ratio"] = 0.0
    base = environment.get(_ENDPOINT, "")
    # Nothing is recorded by services that have no base, whatever the more particular one says.
    address = environment.get(_ENDPOINT_OF_TRACES) or base.rstrip("/") + _PATH
    off = environment.get(_DISABLED, "").strip().lower() == "true"  # as the SDK reads it
    headers = any(name.endswith("_HEADERS") for name in _told(environment))
    if base and not off and not headers and takes_spans(address):
        found["trace_collector"] = address
    return found


def _told(environment: Mapping[str, str]) -> list[str]:
    return [name for name, value in environment.items() if name.startswith("OTEL_EXPORTER_OTLP_") and value]

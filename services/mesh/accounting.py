"""What is written down of every call: metrics, the access log, and a span if it is sampled."""

from __future__ import annotations

import time
from typing import Any

import grpc

from services.mesh.call import Call
from services.mesh.methods import is_read
from services.mesh.telemetry import logs, metrics
from services.mesh.telemetry.traces import Tracing, end_span, exemplar_of


class MethodAccount:
    """The accounts of one method, its metrics looked up once."""

    __slots__ = ("_durations", "_in_flight", "_name", "_quiet", "_started", "method")

    def __init__(self, method: str) -> None:
        self.method = method
        self._name = method[1:]
        self._quiet = is_read(method.rpartition("/")[2])
        self._started = metrics.RPC_STARTED.labels(self._name)
        self._in_flight = metrics.RPC_IN_FLIGHT.labels(self._name)
        self._durations: dict[grpc.StatusCode, Any] = {}

    def began(self, call: Call, tracing: Tracing) -> None:
        """A call begins."""
        call.begin_s = time.perf_counter()
        self._started.inc()
        self._in_flight.inc()
        if tracing.records(call.traceparent):
            span, call.traceparent = tracing.start_span(self._name, call.traceparent)
            span.set_attributes({"rpc.system.name": metrics.RPC_SYSTEM, "rpc.method": self._name})
            call.span = span

    def ended(self, call: Call, code: grpc.StatusCode, reason: str) -> None:
        """The call is over; reason: of its error, "" if there was none."""
        duration_s = time.perf_counter() - call.begin_s
        self._in_flight.dec()
        duration = self._durations.get(code)
        if duration is None:
            duration = self._durations[code] = metrics.RPC_DURATION.labels(metrics.RPC_SYSTEM, self._name, code.name)
        duration.observe(duration_s, None if call.span is None else exemplar_of(call.traceparent))
        if reason:
            metrics.RPC_ERRORS.labels(self._name, reason).inc()
        well = code is grpc.StatusCode.OK
        logs.access_line(call, code.name, duration_s, reason, quiet=well and self._quiet)
        if call.span is not None:
            call.span.set_attribute("rpc.response.status_code", code.name)
            end_span(call.span, "" if well else reason or code.name)

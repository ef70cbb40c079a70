"""Traces: W3C traceparent everywhere, OpenTelemetry spans only for calls that are sampled.

OpenTelemetry's own interceptor costs 100 µs for a call that is not sampled (seen), so the decision comes before it:
the flag of the traceparent that came with the call, else PROMPTMESH_TRACE_RATIO. Without OTEL_EXPORTER_OTLP_ENDPOINT
nothing is recorded and nothing of the SDK is imported; trace ids travel all the same.
"""

from __future__ import annotations

import os
import random
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from services.mesh.call import current_or_none

if TYPE_CHECKING:
    from opentelemetry.trace import Span

ENDPOINT_VARIABLE = "OTEL_EXPORTER_OTLP_ENDPOINT"
_TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


def new_traceparent(sampled: bool) -> str:
    """A traceparent of a new trace."""
    ids = os.urandom(24).hex()
    return f"00-{ids[:32]}-{ids[32:]}-{'01' if sampled else '00'}"


def valid(traceparent: str) -> bool:
    """Whether it is a traceparent of W3C's version 00."""
    return len(traceparent) == 55 and _TRACEPARENT.fullmatch(traceparent) is not None


def exemplar_of(traceparent: str) -> dict[str, str]:
    """Labels of an exemplar: a measurement that names the trace it is of."""
    return {"trace_id": traceparent[3:35], "span_id": traceparent[36:52]}


def is_sampled(traceparent: str) -> bool:
    """Whether the flag of a valid traceparent says that the trace is recorded."""
    return int(traceparent[53:55], 16) & 1 == 1


class Tracing:
    """Decides what is recorded, and records it."""

    def __init__(self, service: str, worker: str, ratio: float) -> None:
        self._ratio = ratio
        self._tracer: Any = None
        self._provider: Any = None
        if os.environ.get(ENDPOINT_VARIABLE):
            self._start(service, worker)

    def traceparent_of(self, incoming: str) -> str:
        """The traceparent of a call: the one that came, if it is valid, else one of a new trace."""
        if incoming and valid(incoming):
            return incoming
        return new_traceparent(self._ratio > 0.0 and random.random() < self._ratio)

    @property
    def recording(self) -> bool:
        """Whether anything is recorded at all."""
        return self._tracer is not None

    def records(self, traceparent: str) -> bool:
        """Whether spans of this trace are recorded here."""
        return self._tracer is not None and is_sampled(traceparent)

    def start_span(
        self, name: str, traceparent: str, kind: str = "SERVER", start_ns: int | None = None
    ) -> tuple[Span, str]:
        """Starts a span below `traceparent`, and returns it with the traceparent for what happens inside.
        start_ns: when it began, since the epoch; None: now."""
        from opentelemetry import trace

        parent = trace.SpanContext(
            int(traceparent[3:35], 16),
            int(traceparent[36:52], 16),
            is_remote=True,
            trace_flags=trace.TraceFlags(trace.TraceFlags.SAMPLED),
        )
        span: Span = self._tracer.start_span(
            name,
            context=trace.set_span_in_context(trace.NonRecordingSpan(parent)),
            kind=trace.SpanKind[kind],
            start_time=start_ns,
        )
        own = span.get_span_context()
        return span, f"00-{own.trace_id:032x}-{own.span_id:016x}-01"

    @contextmanager
    def span(self, name: str, traceparent: str = "", **attributes: str | int | float | bool) -> Iterator[str]:
        """A span around a piece of work, below `traceparent` or the current call's; yields the inner traceparent."""
        call = current_or_none()
        above = traceparent or (call.traceparent if call is not None else "")
        if not above or not valid(above) or not self.records(above):
            yield above
            return
        span, inside = self.start_span(name, above, "INTERNAL")
        span.set_attributes(attributes)
        try:
            yield inside
        except BaseException as error:
            end_span(span, type(error).__name__)
            raise
        end_span(span, "")

    def record(
        self,
        name: str,
        traceparent: str,
        *,
        kind: str,
        begin_ns: int,
        end_ns: int,
        attributes: Mapping[str, str | int | float | bool],
        error: str = "",
    ) -> None:
        """A span of what is over, below `traceparent` if that is recorded. Times since the epoch, in nanoseconds."""
        if not valid(traceparent) or not self.records(traceparent):
            return
        span, _ = self.start_span(name, traceparent, kind, begin_ns)
        span.set_attributes(attributes)
        end_span(span, error, end_ns)

    def close(self) -> None:
        """Sends what is recorded and stops."""
        if self._provider is not None:
            self._provider.shutdown()

    def _start(self, service: str, worker: str) -> None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.sampling import ALWAYS_ON

        names = {"service.name": f"promptmesh-{service}", "service.instance.id": worker}
        self._provider = TracerProvider(resource=Resource.create(names), sampler=ALWAYS_ON)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("promptmesh")


def end_span(span: Span, error: str, end_ns: int | None = None) -> None:
    """Ends a span; `error` is what went wrong, "" if nothing did. end_ns: when it ended, since the epoch; None: now."""
    if error:
        from opentelemetry.trace import Status, StatusCode

        span.set_attribute("error.type", error)
        span.set_status(Status(StatusCode.ERROR, error))
    span.end(end_time=end_ns)

"""Spans of events on their way from the outbox to their stream."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from promptmesh.events.v1.events_pb2 import Envelope

if TYPE_CHECKING:
    from services.mesh.telemetry.traces import Tracing

_NANOS_PER_S = 1_000_000_000
_SAMPLED_FLAG = b"-01"  # ends the traceparent of an event that is traced; elsewhere it costs a look inside


def trace_published(tracing: Tracing, envelopes: Iterable[bytes]) -> None:
    """A span for each traced event, from its creation to now, when it is in its stream."""
    if not tracing.recording:
        return
    now_ns = time.time_ns()
    for one in envelopes:
        if _SAMPLED_FLAG not in one:
            continue
        event = Envelope.FromString(one)
        created = event.create_time
        tracing.record(
            f"publish {event.type}",
            event.traceparent,
            kind="PRODUCER",
            begin_ns=min(now_ns, created.seconds * _NANOS_PER_S + created.nanos),
            end_ns=now_ns,
            attributes={
                "messaging.system": "redis",
                "messaging.operation.type": "send",
                "messaging.message.id": event.id,
            },
        )

"""Which events are being handled: for log lines, and so that what follows from them carries their traces on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Protocol

from services.mesh.call import Call, current_or_none, enter

if TYPE_CHECKING:
    from services.mesh.events.envelope import Event

_SAMPLED = "01"  # flags that end a W3C traceparent

# Of the events being handled, by aggregate: a handler does a batch, so there is no one trace that it belongs to.
_traceparents: ContextVar[Mapping[str, str] | None] = ContextVar("handled_traceparents", default=None)


class Tracer(Protocol):
    """What records spans: `services.mesh.telemetry.traces.Tracing`."""

    def span(self, name: str, traceparent: str = "") -> AbstractContextManager[str]:
        """A span below `traceparent`; yields the traceparent of what happens inside."""


@contextmanager
def handling(consumer: str, events: Sequence[Event], tracer: Tracer | None) -> Iterator[None]:
    """Around the handling of events: a span for each that is traced; log lines carry the first one's id."""
    with ExitStack() as spans:
        traceparents: dict[str, str] = {}
        for event in events:
            if event.traceparent:
                inside = event.traceparent
                if tracer is not None and inside.endswith(_SAMPLED):
                    inside = spans.enter_context(tracer.span(f"{consumer} {event.type}", inside))
                traceparents[event.aggregate_id] = inside
        alone = traceparents.get(events[0].aggregate_id, "") if len(events) == 1 else ""
        enter(Call(events[0].id, f"/events/{consumer}", traceparent=alone))
        token = _traceparents.set(traceparents)
        try:
            yield
        finally:
            _traceparents.reset(token)


def traceparent_for(aggregate_id: str) -> str:
    """W3C traceparent for an event about an aggregate: of the event about it that is being handled, else of the call
    under way, else ''."""
    handled = _traceparents.get()
    if handled and aggregate_id in handled:
        return handled[aggregate_id]
    call = current_or_none()
    return call.traceparent if call is not None else ""

"""Which event is being handled: for log lines, and so that events that follow from it carry its trace on."""

from __future__ import annotations

from contextvars import ContextVar

from services.mesh.call import current_or_none

_traceparent: ContextVar[str] = ContextVar("event_traceparent", default="")


def set_traceparent(traceparent: str) -> None:
    """Says whose trace the work of this task belongs to; '' for none."""
    _traceparent.set(traceparent)


def traceparent() -> str:
    """W3C traceparent of the call under way, else of the event being handled, else ''."""
    call = current_or_none()
    return call.traceparent if call is not None and call.traceparent else _traceparent.get()

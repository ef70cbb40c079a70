"""How long changes took that a transaction makes, kept until it has committed: what is rolled back did not happen."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from datetime import datetime

from prometheus_client import Histogram

from services.mesh.events import Event
from services.mesh.telemetry.traces import exemplar_of, is_sampled, valid

FORGOTTEN_MAX = 10_000  # of transactions that were rolled back: their events come again, or become dead letters


class Waits:
    """Measurements by the event that made them."""

    def __init__(self) -> None:
        self._made: OrderedDict[str, tuple[Histogram, float]] = OrderedDict()

    def made(self, event: Event, series: Histogram, since: datetime, until: datetime) -> None:
        """A change was made in the transaction of an event."""
        self._made[event.id] = (series, max(0.0, (until - since).total_seconds()))
        if len(self._made) > FORGOTTEN_MAX:
            self._made.popitem(last=False)

    def committed(self, events: Iterable[Event]) -> None:
        """The changes of these events are there."""
        for event in events:
            known = self._made.pop(event.id, None)
            if known is not None:
                traced = event.traceparent and valid(event.traceparent) and is_sampled(event.traceparent)
                known[0].observe(known[1], exemplar_of(event.traceparent) if traced else None)

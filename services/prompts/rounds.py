"""A batch of events as rounds, in which no post comes twice: one statement cannot change a row two times."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from services.mesh.events import Event


def rounds(events: Iterable[Event]) -> Iterator[Sequence[Event]]:
    """The first event of every post, then every second one, and so on; nearly always there is one round."""
    waiting: list[dict[str, Event]] = []
    count: dict[str, int] = {}
    for event in events:
        number = count.get(event.aggregate_id, 0)
        count[event.aggregate_id] = number + 1
        if number == len(waiting):
            waiting.append({})
        waiting[number][event.aggregate_id] = event
    for one in waiting:
        yield list(one.values())

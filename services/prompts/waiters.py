"""Who watches in this process, and what each waits for."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from services.mesh.errors import MeshError
from services.mesh.events import Event

EVENTS_MAX = 256  # of one post, not yet read by one watcher


@dataclass(slots=True, eq=False)
class Waiter:
    """One watcher. `wake` is set when there is anything in the others."""

    wake: asyncio.Event = field(default_factory=asyncio.Event)
    events: deque[Event] = field(default_factory=deque)  # of the one post watched, in order
    posts: set[str] = field(default_factory=set)  # with more text of their examples
    error: MeshError | None = None  # the watch cannot go on


class Waiters:
    """Hands events and hints on to those who wait for them. Never waits itself: who reads too slowly is let go."""

    def __init__(self) -> None:
        self._of_post: dict[str, set[Waiter]] = {}
        self._of_feed: set[Waiter] = set()

    @contextmanager
    def of_post(self, post_id: str) -> Iterator[Waiter]:
        """Waits for events and text of one post, from now on."""
        waiter = Waiter()
        group = self._of_post.setdefault(post_id, set())
        group.add(waiter)
        try:
            yield waiter
        finally:
            group.discard(waiter)
            if not group and self._of_post.get(post_id) is group:
                del self._of_post[post_id]

    @contextmanager
    def of_feed(self) -> Iterator[Waiter]:
        """Waits for text of all posts, from now on. Events a feed reads for itself, as it may begin long ago."""
        waiter = Waiter()
        self._of_feed.add(waiter)
        try:
            yield waiter
        finally:
            self._of_feed.discard(waiter)

    def event(self, event: Event) -> None:
        """An event of the log."""
        for waiter in self._of_post.get(event.aggregate_id, ()):
            if len(waiter.events) < EVENTS_MAX:
                waiter.events.append(event)
            else:
                waiter.error = too_slow()
            waiter.wake.set()

    def text(self, post_id: str) -> None:
        """There is more text of a post's example."""
        for group in (self._of_post.get(post_id, ()), self._of_feed):
            for waiter in group:
                waiter.posts.add(post_id)
                waiter.wake.set()

    def fail(self, error: MeshError) -> None:
        """Ends the watches of single posts: events were missed."""
        for group in self._of_post.values():
            for waiter in group:
                waiter.error = error
                waiter.wake.set()


def too_slow() -> MeshError:
    """What a watcher is told that events have overtaken."""
    return MeshError("WATCHER_TOO_SLOW", "The watch fell behind what happens. Watch again.", retry_after_s=1.0)

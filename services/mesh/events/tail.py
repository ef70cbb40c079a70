"""The tail: this service's own log, in order of position, gapless, for watchers. From PostgreSQL, so Redis may be away.

One follower reads the log for all subscribers of the process and decodes each event once. A subscriber that begins in
the past reads pages of its own until it has caught up, and is then handed over: nothing is awaited between comparing
its place with the follower's and registering, so there is neither gap nor duplicate.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass

from promptmesh.events.v1.events_pb2 import Envelope

from services.mesh.backoff import Backoff
from services.mesh.database import Database, queries
from services.mesh.errors import MeshError
from services.mesh.events.envelope import Decoder, EnvelopeError, Event
from services.mesh.events.metrics import TAIL_SLOW, TAIL_SUBSCRIBERS
from services.mesh.ids import SYSTEM_CLOCK, Clock

log = logging.getLogger(__name__)

SQL = queries("services.mesh.events", "sql")

FIRST_PAUSE_S = 0.05
MAX_PAUSE_S = 1.0
POLL_S = 0.1
TOLD_POLL_S = 1.0  # of a tail that a relay tells, which looks five times a second: only in case it hangs


@dataclass(frozen=True, slots=True)
class TailOptions:
    """How the tail paces and bounds itself."""

    page: int = 500
    poll_interval_s: float | None = None
    """While there are subscribers: for what other workers number. None: POLL_S, or TOLD_POLL_S where a relay tells."""
    queue_events: int = 1000
    """How far a subscriber may fall behind before it is cut."""
    max_subscribers: int = 2000
    """Of this process."""
    resume_s: float | None = None
    """How old the oldest event may be that a subscriber begins with; None: as old as is kept."""
    catch_up_reads_max: int = 2
    """Of the past, at once in this process: those who resume leave the rest of the pool to others."""


@dataclass(frozen=True, slots=True)
class _Page:
    """rows: as many as were read; events: those among them that are of known types."""

    events: list[Event]
    rows: int
    last: int


class _Subscriber:
    """Events that wait for one reader."""

    __slots__ = ("after", "changed", "events", "failed")

    def __init__(self) -> None:
        self.after = 0
        self.events: deque[Event] = deque()
        self.changed = asyncio.Event()
        self.failed: MeshError | None = None


class Tail:
    """Follows the log; `run` has to be running while there are subscribers."""

    def __init__(
        self, database: Database, options: TailOptions | None = None, *, told: bool = False, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        self._database = database
        self._options = options or TailOptions()
        given_s = self._options.poll_interval_s
        self._poll_interval_s = given_s if given_s is not None else TOLD_POLL_S if told else POLL_S
        self._clock = clock
        self._decoder = Decoder(None)
        self._subscribers: set[_Subscriber] = set()
        self._places = 0
        self._position: int | None = None  # up to where the follower has read; None: nobody is registered
        self._woken = asyncio.Event()
        self.head = 0
        """The last position of the log, as far as this process knows."""
        self.past_reads = asyncio.Semaphore(self._options.catch_up_reads_max)
        """Held while the database is read for one who catches up, and never with a connection in hand."""

    def sequenced(self, head: int) -> None:
        """The relay of this process looked: the log ends there."""
        if head > self.head:
            self.head = head
            self._woken.set()

    @asynccontextmanager
    async def subscribe(self, after: int | None = None) -> AsyncIterator[AsyncIterator[Event]]:
        """All events after a position, without end; None: those from now on.

        Raises MeshError: WATCH_LIMIT (too many subscribers here), CURSOR_EXPIRED (what follows `after` is no longer
        kept or older than `resume_s`, or the log does not reach so far); from the iteration WATCHER_TOO_SLOW, and
        DEPENDENCY_UNAVAILABLE while the past is being read.
        """
        if self._places >= self._options.max_subscribers:
            raise MeshError(
                "WATCH_LIMIT", "As many watch streams are open here as can be served; try again.", retry_after_s=2.0
            )
        subscriber = _Subscriber()
        self._count_places(1)
        try:
            cursor = await self._begin(after)
            if after is None:
                self._register(subscriber, cursor)
            async with aclosing(self._events(subscriber, cursor)) as events:
                yield events
        finally:
            self._count_places(-1)
            self._subscribers.discard(subscriber)
            if not self._subscribers:
                self._position = None

    async def run(self) -> None:
        """Follows the log for the subscribers until it is cancelled."""
        backoff = Backoff(FIRST_PAUSE_S, MAX_PAUSE_S)
        while True:
            if self._position is None:
                self._woken.clear()
                await self._woken.wait()
                continue
            try:
                rows = await self._follow(self._position)
                backoff.reset()
            except MeshError as error:
                pause_s = backoff.next_s()
                log.warning("the log cannot be followed now, again in %.2f s: %s", pause_s, error)
                await asyncio.sleep(pause_s)
                continue
            if rows < self._options.page:
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._poll_interval_s):
                        await self._woken.wait()
            self._woken.clear()

    async def _follow(self, position: int) -> int:
        page = await self._page(position)
        if self._position != position:
            # All subscribers left meanwhile, and another came who begins elsewhere.
            return self._options.page
        for event in page.events:
            for subscriber in self._subscribers:
                if event.position > subscriber.after:
                    self._deliver(subscriber, event)
        self._position = page.last
        return page.rows

    def _deliver(self, subscriber: _Subscriber, event: Event) -> None:
        if subscriber.failed is None and len(subscriber.events) >= self._options.queue_events:
            TAIL_SLOW.inc()
            subscriber.events.clear()
            subscriber.failed = MeshError(
                "WATCHER_TOO_SLOW",
                f"More than {self._options.queue_events} events waited for this reader. Resume with `after`.",
            )
        if subscriber.failed is None:
            subscriber.events.append(event)
        subscriber.changed.set()

    async def _begin(self, after: int | None) -> int:
        async with self._database.connection() as connection:
            row = await connection.fetchrow(SQL["head"])
        assert row is not None
        head, dropped = row["position"], row["dropped"]
        self.head = max(self.head, head)
        if after is None:
            return int(head)
        if after < dropped:
            raise _expired(after, dropped, head, "What follows this position is no longer kept.")
        if after > head:
            # As after the database was put back to an older state.
            raise _expired(after, dropped, head, "The log does not reach this position.")
        if after < head and self._options.resume_s is not None:
            await self._refuse_old(after, dropped, head, self._options.resume_s)
        return after

    async def _refuse_old(self, after: int, dropped: int, head: int, resume_s: float) -> None:
        # What follows decides, not what was seen last: that may be old only because nothing has happened since.
        async with self.past_reads, self._database.connection() as connection:
            row = await connection.fetchrow(SQL["tail_page"], after, 1)
        if row is None:
            raise _expired(after, dropped, head, "What follows this position was dropped meanwhile.")
        age_s = self._clock.time() - Envelope.FromString(row["envelope"]).create_time.ToNanoseconds() / 1e9
        if age_s > resume_s:
            raise _expired(
                after, dropped, head, f"What follows this position is older than {resume_s / 3600:g} hours, the limit."
            )

    def _register(self, subscriber: _Subscriber, cursor: int) -> bool:
        """Hands a subscriber that has read up to `cursor` to the follower, unless that one has read further."""
        if self._position is None:
            self._position = cursor
        elif self._position > cursor:
            return False
        subscriber.after = cursor
        self._subscribers.add(subscriber)
        self._woken.set()
        return True

    async def _events(self, subscriber: _Subscriber, cursor: int) -> AsyncGenerator[Event, None]:
        while subscriber not in self._subscribers:
            # What is far behind is read here, at the reader's pace, and not through its bounded queue.
            if self.head - cursor < self._options.page and self._register(subscriber, cursor):
                break
            async with self.past_reads:
                page = await self._page(cursor)
            if page.rows == 0:
                raise _expired(cursor, cursor, self.head, "What follows this position was dropped meanwhile.")
            for event in page.events:
                yield event
            cursor = page.last
        while True:
            while subscriber.events:
                yield subscriber.events.popleft()
            if subscriber.failed is not None:
                raise subscriber.failed
            subscriber.changed.clear()
            await subscriber.changed.wait()

    async def _page(self, after: int) -> _Page:
        async with self._database.connection() as connection:
            rows = await connection.fetch(SQL["tail_page"], after, self._options.page)
        events: list[Event] = []
        for row in rows:
            try:
                event = self._decoder.decode(row["envelope"], row["position"], row["partition"])
            except EnvelopeError:
                log.exception("the own log holds an event that cannot be read; watchers do not see it")
                continue
            if event is not None:
                events.append(event)
        last = rows[-1]["position"] if rows else after
        self.head = max(self.head, last)
        return _Page(events, len(rows), last)

    def _count_places(self, more: int) -> None:
        self._places += more
        TAIL_SUBSCRIBERS.set(self._places)


def _expired(after: int, oldest: int, head: int, why: str) -> MeshError:
    return MeshError(
        "CURSOR_EXPIRED",
        f"{why} Read the present state, then watch from now.",
        metadata={"after": str(after), "oldest": str(oldest), "head": str(head)},
    )

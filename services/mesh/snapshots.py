"""A snapshot kept up to date by a Watch of its owner: numbered changes, the whole state again after a gap.

Not Redis pub/sub, which forgets: the feed says its version, so what was missed is noticed. While the owner is away the
last state stays, and says how old it is.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterable, Callable
from typing import Any, Generic, Protocol, TypeVar

import grpc

from services.mesh.backoff import Backoff
from services.mesh.errors import MeshError
from services.mesh.ids import SYSTEM_CLOCK, Clock
from services.mesh.telemetry import metrics

FIRST_PAUSE_S_MAX = 0.25
"""Between tries until the feed was there once: a process that has just started serves nothing without it."""
BRIEF_S = 10.0
"""A stream that ends this soon after it connected was no use of a feed: ended again and again, it would send its whole
state ten times a second. Far below the age at which streams end of themselves (PROMPTMESH_STREAM_AGE_S)."""

M = TypeVar("M")
M_contra = TypeVar("M_contra", contravariant=True)
log = logging.getLogger(__name__)


class ResyncError(Exception):
    """The message does not follow on what is known: the whole state is needed."""


class Applied(Protocol[M_contra]):
    """Applies one message of a feed to the snapshot."""

    def __call__(self, message: M_contra, /) -> int:
        """Returns the version that the snapshot then has. Raises ResyncError if messages are missing before it."""


class Follower(Generic[M]):
    """Follows one feed for ever.

    watch: opens the feed after a version (0: from the whole state). apply: puts a message into the snapshot.
    silence_s: a feed that says nothing for this long (not even a heartbeat) is taken for dead and opened anew.
    """

    def __init__(
        self,
        name: str,
        watch: Callable[[int], AsyncIterable[M]],
        apply: Applied[M],
        *,
        silence_s: float = 15.0,
        backoff: Backoff | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self.name = name
        self.version = 0
        self.connected = False
        self.ready = asyncio.Event()  # set once the first message was applied; never cleared
        self._watch, self._apply, self._silence_s = watch, apply, silence_s
        self._backoff = backoff or Backoff(0.1, 3.0)
        self._first_backoff = backoff or Backoff(0.05, FIRST_PAUSE_S_MAX)
        self._clock = clock
        self._heard: float | None = None  # monotonic
        self._connected_at = 0.0  # monotonic
        self._connected_metric = metrics.FEED_CONNECTED.labels(name)
        self._version_metric = metrics.FEED_VERSION.labels(name)
        self._heard_metric = metrics.FEED_HEARD.labels(name)

    def silent_s(self) -> float | None:
        """Seconds since the feed last said anything; None if it never did."""
        return None if self._heard is None else self._clock.monotonic() - self._heard

    async def run(self) -> None:
        """Follows until cancelled."""
        told_away = False
        while True:
            away = ""
            try:
                await self._follow_once()
                # Long streams end by their age, and when their server drains. If it is gone, the next try says so.
                if not self._lasted():
                    away = "it ended as soon as it was there" if self.connected else "it ended"
            except ResyncError as gap:
                log.info("feed %s has a gap (%s); asking for the whole state", self.name, gap)
                self.version = 0
                metrics.FEED_RESYNCS.labels(self.name).inc()
            except (grpc.aio.AioRpcError, MeshError, OSError, TimeoutError) as error:
                away = error.code().name if isinstance(error, grpc.aio.AioRpcError) else str(error) or "silence"
            lasted, self.connected = self._lasted(), False
            self._connected_metric.set(0)
            if lasted:
                self._backoff.reset()
            if not away:
                log.debug("feed %s is opened again", self.name)
            elif lasted or not told_away:
                log.warning("feed %s is away: %s; its last state stays in use", self.name, away)
            told_away = bool(away) or (told_away and not lasted)
            backoff = self._backoff if self.ready.is_set() else self._first_backoff
            await asyncio.sleep(backoff.next_s())

    def _lasted(self) -> bool:
        """Whether the stream that is there, or just ended, was there for longer than BRIEF_S."""
        return self.connected and self._clock.monotonic() - self._connected_at > BRIEF_S

    async def _follow_once(self) -> None:
        source = self._watch(self.version)
        try:
            messages = source.__aiter__()
            while True:
                try:
                    async with asyncio.timeout(self._silence_s):
                        message = await messages.__anext__()
                except StopAsyncIteration:
                    return
                self._take(message)
        finally:
            await close_source(source)

    def _take(self, message: M) -> None:
        self.version = self._apply(message)
        self._heard = self._clock.monotonic()
        self._heard_metric.set(time.time())
        self._version_metric.set(self.version)
        if not self.connected:
            log.info("feed %s is connected, version %d", self.name, self.version)
            self.connected, self._connected_at = True, self._heard
            self._connected_metric.set(1)
        self.ready.set()


async def close_source(source: Any) -> None:
    """Ends a gRPC call or an async generator that is being iterated; anything else is left to itself."""
    if isinstance(source, grpc.aio.Call):
        source.cancel()
        return
    aclose = getattr(source, "aclose", None)
    if aclose is not None:
        await aclose()

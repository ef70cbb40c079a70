"""Follows, once for this process, the service's own log and the live pieces of examples, for all who watch."""

from __future__ import annotations

import asyncio
import logging

from google.protobuf.message import DecodeError
from promptmesh.inference.v1 import events_pb2 as inference_events_pb2
from promptmesh.prompts.v1 import events_pb2

from services.mesh.errors import MeshError
from services.mesh.events import Event, Tail
from services.mesh.live import LiveStream
from services.prompts.example_buffer import EVERY_REVISION, ExampleBuffer
from services.prompts.waiters import Waiters, too_slow

log = logging.getLogger(__name__)


class Follower:
    """Two background tasks: `follow_log` and `follow_pieces`. Each begins where it stopped if it is started again."""

    def __init__(self, tail: Tail, live: LiveStream, buffer: ExampleBuffer, waiters: Waiters) -> None:
        self._tail = tail
        self._live = live
        self._buffer = buffer
        self._waiters = waiters
        self._position: int | None = None
        self.ready = asyncio.Event()
        """Set while the log is followed: from then on nothing is missed."""

    @property
    def position(self) -> int:
        """Position of the last event handed on, or the log's head before the first."""
        return self._tail.head if self._position is None else self._position

    async def follow_log(self) -> None:
        """Hands events on to watchers of single posts, and tells the buffer which examples are under way."""
        try:
            async with self._tail.subscribe(self._position) as events:
                self.ready.set()
                async for event in events:
                    self._position = event.position
                    follow(self._buffer, event)
                    self._waiters.event(event)
        except Exception as error:
            missed = isinstance(error, MeshError) and error.reason in ("CURSOR_EXPIRED", "WATCHER_TOO_SLOW")
            if missed or self._position is None:
                # There are events that we shall not see. Those who watch begin anew, and so do we.
                self._position = None
                self._waiters.fail(too_slow())
            raise
        finally:
            self.ready.clear()

    async def follow_pieces(self) -> None:
        """Takes in pieces of examples as inference sends them."""
        async for payload in self._live.follow():
            try:
                progress = inference_events_pb2.ExampleProgress.FromString(payload)
            except DecodeError:
                log.warning("the live stream of examples carries %d bytes that are no ExampleProgress", len(payload))
                continue
            for piece in progress.pieces:
                self._buffer.add(piece)


def follow(buffer: ExampleBuffer, event: Event) -> None:
    """Tells the buffer what an event of the log means for examples."""
    payload = event.payload
    if isinstance(payload, events_pb2.PostChanged):
        shown = payload.published
        if payload.change == events_pb2.POST_CHANGE_PUBLISHED:
            buffer.published(shown.post_id, shown.revision, event.position, frozenset(shown.tags))
        elif payload.change == events_pb2.POST_CHANGE_EXAMPLE:
            buffer.finished(shown.post_id, shown.revision)
    elif isinstance(payload, events_pb2.PostDeleted):
        buffer.finished(payload.post_id, EVERY_REVISION)

"""Cleared pieces on their way to watchers: of many posts, collected for a moment into one message."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Protocol

from promptmesh.inference.v1 import events_pb2

MESSAGE_BYTES_MAX = 256 * 1024


class Publisher(Protocol):
    """The kit's LiveStream."""

    def publish(self, payload: bytes) -> Awaitable[bool]:
        """Best effort: nobody is told of what is lost."""
        ...


class Progress:
    """Sends pieces at most `flush_s` after they came, in order for each post."""

    def __init__(self, live: Publisher, *, flush_s: float = 0.02) -> None:
        self._live = live
        self._flush_s = flush_s
        self._pieces: list[events_pb2.ExamplePiece] = []
        self._last: dict[str, events_pb2.ExamplePiece] = {}
        self._task: asyncio.Task[None] | None = None

    def add(self, post_id: str, revision: int, offset: int, text: str) -> None:
        """A piece may be seen. `offset` in characters; 0 begins afresh, and 0 with no text voids what was shown."""
        last = self._last.get(post_id)
        if last is not None and last.revision == revision and offset and last.offset + len(last.text) == offset:
            last.text += text
            return
        piece = events_pb2.ExamplePiece(post_id=post_id, revision=revision, offset=offset, text=text)
        self._pieces.append(piece)
        self._last[post_id] = piece
        if self._task is None:
            self._task = asyncio.create_task(self._flush())

    async def close(self) -> None:
        """Sends what is left."""
        if self._task is not None:
            await self._task

    async def _flush(self) -> None:
        try:
            while self._pieces:
                await asyncio.sleep(self._flush_s)
                pieces, self._pieces, self._last = self._pieces, [], {}
                for message in _messages(pieces):
                    await self._live.publish(message.SerializeToString())
        finally:
            self._task = None


def _messages(pieces: list[events_pb2.ExamplePiece]) -> list[events_pb2.ExampleProgress]:
    messages = [events_pb2.ExampleProgress()]
    size = 0
    for piece in pieces:
        size += len(piece.text.encode()) + 64
        if size > MESSAGE_BYTES_MAX and messages[-1].pieces:
            messages.append(events_pb2.ExampleProgress())
            size = 0
        messages[-1].pieces.append(piece)
    return messages

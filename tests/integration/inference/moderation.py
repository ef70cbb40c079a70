"""A moderation service for tests, on a real socket: whatever holds "forbidden" is rejected, "dubious" is held."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import grpc
from promptmesh.moderation.v1 import moderation_pb2 as pb
from promptmesh.moderation.v1 import moderation_pb2_grpc as pb_grpc

ACCENT = "\u0301"


class ToyModeration(pb_grpc.ModerationServiceServicer):
    """Remembers every batch; `away` makes it answer UNAVAILABLE."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.away = False
        self.asked = asyncio.Event()
        self.port = 0
        self.stub: Any = None

    async def BatchScreen(self, request: pb.BatchScreenRequest, context: Any) -> pb.BatchScreenResponse:
        self.asked.set()
        if self.away:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "told to be away")
        texts = [one.text for one in request.requests]
        assert all(one.surface == pb.SURFACE_OUTPUT for one in request.requests)
        self.batches.append(texts)
        return pb.BatchScreenResponse(screenings=[pb.Screening(verdict=_verdict(text)) for text in texts])


def _verdict(text: str) -> pb.Verdict.ValueType:
    text = text.replace(ACCENT, "")  # as moderation reads it
    if "forbidden" in text:
        return pb.VERDICT_REJECT
    return pb.VERDICT_HOLD if "dubious" in text else pb.VERDICT_ALLOW


@contextlib.asynccontextmanager
async def running_moderation() -> AsyncIterator[ToyModeration]:
    """Serves on a free port; `stub` calls it."""
    toy = ToyModeration()
    server = grpc.aio.server()
    pb_grpc.add_ModerationServiceServicer_to_server(toy, server)
    toy.port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{toy.port}") as channel:
        toy.stub = pb_grpc.ModerationServiceStub(channel)
        yield toy
    await server.stop(None)

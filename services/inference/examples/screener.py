"""Screening for many examples at once: texts are collected for a moment and screened in one call of moderation."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import grpc
from promptmesh.moderation.v1 import moderation_pb2 as pb

from services.mesh.errors import MeshError, error_of

TEXTS_MAX = 64  # of one call, by the contract


class Screener:
    """Asks moderation whether texts may be seen.

    `stub`: with `BatchScreen`. A call leaves when TEXTS_MAX texts wait, or the first has waited `batch_s`; at most
    `calls_max` are under way.
    """

    def __init__(self, stub: Any, *, batch_s: float = 0.005, calls_max: int = 4) -> None:
        self._stub = stub
        self._batch_s = batch_s
        self._calls = asyncio.Semaphore(calls_max)
        self._waiting: list[tuple[str, asyncio.Future[bool]]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def allowed(self, texts: Sequence[str]) -> list[bool]:
        """Whether each text may be seen; MeshError (DEPENDENCY_UNAVAILABLE, …) where moderation could not say."""
        loop = asyncio.get_running_loop()
        futures: list[asyncio.Future[bool]] = [loop.create_future() for _ in texts]
        self._waiting.extend(zip(texts, futures, strict=True))
        if len(self._waiting) >= TEXTS_MAX:
            self._leave()
        elif self._timer is None:
            self._timer = loop.call_later(self._batch_s, self._leave)
        # All are awaited even where one fails, so that no future is left with an error that nobody took.
        results = await asyncio.gather(*futures, return_exceptions=True)
        answers: list[bool] = []
        for result in results:
            if isinstance(result, BaseException):
                raise result
            answers.append(result)
        return answers

    def _leave(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        waiting, self._waiting = self._waiting, []
        for first in range(0, len(waiting), TEXTS_MAX):
            task = asyncio.create_task(self._screen(waiting[first : first + TEXTS_MAX]))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _screen(self, batch: Sequence[tuple[str, asyncio.Future[bool]]]) -> None:
        try:
            async with self._calls:
                # Who was cancelled meanwhile needs no answer.
                batch = [(text, future) for text, future in batch if not future.done()]
                if not batch:
                    return
                request = pb.BatchScreenRequest(
                    requests=[pb.ScreenRequest(text=text, surface=pb.SURFACE_OUTPUT) for text, _ in batch]
                )
                response = await self._stub.BatchScreen(request)
            if len(response.screenings) != len(batch):
                raise MeshError(
                    "SCREENING_UNAVAILABLE",
                    f"Moderation answered {len(response.screenings)} screenings for {len(batch)} texts.",
                )
            for (_, future), screening in zip(batch, response.screenings, strict=True):
                if not future.done():
                    # What is not plainly allowed is not shown, a verdict that we do not know included.
                    future.set_result(screening.verdict == pb.VERDICT_ALLOW)
        except grpc.RpcError as error:
            _fail(batch, error_of(error))
        except Exception as error:
            _fail(batch, error)
        except asyncio.CancelledError:
            for _, future in batch:
                future.cancel()
            raise


def _fail(batch: Sequence[tuple[str, asyncio.Future[bool]]], error: Exception) -> None:
    for _, future in batch:
        if not future.done():
            future.set_exception(error)

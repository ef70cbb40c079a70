"""A second attempt beside one that is slow to begin: the first to begin wins, the other is aborted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from services.inference.engine.call import AnswerInfo, AttemptRecord
from services.inference.providers.base import Part
from services.inference.routing.failures import Next, after
from services.inference.routing.fallback import Fallback
from services.inference.routing.outcomes import Outcomes
from services.inference.routing.plan import Plan
from services.inference.routing.strategies import Lane
from services.mesh.errors import MeshError


class Work(Protocol):
    """A call of a provider that runs by itself. `begun` holds None when it has won, or the error that it ended in."""

    @property
    def begun(self) -> asyncio.Future[Exception | None]:
        """See above."""
        ...

    def cancel(self) -> None:
        """Begins to end it."""
        ...

    async def abort(self) -> None:
        """Ends it, and waits until it has let go."""
        ...


WorkT = TypeVar("WorkT", bound=Work)


class Whole:
    """An answer in one piece, fetched by a task of its own: it begins when it is there."""

    def __init__(self, ask: Callable[[], Awaitable[bytes]]) -> None:
        self.answer = b""
        self.begun: asyncio.Task[Exception | None] = asyncio.create_task(self._run(ask))

    def cancel(self) -> None:
        """See Work."""
        self.begun.cancel()

    async def abort(self) -> None:
        """See Work."""
        if not self.begun.done():
            self.begun.cancel()
            await asyncio.wait([self.begun])

    async def result(self) -> bytes:
        """The answer, or what it ended in. Cancelling this ends nothing."""
        await asyncio.wait([self.begun])
        error = self.begun.result()
        if error is not None:
            raise error
        return self.answer

    async def rest(self) -> AsyncGenerator[Part, None]:
        """The answer for the last reader: closing it aborts the call of the provider."""
        try:
            await asyncio.wait([self.begun])
            yield Part(self.answer, [])
        finally:
            await self.abort()

    async def _run(self, ask: Callable[[], Awaitable[bytes]]) -> Exception | None:
        try:
            self.answer = await ask()
        except Exception as error:
            return error
        return None


@dataclass(slots=True)
class Contender(Generic[WorkT]):
    """An attempt of a race."""

    lane: Lane
    attempt: AttemptRecord
    work: WorkT


def _never(_contender: object) -> bool:
    return False


class Race(Generic[WorkT]):
    """Of one call: its attempts until one begins, with one hedge among them. `drain`: takes over an attempt that its
    caller left, or answers False; what loses to another is aborted in any case."""

    def __init__(
        self,
        plan: Plan,
        info: AnswerInfo,
        fallback: Fallback,
        outcomes: Outcomes,
        start: Callable[[Lane, AttemptRecord], WorkT],
        drain: Callable[[Contender[WorkT]], bool] = _never,
    ) -> None:
        self._plan, self._info, self._fallback, self._outcomes = plan, info, fallback, outcomes
        self._start_work = start
        self._drain = drain
        self._under_way: list[Contender[WorkT]] = []

    async def run(self, lane: Lane) -> Contender[WorkT]:
        """The attempt that began first; the caller sees to its end. MeshError: the last one's, or the first that no
        other attempt may follow. Whatever happens, no other attempt goes on."""
        try:
            self._start(lane)
            hedge_after_s = self._plan.hedge_after_s
            while True:
                begun = [one.work.begun for one in self._under_way]
                done, _ = await asyncio.wait(begun, timeout=hedge_after_s, return_when=asyncio.FIRST_COMPLETED)
                if not done:
                    hedge_after_s = None
                    await self._hedge()
                    continue
                if winner := self._winner():
                    self._under_way.remove(winner)
                    self._info.target, self._info.record = winner.attempt.target, winner.attempt.record
                    await self._abort()
                    return winner
                await self._fail()
        except BaseException as why:
            if isinstance(why, asyncio.CancelledError):  # the caller has left
                self._under_way = [one for one in self._under_way if not self._drain(one)]
            await self._abort()
            raise

    def _start(self, lane: Lane, *, hedge: bool = False) -> None:
        self._fallback.took(lane)
        attempt = self._outcomes.begin(lane, self._info, hedge=hedge)
        self._under_way.append(Contender(lane, attempt, self._start_work(lane, attempt)))

    async def _hedge(self) -> None:
        lane = await self._fallback.hedge()
        if lane is not None and not self._under_way[0].work.begun.done():
            self._start(lane, hedge=True)

    def _winner(self) -> Contender[WorkT] | None:
        for one in self._under_way:
            if one.work.begun.done() and one.work.begun.result() is None:
                return one
        return None

    async def _fail(self) -> None:
        """Takes out those that failed; goes on to another target where none is left."""
        for one in [one for one in self._under_way if one.work.begun.done()]:
            error = one.work.begun.result()
            assert error is not None
            self._under_way.remove(one)
            if not isinstance(error, MeshError):
                self._outcomes.left(self._plan, one.lane, one.attempt, error)
                raise error
            self._outcomes.failed(self._plan, one.lane, one.attempt, error)
            if not self._under_way:
                self._start(await self._fallback.next(one.lane, error))
            elif after(error.reason) is Next.NOWHERE:
                error.metadata["attempts"] = str(len(self._info.attempts))
                raise error

    async def _abort(self) -> None:
        """Ends all that are under way, at once."""
        losers, self._under_way = self._under_way, []
        for one in losers:
            one.work.cancel()
            self._lost(one)
        for one in losers:
            await one.work.abort()

    def _lost(self, one: Contender[WorkT]) -> None:
        error = one.work.begun.result() if one.work.begun.done() else None
        if isinstance(error, MeshError):
            self._outcomes.failed(self._plan, one.lane, one.attempt, error)
        else:
            self._outcomes.left(self._plan, one.lane, one.attempt, error)

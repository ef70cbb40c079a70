"""Asks moderation about texts of many calls at once.

What is asked while moderation is busy goes together with the next call of it, so that a lone text waits for nothing and
many do not cost a call each.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import grpc
from promptmesh.moderation.v1 import moderation_pb2 as pb

from services.inference.screening import metrics
from services.mesh.backoff import Backoff
from services.mesh.errors import MeshError, error_of
from services.mesh.telemetry.logs import get_logger

# Of one BatchScreen, by the contract.
TEXTS_MAX = 64
CHARS_MAX = 131_072
RETRY_AFTER_S = 1.0

log = get_logger()


@dataclass(frozen=True, slots=True)
class Verdict:
    """About one text. `rule` and `category`: of the finding that speaks loudest against it; empty where it is allowed,
    or where moderation named none."""

    allowed: bool
    rule: str = ""
    category: str = ""
    policy_version: str = ""


@dataclass(slots=True)
class _Text:
    text: str
    surface: pb.Surface.ValueType
    answer: asyncio.Future[Verdict | Exception]


class Moderator:
    """See the module. One a process.

    `stub`: with `BatchScreen`; None: there is no moderation, and nothing is ever cleared. `timeout_s`: of a call of it.
    """

    def __init__(self, stub: Any, *, calls_max: int, timeout_s: float) -> None:
        self._stub = stub
        self._calls_max = calls_max
        self._timeout_s = timeout_s
        self._waiting: deque[_Text] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._scheduled = False

    async def verdicts(
        self, texts: Sequence[str], surface: pb.Surface.ValueType, until: float, *, patient: bool = False
    ) -> list[Verdict]:
        """About each text, of 1 to 32,768 characters that can be encoded. MeshError SCREENING_UNAVAILABLE where
        moderation has not said by `until` (the event loop's clock); unless `patient`, as soon as it is away."""
        loop = asyncio.get_running_loop()
        backoff = Backoff(0.05, 0.5)
        while True:
            answers = await self._ask(texts, surface, until)
            failure = next((answer for answer in answers if isinstance(answer, Exception)), None)
            if failure is None:
                return [answer for answer in answers if isinstance(answer, Verdict)]
            pause_s = backoff.next_s()
            if not patient or self._stub is None or loop.time() + pause_s >= until:
                metrics.UNAVAILABLE.inc()
                raise unavailable() from failure
            await asyncio.sleep(pause_s)

    async def close(self) -> None:
        """Ends what is under way; then nothing is cleared any more."""
        self._stub = None
        waiting, self._waiting = self._waiting, deque()
        for one in waiting:
            _answer(one, MeshError("DRAINING", "This process is about to stop."))
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(list(self._tasks))

    async def _ask(
        self, texts: Sequence[str], surface: pb.Surface.ValueType, until: float
    ) -> list[Verdict | Exception]:
        if self._stub is None:
            return [MeshError("SCREENING_UNAVAILABLE", "This process knows of no moderation.")]
        loop = asyncio.get_running_loop()
        asked = [_Text(text, surface, loop.create_future()) for text in texts]
        self._waiting.extend(asked)
        if not self._scheduled:
            self._scheduled = True
            loop.call_soon(self._leave, context=contextvars.Context())  # what others ask in this moment goes with it
        answers = [one.answer for one in asked]
        try:
            _, late = await asyncio.wait(answers, timeout=max(0.0, until - loop.time()))
        finally:
            for answer in answers:
                answer.cancel()  # nothing, where it is there
        if late:
            return [TimeoutError(f"moderation did not answer about {len(late)} texts in time")]
        return [answer.result() for answer in answers]

    def _leave(self) -> None:
        self._scheduled = False
        while self._waiting and len(self._tasks) < self._calls_max:
            batch = self._next_batch()
            if batch:
                # The context is empty here: a batch is of many calls, and has the deadline of none.
                task = asyncio.get_running_loop().create_task(self._screen(batch), name="screening")
                self._tasks.add(task)
                task.add_done_callback(self._left)

    def _left(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._leave()

    def _next_batch(self) -> list[_Text]:
        batch: list[_Text] = []
        chars = 0
        while self._waiting and len(batch) < TEXTS_MAX:
            chars += len(self._waiting[0].text)
            if batch and chars > CHARS_MAX:
                break
            one = self._waiting.popleft()
            if one.answer.done():  # whoever asked has gone
                chars -= len(one.text)
            else:
                batch.append(one)
        return batch

    async def _screen(self, batch: list[_Text]) -> None:
        try:
            request = pb.BatchScreenRequest(
                requests=[pb.ScreenRequest(text=one.text, surface=one.surface) for one in batch]
            )
            response = await self._stub.BatchScreen(request, timeout=self._timeout_s)
            if len(response.screenings) != len(batch):
                raise ValueError(f"moderation answered {len(response.screenings)} screenings for {len(batch)} texts")
            for one, screening in zip(batch, response.screenings, strict=True):
                _answer(one, _verdict(screening))
        except asyncio.CancelledError:
            for one in batch:
                _answer(one, MeshError("DRAINING", "This process is about to stop."))
            raise
        except Exception as error:
            said = error_of(error) if isinstance(error, grpc.RpcError) else error
            log.warning("texts of calls could not be screened", texts=len(batch), error=str(said))
            for one in batch:
                _answer(one, said)


def unavailable() -> MeshError:
    """Nothing is sent, and nothing shown, that was not screened."""
    return MeshError(
        "SCREENING_UNAVAILABLE",
        "This model's texts are screened, and moderation cannot be reached right now; what was not screened is neither "
        "sent nor shown. Retry after the delay in RetryInfo.",
        retry_after_s=RETRY_AFTER_S,
    )


def _answer(one: _Text, answer: Verdict | Exception) -> None:
    if not one.answer.done():
        one.answer.set_result(answer)


def _verdict(screening: pb.Screening) -> Verdict:
    # What is not plainly allowed is refused, a verdict that we do not know included: nobody is there to decide.
    if screening.verdict == pb.VERDICT_ALLOW:
        return Verdict(True, policy_version=screening.policy_version)
    against = [finding for finding in screening.findings if finding.verdict != pb.VERDICT_ALLOW]
    if not against:
        return Verdict(False, policy_version=screening.policy_version)
    worst = against[0]
    category = pb.Category.Name(worst.category) if worst.category in pb.Category.values() else ""
    return Verdict(False, worst.rule, category.removeprefix("CATEGORY_").lower(), screening.policy_version)

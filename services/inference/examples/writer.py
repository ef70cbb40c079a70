"""Writes one example: the model's answer, screened before any of it is shown."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import aclosing
from dataclasses import dataclass, field

import structlog
from promptmesh.inference.v1 import events_pb2

from services.inference.cleaning import UNREAD, Cleaner
from services.inference.engine.call import ModelCall
from services.inference.engine.engine import Engine
from services.inference.examples.job import ExampleJob
from services.inference.examples.progress import Progress
from services.inference.examples.screener import Screener
from services.inference.providers import faults
from services.inference.providers.openai_chunks import text_of
from services.inference.usage import usage_message
from services.mesh.backoff import Backoff
from services.mesh.errors import MeshError
from services.mesh.screening_windows import WINDOW_CHARS, ScreeningWindows, Window

WITHHELD = "Moderation withheld what the model wrote."
# What everyone who sees the post may read; what exactly happened stands in the log.
FAILURES = {
    "PROVIDER_RATE_LIMITED": "The model was asked too much at the time.",
    "PROVIDER_UNAVAILABLE": "The model could not be reached.",
    "PROVIDER_ANSWER_BROKEN": "The model's answer broke off.",
    "PROVIDER_TIMEOUT": "The model took too long.",
    "PROVIDER_REJECTED": "The model's provider refused the prompt.",
    "CONTEXT_LENGTH_EXCEEDED": "The prompt is longer than the model takes.",
}
FAILURE = "The model that writes examples could not be used."
EMPTY = "The model answered nothing."
# Of the look at a whole answer. A call of 64 texts of this length is as much as moderation takes.
WHOLE_CHARS = 2048
WHOLE_OVERLAP_CHARS = 1024
# What another try may mend.
PASSING = frozenset(
    {
        "PROVIDER_RATE_LIMITED",
        "PROVIDER_UNAVAILABLE",
        "PROVIDER_ANSWER_BROKEN",
        "PROVIDER_TIMEOUT",
        "INTERNAL",
    }
)

_log = structlog.get_logger(__name__)


class _WithheldError(Exception):
    """Moderation did not allow a window."""


@dataclass(slots=True)
class _Writing:
    """One example under way."""

    job: ExampleJob
    cleaner: Cleaner = field(default_factory=Cleaner)
    windows: ScreeningWindows = field(default_factory=lambda: ScreeningWindows(uncounted=UNREAD))
    waiting: deque[Window] = field(default_factory=deque)
    shown: list[str] = field(default_factory=list)
    shown_characters: int = 0
    moderation_away: bool = False


class Writer:
    """Runs a job against a model. Raises MeshError for what a provider did; waits for moderation as long as it is away.

    `timeout_s`: for the model's answer.
    """

    def __init__(self, engine: Engine, screener: Screener, progress: Progress, *, timeout_s: float) -> None:
        self._engine = engine
        self._screener = screener
        self._progress = progress
        self._timeout_s = timeout_s

    async def write(self, job: ExampleJob, call: ModelCall, costs: list[int]) -> events_pb2.ExampleFinished:
        """The finished example, READY or WITHHELD. `costs` takes what the call cost, in nano-US-dollars, whatever
        becomes of it."""
        writing = _Writing(job)
        try:
            await self._answer(writing, call)
            await self._wait_for_moderation(writing)
            await self._screen_whole("".join(writing.shown))
        except _WithheldError:
            self._progress.add(job.post_id, job.revision, 0, "")
            return _finished(job, call, events_pb2.EXAMPLE_OUTCOME_WITHHELD, failure=WITHHELD)
        finally:
            if call.cost_nanos is not None:
                costs.append(call.cost_nanos)
        text = "".join(writing.shown)
        if not text.strip():
            return _finished(job, call, events_pb2.EXAMPLE_OUTCOME_FAILED, failure=EMPTY)
        return _finished(job, call, events_pb2.EXAMPLE_OUTCOME_READY, text=text)

    async def _answer(self, writing: _Writing, call: ModelCall) -> None:
        try:
            async with asyncio.timeout(self._timeout_s) as limit:
                async with aclosing(self._engine.stream_own(call)) as parts:
                    async for part in parts:
                        text = "".join([text_of(chunk) for chunk in part.chunks])
                        if not text:
                            continue
                        writing.waiting.extend(writing.windows.feed(writing.cleaner.feed(text)))
                        if writing.waiting and not writing.moderation_away:
                            await self._screen(writing)
                writing.waiting.extend(writing.windows.finish())
                if not writing.moderation_away:
                    await self._screen(writing)
        except TimeoutError:
            if not limit.expired():
                raise
            what = f"the example was not written within {self._timeout_s:g} s"
            raise faults.timeout(call.answer_provider or call.route.name, what) from None

    async def _screen(self, writing: _Writing) -> None:
        """Screens the windows that wait. With moderation away the model's answer is taken in to its end, and screened
        when moderation is back: the model is not asked twice."""
        try:
            await self._screen_once(writing)
        except MeshError as error:
            writing.moderation_away = True
            _log.warning("an example waits for moderation", post_id=writing.job.post_id, error=str(error))

    async def _wait_for_moderation(self, writing: _Writing) -> None:
        backoff = Backoff(0.1, 5.0)
        while writing.waiting:
            try:
                await self._screen_once(writing)
            except MeshError:
                await asyncio.sleep(backoff.next_s())

    async def _screen_whole(self, text: str) -> None:
        """Once more in one piece, before it is attached: a phrase padded with what moderation takes for one
        letter or one gap (a letter or an emoji many times over) can be longer than windows overlap."""
        if len(text) < WINDOW_CHARS:
            return  # it was one window
        whole = ScreeningWindows(window_chars=WHOLE_CHARS, overlap_chars=WHOLE_OVERLAP_CHARS)
        windows = [window.text for window in (*whole.feed(text), *whole.finish())]
        backoff = Backoff(0.1, 5.0)
        while True:
            try:
                allowed = await self._screener.allowed(windows)
            except MeshError:
                await asyncio.sleep(backoff.next_s())
                continue
            if not all(allowed):
                raise _WithheldError
            return

    async def _screen_once(self, writing: _Writing) -> None:
        if not writing.waiting:
            return
        windows = list(writing.waiting)
        allowed = await self._screener.allowed([window.text for window in windows])
        for window, allow in zip(windows, allowed, strict=True):
            if not allow:
                raise _WithheldError
            writing.waiting.popleft()
            text = writing.windows.cleared(window)
            if text:
                self._progress.add(writing.job.post_id, writing.job.revision, writing.shown_characters, text)
                writing.shown.append(text)
                writing.shown_characters += len(text)


def failed(job: ExampleJob, failure: str, model: str = "") -> events_pb2.ExampleFinished:
    """The end of an example that nobody could write."""
    return events_pb2.ExampleFinished(
        post_id=job.post_id,
        revision=job.revision,
        outcome=events_pb2.EXAMPLE_OUTCOME_FAILED,
        model=model,
        failure=failure,
    )


def _finished(
    job: ExampleJob,
    call: ModelCall,
    outcome: events_pb2.ExampleOutcome.ValueType,
    *,
    text: str = "",
    failure: str = "",
) -> events_pb2.ExampleFinished:
    finished = events_pb2.ExampleFinished(
        post_id=job.post_id,
        revision=job.revision,
        outcome=outcome,
        text=text,
        model=call.answer_model or call.route.name,
        failure=failure,
    )
    finished.usage.CopyFrom(usage_message(call.usage))
    if call.cost_nanos is not None:
        finished.usage.cost_nanos = call.cost_nanos
    return finished

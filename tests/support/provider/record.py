"""What a provider was asked and what became of it, so that a ledger can be compared with it to the token."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

KEPT_CALLS_MAX = 10_000
PATIENCE_S = 30.0

Outcome = Literal["", "whole", "aborted", "cut"]


class Flag:
    """Something that happens once and can be waited for; cheaper than an asyncio.Event until someone waits."""

    __slots__ = ("_event", "_is_set")

    def __init__(self) -> None:
        self._is_set = False
        self._event: asyncio.Event | None = None

    def is_set(self) -> bool:
        """Whether it happened."""
        return self._is_set

    def set(self) -> None:
        """It happened."""
        self._is_set = True
        if self._event is not None:
            self._event.set()

    async def wait(self) -> None:
        """Returns as soon as it has happened."""
        if not self._is_set:
            if self._event is None:
                self._event = asyncio.Event()
            await self._event.wait()


@dataclass(slots=True)
class SeenCall:
    """One request as the provider saw it. Times are of time.monotonic(), which is the time of asyncio's loop.

    `outcome` is empty while it is under way; then "whole" (the operating system took the last byte of the answer),
    "aborted" (the client left first) or "cut" (the provider broke it off, as it was told).
    `bytes_sent` counts everything, the head too; `chunks_sent` only chunks of a stream that said something.
    """

    body: dict[str, Any]
    headers: dict[str, str]
    peer: object  # address of the client's end of the connection
    method: str = "POST"
    path: str = ""
    number: int = 0  # from 0, in the order of arrival
    connection: int = 0  # number of the connection that it came on
    reused: bool = False  # whether that connection had served a request before
    prompt: str = ""  # text of its messages or inputs
    prompt_tokens: int = 0
    fault: str = ""  # of the behaviour that answers it
    status: int | None = None  # as answered
    model: str = ""  # as the answer names it; empty until anything was said
    bytes_sent: int = 0
    chunks_sent: int = 0
    tokens_said: int = 0
    reported: tuple[int, int] | None = None  # prompt and completion tokens, where true usage was sent
    outcome: Outcome = ""
    arrival_time: float = field(default_factory=time.monotonic)
    begin_time: float | None = None
    abort_time: float | None = None
    end_time: float | None = None
    began: Flag = field(default_factory=Flag)  # something of the answer's body was sent, or its head where none comes
    aborted: Flag = field(default_factory=Flag)
    ended: Flag = field(default_factory=Flag)

    @property
    def whole(self) -> bool:
        """Whether the answer went out to its last byte."""
        return self.outcome == "whole"

    def as_json(self) -> dict[str, Any]:
        """What another process may know of it."""
        return {
            "number": self.number,
            "method": self.method,
            "path": self.path,
            "headers": self.headers,
            "body": self.body,
            "prompt": self.prompt,
            "connection": self.connection,
            "reused": self.reused,
            "fault": self.fault,
            "status": self.status,
            "model": self.model,
            "outcome": self.outcome,
            "bytes_sent": self.bytes_sent,
            "chunks_sent": self.chunks_sent,
            "prompt_tokens": self.prompt_tokens,
            "tokens_said": self.tokens_said,
            "reported": self.reported,
            "arrival_time": self.arrival_time,
            "begin_time": self.begin_time,
            "abort_time": self.abort_time,
            "end_time": self.end_time,
        }


@dataclass(slots=True)
class Tokens:
    """A sum of usage over `answers` answers."""

    answers: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def add(self, prompt_tokens: int, completion_tokens: int) -> None:
        """One answer more."""
        self.answers += 1
        self.prompt_tokens += prompt_tokens
        self.completion_tokens += completion_tokens


class Sums(dict[str, Tokens]):
    """Usage by the model that the answer named."""

    def __missing__(self, model: str) -> Tokens:
        self[model] = made = Tokens()
        return made

    @property
    def total(self) -> Tokens:
        """Over all models."""
        total = Tokens()
        for one in self.values():
            total.answers += one.answers
            total.prompt_tokens += one.prompt_tokens
            total.completion_tokens += one.completion_tokens
        return total

    def as_json(self) -> dict[str, dict[str, int]]:
        """By model, and the total under the empty name."""
        return {
            model: {
                "answers": tokens.answers,
                "prompt_tokens": tokens.prompt_tokens,
                "completion_tokens": tokens.completion_tokens,
            }
            for model, tokens in [*self.items(), ("", self.total)]
        }


class Record:
    """Counters over all calls, and the last `keep` to `2 * keep` calls themselves (0: counters only).

    Three sums of usage: `said`, what was generated until the answer ended, whoever ended it and whether or not
    anybody was told (a real provider bills this); `reported`, true usage that was sent; `reported_whole`, that of
    answers which went out whole.
    """

    def __init__(self, keep: int = KEPT_CALLS_MAX) -> None:
        self.keep = keep
        self.calls: list[SeenCall] = []
        self.others: list[SeenCall] = []  # lists of models, and what no endpoint knows
        self.running = 0
        self._numbers = itertools.count()
        self._waiting: list[tuple[Callable[[Record], bool], asyncio.Future[None]]] = []
        self._zero()

    def _zero(self) -> None:
        self.requests = 0
        self.running_max = self.running
        self.dropped = 0  # calls that `calls` holds no more
        self.outcomes: Counter[str] = Counter()
        self.statuses: Counter[int] = Counter()
        self.said, self.reported, self.reported_whole = Sums(), Sums(), Sums()

    @property
    def whole(self) -> int:
        """Answers that went out to their last byte."""
        return self.outcomes["whole"]

    @property
    def aborted(self) -> int:
        """Answers whose client left before."""
        return self.outcomes["aborted"]

    @property
    def cut(self) -> int:
        """Answers that the provider broke off, as it was told."""
        return self.outcomes["cut"]

    def reset(self) -> None:
        """Forgets everything but what is under way, whose end counts from here on."""
        self.calls.clear()
        self.others.clear()
        self._numbers = itertools.count()
        self._zero()

    async def until(self, met: Callable[[Record], bool], timeout_s: float = PATIENCE_S) -> None:
        """Returns as soon as the predicate holds, which is asked at each change; one that finds no entry (LookupError)
        does not hold yet. TimeoutError with the counters otherwise."""
        if _holds(met, self):
            return
        waiting = (met, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        try:
            async with asyncio.timeout(timeout_s):
                await waiting[1]
        except TimeoutError:
            raise TimeoutError(f"not within {timeout_s:g} s; the provider's record: {self.counters()}") from None
        finally:
            self._waiting.remove(waiting)

    def arrived(self, call: SeenCall) -> None:
        """A request to answer."""
        call.number = next(self._numbers)
        self.requests += 1
        self.running += 1
        self.running_max = max(self.running_max, self.running)
        if self.keep:
            self.calls.append(call)
            if len(self.calls) > 2 * self.keep:
                self.dropped += len(self.calls) - self.keep
                del self.calls[: -self.keep]
        self.changed()

    def arrived_beside(self, call: SeenCall) -> None:
        """A request that is none for an answer of a model."""
        if self.keep:
            self.others.append(call)
            del self.others[: -self.keep]
        self.changed()

    def has_ended(self, call: SeenCall) -> None:
        """The end of an answer, whichever way."""
        self.running -= 1
        self.outcomes[call.outcome] += 1
        if call.status is not None:
            self.statuses[call.status] += 1
        if call.model:
            self.said[call.model].add(call.prompt_tokens, call.tokens_said)
        if call.reported:
            self.reported[call.model].add(*call.reported)
            if call.whole:
                self.reported_whole[call.model].add(*call.reported)
        self.changed()

    def changed(self) -> None:
        """Wakes those whose predicate holds now."""
        if self._waiting:
            for met, future in self._waiting:
                if not future.done():
                    try:
                        if _holds(met, self):
                            future.set_result(None)
                    except Exception as error:  # the predicate's own fault: for the test that wrote it
                        future.set_exception(error)

    def counters(self) -> dict[str, Any]:
        """All but the calls themselves."""
        return {
            "requests": self.requests,
            "running": self.running,
            "running_max": self.running_max,
            "whole": self.whole,
            "aborted": self.aborted,
            "cut": self.cut,
            "statuses": {str(status): count for status, count in self.statuses.items()},
            "said": self.said.as_json(),
            "reported": self.reported.as_json(),
            "reported_whole": self.reported_whole.as_json(),
        }


def _holds(met: Callable[[Record], bool], record: Record) -> bool:
    try:
        return met(record)
    except LookupError:
        return False

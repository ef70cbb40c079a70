"""A provider that does as it is told, a loop whose time passes only while it waits, and routes over both."""

from __future__ import annotations

import asyncio
import random
import selectors
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, TypeVar

from services.inference.engine.call import AnswerInfo, ModelCall
from services.inference.money import Price
from services.inference.providers.base import AnswerRecord, Part, TokenUsage, UpstreamCall
from services.inference.routing.attempts import Attempts
from services.inference.routing.health import Health
from services.inference.routing.route import Route, Target
from services.mesh.call import Caller, CallerKind
from services.mesh.errors import MeshError

T = TypeVar("T")
CALLER = Caller(CallerKind.API_KEY, user_id="u", org_id="o")


class _Selector(selectors.DefaultSelector):
    """Waits for nothing: moves the loop's time on instead."""

    loop: VirtualLoop

    def select(self, timeout: float | None = None) -> list[Any]:
        found: list[Any] = super().select(0)
        if not found:
            if timeout is None:
                raise RuntimeError("nothing will ever happen again: a deadlock")
            self.loop.now += timeout
        return found


class VirtualLoop(asyncio.SelectorEventLoop):
    """Its clock stands at 1,000 s when it begins, and jumps to the next timer whenever there is nothing to do."""

    def __init__(self) -> None:
        selector = _Selector()
        selector.loop = self
        self.now = 1000.0
        super().__init__(selector)

    def time(self) -> float:
        return self.now


def run(main: Coroutine[Any, Any, T]) -> T:
    """On a virtual loop; fails where a task is left over."""

    async def checked() -> T:
        result = await main
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, left
        return result

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(checked())


@dataclass(frozen=True)
class Wait:
    """A pause in a script, in seconds."""

    s: float


@dataclass(frozen=True)
class Fail:
    """The call ends in this error. `sent`: after the request went out."""

    reason: str
    retry_after_s: float | None = None
    sent: bool = False

    def error(self) -> MeshError:
        return MeshError(self.reason, f"scripted {self.reason}", retry_after_s=self.retry_after_s)


@dataclass(frozen=True)
class Say:
    """A token of the answer."""

    text: str


ROLE, TOOL, COMMENT, FINISH = "ROLE", "TOOL", "COMMENT", "FINISH"
Step = Wait | Fail | Say | str | Exception
USAGE = TokenUsage(10, 5)
OK: tuple[Step, ...] = (ROLE, Say("hello"), FINISH)


@dataclass
class Scripted:
    """Does the scripts in turn, one a call, then `always`. An answer that is not streamed does the same unseen."""

    name: str = "p"
    scripts: list[Sequence[Step]] = field(default_factory=list)
    always: Sequence[Step] = OK
    usage: TokenUsage | None = USAGE
    calls: list[UpstreamCall] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    under_way: int = 0
    aborted: int = 0

    async def complete(self, call: UpstreamCall, record: AnswerRecord) -> bytes:
        async with aclosing(self.stream(call, record)) as parts:
            return b"".join([part.data async for part in parts if part.chunks])

    async def embed(self, call: UpstreamCall, record: AnswerRecord) -> bytes:
        return await self.complete(call, record)

    async def stream(self, call: UpstreamCall, record: AnswerRecord) -> AsyncGenerator[Part, None]:
        self.calls.append(call)
        self.times.append(asyncio.get_running_loop().time())
        self.under_way += 1
        whole = False
        try:
            for step in self.scripts.pop(0) if self.scripts else self.always:
                match step:
                    case Wait(s):
                        record.sent = True
                        await asyncio.sleep(s)
                    case Fail():
                        record.sent = record.sent or step.sent
                        whole = True
                        raise step.error()
                    case Exception():
                        whole = True
                        raise step
                    case Say(text):
                        record.sent = True
                        record.output_bytes += len(text)
                        yield part({"content": text}, text)
                    case "TOOL":
                        record.output_bytes += 1
                        yield part({"tool_calls": [{"index": 0}]}, "<tool>")
                    case "ROLE":
                        record.sent = True
                        yield part({"role": "assistant"}, "")
                    case "COMMENT":
                        yield Part(b": alive\n\n", [])
                    case "FINISH":
                        record.finish_reasons[0] = "stop"
                        record.usage = self.usage
                        yield part({}, ".", finish_reason="stop")
            whole = True
        finally:
            self.under_way -= 1
            if not whole:
                self.aborted += 1


def part(delta: dict[str, Any], data: str, **choice: Any) -> Part:
    return Part(data.encode(), [{"choices": [{"index": 0, "delta": delta, **choice}]}])


def target(provider: Scripted, name: str = "", **options: Any) -> Target:
    name = name or f"model-{provider.name}"
    options = {"context_tokens": 0, "max_output_tokens": 1000, "price": Price(1000, 2000), **options}
    return Target(name=name, provider=provider, upstream_model=f"up-{name}", **options)


def route(*targets: Target, name: str = "house", version: int = 1, **options: Any) -> Route:
    return Route(name, targets, version, **options)


def model_call(over: Route, **options: Any) -> ModelCall:
    body = options.pop("body", {"messages": [{"role": "user", "content": "Say hello."}]})
    return ModelCall(0, CALLER, "request", "record", over, body, **options)


def attempts_of(rng: Callable[[], float] | None = None, **options: Any) -> Attempts:
    """Within a running loop."""
    return Attempts(Health(), rng=rng or random.Random(7).random, **options)


async def ask(attempts: Attempts, call: ModelCall, info: AnswerInfo | None = None) -> str:
    """The answer's text, streamed or not as the call is; raises what it ends in."""
    info = AnswerInfo() if info is None else info
    if not call.streamed:
        return (await attempts.complete(call, info)).decode()
    async with aclosing(attempts.stream(call, info)) as parts:
        return "".join([one.data.decode() async for one in parts])


def reasons(info: AnswerInfo) -> list[str]:
    return [attempt.reason for attempt in info.attempts]

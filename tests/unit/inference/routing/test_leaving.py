"""Callers that leave: what is under way is aborted at once or handed over to be drained; nothing is left."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable

import pytest

from services.inference.engine.call import AnswerInfo
from services.inference.providers.base import AnswerRecord, Part, TokenUsage
from services.inference.providers.draining import Drains
from services.inference.routing.attempts import Attempts
from services.inference.routing.health import Health
from services.inference.routing.pump import AHEAD_MAX, HELD_MAX
from services.inference.routing.route import OnLeave, Strategy
from services.mesh.errors import MeshError
from tests.unit.inference.routing.scripted import (
    FINISH,
    ROLE,
    Fail,
    Say,
    Scripted,
    Step,
    Wait,
    ask,
    attempts_of,
    model_call,
    reasons,
    route,
    run,
    target,
)

SLOW: list[Step] = [ROLE, Wait(5.0), Say("a"), Wait(5.0), Say("b"), FINISH]


def none_in_flight(attempts: Attempts) -> bool:
    return all(one.in_flight == 0 for one in attempts._health.snapshot())


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("hedge_after_s", [None, 1.0])
@pytest.mark.parametrize("at_s", [0.0, 0.5, 2.0, 7.0])
def test_cancelled_calls_are_aborted_at_once(streamed: bool, hedge_after_s: float | None, at_s: float) -> None:
    async def main() -> None:
        first, second = Scripted("a", always=SLOW), Scripted("b", always=SLOW)
        over = route(target(first), target(second), strategy=Strategy.ORDERED, hedge_after_s=hedge_after_s)
        attempts, info = attempts_of(), AnswerInfo()
        task = asyncio.create_task(ask(attempts, model_call(over, streamed=streamed), info))
        await asyncio.sleep(at_s)
        left_time = asyncio.get_running_loop().time()
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled(), "a cancellation is not swallowed"
        assert asyncio.get_running_loop().time() == left_time
        assert first.under_way == second.under_way == 0
        assert none_in_flight(attempts)
        assert set(reasons(info)) <= {"CANCELLED"}
        status = attempts._health.snapshot()[0]
        assert status.failures_in_row == 0, "a caller that leaves is no failure"
        assert status.outcomes["ok"] == 0, "and no success"

    run(main())


def test_a_closed_stream_is_aborted() -> None:
    async def main() -> None:
        provider = Scripted(always=SLOW)
        attempts, info = attempts_of(), AnswerInfo()
        stream = attempts.stream(model_call(route(target(provider)), streamed=True), info)
        await anext(stream)
        await stream.aclose()
        assert provider.aborted == 1
        assert reasons(info) == ["CANCELLED"]
        assert info.attempts[0].billable
        assert none_in_flight(attempts)

    run(main())


def test_a_stream_that_nobody_began_to_read_calls_nobody() -> None:
    async def main() -> None:
        provider = Scripted()
        stream = attempts_of().stream(model_call(route(target(provider)), streamed=True), AnswerInfo())
        await stream.aclose()
        assert not provider.calls

    run(main())


def test_a_call_cancelled_while_it_waits_to_try_again_leaves_nothing() -> None:
    async def main() -> None:
        provider = Scripted(always=[Fail("PROVIDER_RATE_LIMITED", retry_after_s=2.0)])
        attempts = attempts_of()
        task = asyncio.create_task(ask(attempts, model_call(route(target(provider)))))
        await asyncio.sleep(1.0)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        assert len(provider.calls) == 1
        assert none_in_flight(attempts)

    run(main())


class Draining:
    """Reads what it is given to its end, or for `s` seconds."""

    def __init__(self, s: float = 60.0) -> None:
        self.s = s
        self.tasks: list[asyncio.Task[None]] = []

    def adopt(self, parts: AsyncGenerator[Part, None], record: AnswerRecord, done: Callable[[], None]) -> None:
        self.tasks.append(asyncio.create_task(self._read(parts, done)))

    async def _read(self, parts: AsyncGenerator[Part, None], done: Callable[[], None]) -> None:
        try:
            async with asyncio.timeout(self.s):
                async for _ in parts:
                    pass
        except (TimeoutError, MeshError):
            pass
        finally:
            await parts.aclose()
            done()

    async def ended(self) -> None:
        await asyncio.wait(self.tasks)


@pytest.mark.parametrize("at_s", [0.5, 7.0], ids=["before its first token", "after it"])
@pytest.mark.parametrize("closed", [False, True], ids=["cancelled", "closed"])
@pytest.mark.parametrize("hedged", [False, True])
def test_a_stream_is_drained_where_its_target_says_so(at_s: float, closed: bool, hedged: bool) -> None:
    async def main() -> None:
        provider = Scripted(always=SLOW)
        drains = Draining()
        told: list[tuple[AnswerInfo, float]] = []
        attempts = Attempts(
            Health(), drains=drains, drained=lambda info, attempt: told.append((info, attempt.end_time))
        )
        info = AnswerInfo()
        drained = target(provider, on_leave=OnLeave.DRAIN)
        over = route(drained, target(Scripted("x")), strategy=Strategy.ORDERED, hedge_after_s=99.0 if hedged else None)
        stream = attempts.stream(model_call(over, streamed=True), info)
        if closed:
            await anext(stream)  # closing before it would wait for it: nobody can close a generator that runs
            await stream.aclose()
        else:
            task = asyncio.create_task(_read(stream))
            await asyncio.sleep(at_s)
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled()
        assert provider.under_way == 1, "it goes on"
        assert info.attempts[0].end_time == 0
        assert attempts._health.snapshot()[0].in_flight == 1
        await drains.ended()
        assert provider.aborted == 0
        assert info.record.usage == TokenUsage(10, 5), "the exact usage is known"
        assert [(one is info, end > 0) for one, end in told] == [(True, True)]
        assert reasons(info) == ["CANCELLED"]
        assert none_in_flight(attempts)

    run(main())


async def _read(stream: AsyncGenerator[Part, None]) -> None:
    async for _ in stream:
        pass


@pytest.mark.parametrize("embeds", [False, True], ids=["answer", "vectors"])
@pytest.mark.parametrize("hedged", [False, True])
def test_an_answer_in_one_piece_is_drained_too(hedged: bool, embeds: bool) -> None:
    async def main() -> None:
        provider = Scripted(always=SLOW)
        drains = Draining()
        told: list[AnswerInfo] = []
        attempts = Attempts(Health(), drains=drains, drained=lambda info, _attempt: told.append(info))
        info = AnswerInfo()
        targets = [target(one, on_leave=OnLeave.DRAIN, embeds=embeds) for one in (provider, Scripted("x"))]
        over = route(*targets, strategy=Strategy.ORDERED, hedge_after_s=99.0 if hedged else None)
        ask_for = attempts.embed if embeds else attempts.complete
        task = asyncio.create_task(ask_for(model_call(over), info))
        await asyncio.sleep(0.5)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        assert provider.under_way == 1, "it goes on"
        await drains.ended()
        assert provider.aborted == 0
        assert info.record.usage == TokenUsage(10, 5), "the exact usage is known"
        assert told == [info]
        assert reasons(info) == ["CANCELLED"]
        assert none_in_flight(attempts)

    run(main())


def test_an_answer_in_one_piece_that_is_drained_fails_like_others() -> None:
    async def main() -> None:
        first, second = Scripted("a", always=[Fail("PROVIDER_UNAVAILABLE")]), Scripted("b", always=[ValueError("bug")])
        attempts = Attempts(Health(), drains=Draining())
        targets = [target(one, on_leave=OnLeave.DRAIN) for one in (first, second)]
        info = AnswerInfo()
        with pytest.raises(ValueError, match="bug"):
            await attempts.complete(model_call(route(*targets, strategy=Strategy.ORDERED)), info)
        assert reasons(info) == ["PROVIDER_UNAVAILABLE", "INTERNAL"]
        assert none_in_flight(attempts)

    run(main())


def test_draining_that_is_given_up_aborts() -> None:
    async def main() -> None:
        provider = Scripted(always=SLOW)
        drains = Draining(s=1.0)
        attempts = Attempts(Health(), drains=drains)
        drained = route(target(provider, on_leave=OnLeave.DRAIN))
        stream = attempts.stream(model_call(drained, streamed=True), AnswerInfo())
        await anext(stream)
        await stream.aclose()
        await drains.ended()
        assert provider.under_way == 0
        assert provider.aborted == 1
        assert none_in_flight(attempts)

    run(main())


def test_draining_that_is_refused_aborts() -> None:
    async def main() -> None:
        provider = Scripted(always=SLOW)
        drains = Drains(drains_max=0)
        attempts = Attempts(Health(), drains=drains)
        drained = route(target(provider, on_leave=OnLeave.DRAIN))
        stream = attempts.stream(model_call(drained, streamed=True), AnswerInfo())
        await anext(stream)
        await stream.aclose()
        await asyncio.sleep(0.1)
        assert provider.aborted == 1
        assert none_in_flight(attempts)
        await drains.close()

    run(main())


def test_what_was_never_sent_is_not_drained() -> None:
    class Connecting(Scripted):
        async def stream(self, call: object, record: AnswerRecord) -> AsyncGenerator[Part, None]:
            self.under_way += 1
            try:
                await asyncio.sleep(60)
                yield Part(b"", [])
            finally:
                self.under_way -= 1

    async def main() -> None:
        provider = Connecting()
        drains = Draining()
        attempts = Attempts(Health(), drains=drains)
        over = route(target(provider, on_leave=OnLeave.DRAIN))
        task = asyncio.create_task(_read(attempts.stream(model_call(over, streamed=True), AnswerInfo())))
        await asyncio.sleep(1.0)
        task.cancel()
        await asyncio.wait([task])
        assert not drains.tasks
        assert provider.under_way == 0

    run(main())


def test_a_target_that_drains_answers_and_fails_like_others() -> None:
    async def main() -> None:
        first = Scripted("a", scripts=[[ROLE, Fail("PROVIDER_UNAVAILABLE")]])
        attempts = Attempts(Health(), drains=Draining())
        over = route(
            target(first, on_leave=OnLeave.DRAIN),
            target(Scripted("b"), on_leave=OnLeave.DRAIN),
            strategy=Strategy.ORDERED,
        )
        info = AnswerInfo()
        assert await ask(attempts, model_call(over, streamed=True), info) == "hello."
        assert reasons(info) == ["PROVIDER_UNAVAILABLE", ""]
        assert await ask(attempts, model_call(over, streamed=True), AnswerInfo()) == "hello."
        assert len(first.calls) == 2

    run(main())


def test_a_slow_reader_holds_the_provider_back() -> None:
    async def main() -> None:
        many: list[Step] = [*[Say("x")] * 500, FINISH]
        provider = Scripted(always=many)
        attempts = Attempts(Health(), drains=Draining())
        over = route(target(provider, on_leave=OnLeave.DRAIN))
        info = AnswerInfo()
        stream = attempts.stream(model_call(over, streamed=True), info)
        await anext(stream)
        await asyncio.sleep(1.0)
        assert info.record.output_bytes <= AHEAD_MAX + 2
        assert sum([1 async for _ in stream]) == 500
        assert reasons(info) == [""]

    run(main())


@pytest.mark.parametrize("pumped", [False, True])
def test_what_is_held_back_is_bounded(pumped: bool) -> None:
    async def main() -> None:
        provider = Scripted(always=[*[ROLE] * (HELD_MAX + 50), Wait(1.0), Say("x"), FINISH])
        attempts = Attempts(Health(), drains=Draining() if pumped else None)
        over = route(target(provider, on_leave=OnLeave.DRAIN))
        stream = attempts.stream(model_call(over, streamed=True), AnswerInfo())
        began = asyncio.get_running_loop().time()
        await anext(stream)
        assert asyncio.get_running_loop().time() == began, "past the bound it goes out before a token is there"
        assert sum([1 async for _ in stream]) == HELD_MAX + 50 + 1

    run(main())

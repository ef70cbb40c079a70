"""Streams that nobody reads any more: read to their end, within bounds."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import pytest

from services.inference.providers.base import AnswerRecord, TokenUsage
from services.inference.providers.draining import Drains
from services.inference.providers.openai_compatible import OpenAiCompatible
from tests.support.provider import Behaviour, Fault, MisbehavingProvider
from tests.unit.inference.calls import request

Make = Callable[..., Drains]


@pytest.fixture
async def drains_with() -> AsyncIterator[Make]:
    async with contextlib.AsyncExitStack() as stack:

        def make(**bounds: float) -> Drains:
            drains = Drains(**bounds)  # type: ignore[arg-type]
            stack.push_async_callback(drains.close)
            return drains

        yield make


async def abandoned(drains: Drains, provider: OpenAiCompatible, record: AnswerRecord, done: Callable[[], None]) -> None:
    """A stream that is left after its first part."""
    parts = provider.stream(request(), record)
    await anext(parts)
    drains.adopt(parts, record, done)


async def test_usage_becomes_exact(upstream: MisbehavingProvider, ours: OpenAiCompatible, drains_with: Make) -> None:
    upstream.default = Behaviour(pace_s=0.005)
    drains, record, done = drains_with(), AnswerRecord(), asyncio.Event()
    await abandoned(drains, ours, record, done.set)
    assert record.usage is None
    await done.wait()
    assert record.usage == TokenUsage(upstream.calls[0].prompt_tokens, 8)
    assert upstream.calls[0].whole


@pytest.mark.parametrize("bounds", [{"drain_s": 0.05}, {"bytes_max": 100}, {"drains_max": 0}])
async def test_bounds_abort_it(
    upstream: MisbehavingProvider, ours: OpenAiCompatible, drains_with: Make, bounds: dict[str, float]
) -> None:
    upstream.default = Behaviour(text="word " * 100_000, pace_s=0.01)
    record, done = AnswerRecord(), asyncio.Event()
    await abandoned(drains_with(**bounds), ours, record, done.set)
    await done.wait()
    await upstream.calls[0].aborted.wait()
    assert record.usage is None


@pytest.mark.parametrize("fault", [Fault.CUT, Fault.STALL, Fault.BROKEN_CHUNK])
async def test_a_fault_ends_it_quietly(
    upstream: MisbehavingProvider, ours: OpenAiCompatible, drains_with: Make, fault: Fault
) -> None:
    upstream.default = Behaviour(fault=fault)
    drains, count = drains_with(), list[int]()
    done = asyncio.Event()

    def ended() -> None:
        count.append(1)
        done.set()

    await abandoned(drains, ours, AnswerRecord(), ended)
    await done.wait()
    await drains.close()
    assert count == [1]


async def test_closing_aborts_what_is_drained(
    upstream: MisbehavingProvider, ours: OpenAiCompatible, drains_with: Make
) -> None:
    upstream.default = Behaviour(pace_s=0.01, text="word " * 10_000)
    drains, done = drains_with(), list[int]()
    for number in range(3):
        await abandoned(drains, ours, AnswerRecord(), lambda number=number: done.append(number))  # type: ignore[misc]
    assert len(drains) == 3
    await drains.close()
    assert sorted(done) == [0, 1, 2]
    assert len(drains) == 0
    await upstream.until(lambda record: record.running == 0)
    await abandoned(drains, ours, AnswerRecord(), lambda: done.append(9))  # after it: aborted at once
    await upstream.until(lambda record: record.aborted == 4)
    assert done[-1] == 9

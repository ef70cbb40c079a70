"""Half-open discipline: probes of ours decide, callers never pay for them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any

import pytest

from services.inference.engine.call import AnswerInfo, AttemptRecord
from services.inference.providers.base import AnswerRecord, Part, UpstreamCall
from services.inference.routing.attempts import Attempts
from services.inference.routing.breaker import Phase
from services.inference.routing.health import Health
from services.inference.routing.probes import Probes
from services.inference.routing.route import BreakerPolicy, RetryPolicy, Strategy, Target
from services.mesh.errors import MeshError
from tests.unit.inference.routing.scripted import (
    Fail,
    Scripted,
    Step,
    Wait,
    ask,
    model_call,
    reasons,
    route,
    run,
    target,
)

UNAVAILABLE = "PROVIDER_UNAVAILABLE"
POLICY = BreakerPolicy(failures=3, open_s=5.0, open_most_s=60.0)


class Outage(Scripted):
    """Down between two moments of the loop's clock."""

    def __init__(self, name: str, begin: float, end: float) -> None:
        super().__init__(name)
        self.begin, self.end = begin, end
        self.pings: list[float] = []

    def stream(self, call: UpstreamCall, record: AnswerRecord) -> AsyncGenerator[Part, None]:
        now = asyncio.get_running_loop().time()
        if call.output_cap == 1 or call.body.get("input") == "ping":
            self.pings.append(now)
        if self.begin <= now < self.end:
            self.scripts = [[Fail(UNAVAILABLE)]]
        return super().stream(call, record)


def probed(main: Callable[[Attempts, Probes], Coroutine[Any, Any, None]], **options: Any) -> None:
    """Runs with probes in the background."""

    async def around() -> None:
        health = Health()
        probes = Probes(health, **options)
        task = asyncio.create_task(probes.run())
        try:
            await main(Attempts(health), probes)
        finally:
            task.cancel()
            await asyncio.wait([task])
        assert task.cancelled()

    run(around())


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("strategy", list(Strategy))
def test_during_an_outage_every_request_is_served_by_the_other(streamed: bool, strategy: Strategy) -> None:
    """60 s of one target's outage, ten callers a second: the time line of the breaker, to the call."""

    async def main(attempts: Attempts, _probes: Probes) -> None:
        loop = asyncio.get_running_loop()
        bad, good = Outage("a", 1010.0, 1070.0), Scripted("b")
        over = route(target(bad), target(good), strategy=strategy, breaker=POLICY)
        failed_over = []
        closed: list[tuple[float, bool]] = []
        for _ in range(1100):
            info = AnswerInfo()
            assert await ask(attempts, model_call(over, streamed=streamed), info) == "hello."
            if len(info.attempts) > 1:
                failed_over.append(loop.time())
                assert reasons(info) == [UNAVAILABLE, ""]
            now_closed = attempts._health.of(over.targets[0], 1).breaker.closed
            if not closed or closed[-1][1] is not now_closed:
                closed.append((loop.time(), now_closed))
            await asyncio.sleep(0.1)
        assert len(failed_over) <= POLICY.failures, "only the first ones had to be made good"
        if strategy is Strategy.ORDERED:
            assert len(failed_over) == POLICY.failures
        if not failed_over or len(failed_over) < POLICY.failures:
            return  # this strategy hardly asked it
        opened = failed_over[-1]
        assert bad.pings == pytest.approx([opened + 5, opened + 15, opened + 35, opened + 75])
        assert [one for _, one in closed] == [True, False, True]
        assert closed[-1][0] == pytest.approx(bad.pings[-1], abs=0.2), "back by the first probe after the outage"
        callers_at = [one for one in bad.times if one not in bad.pings]
        assert not [one for one in callers_at if opened < one < bad.pings[-1]], "no caller was sent there meanwhile"
        assert [one for one in callers_at if one > bad.pings[-1]] or strategy is not Strategy.ORDERED

    probed(main)


def test_with_no_other_target_callers_are_refused_fast_and_told_when_to_come_back() -> None:
    async def main(attempts: Attempts, _probes: Probes) -> None:
        loop = asyncio.get_running_loop()
        bad = Outage("a", 0.0, 1004.0)
        over = route(target(bad), breaker=POLICY, retry=RetryPolicy(attempts_max=1))
        for _ in range(3):
            with pytest.raises(MeshError) as caught:
                await ask(attempts, model_call(over))
            assert caught.value.metadata["attempts"] == "1"
        await asyncio.sleep(2.0)
        began = loop.time()
        for streamed in (False, True):
            info = AnswerInfo()
            with pytest.raises(MeshError) as caught:
                await ask(attempts, model_call(over, streamed=streamed), info)
            assert caught.value.reason == UNAVAILABLE
            assert caught.value.retry_after_s == pytest.approx(3.0)
            assert caught.value.metadata["attempts"] == "0"
            assert not info.attempts
        assert loop.time() == began
        assert len(bad.calls) == 3
        await asyncio.sleep(caught.value.retry_after_s or 0)
        await asyncio.sleep(0.01)
        assert await ask(attempts, model_call(over)) == "hello.", "who waits as told is served"

    probed(main)


def test_a_probe_is_small_and_told_of() -> None:
    told: list[tuple[Target, AttemptRecord]] = []

    async def main(attempts: Attempts, _probes: Probes) -> None:
        chats, embeds = Outage("a", 0.0, 1007.0), Outage("b", 0.0, 1001.0)
        over = route(target(chats), target(embeds, embeds=True), breaker=BreakerPolicy(failures=1, open_s=5.0))
        with pytest.raises(MeshError):
            await attempts.complete(model_call(over, deadline=0.0), AnswerInfo())
        with pytest.raises(MeshError):
            await attempts.embed(model_call(over, deadline=0.0), AnswerInfo())
        await asyncio.sleep(20.0)
        assert all(one.phase is Phase.CLOSED for one in attempts._health.snapshot())
        ping = chats.calls[-1]
        assert (ping.output_cap, len(ping.body["messages"]), ping.upstream_model) == (1, 1, "up-model-a")
        assert embeds.calls[-1].body == {"input": "ping"}
        assert sorted((one.name, attempt.reason) for one, attempt in told) == [
            ("model-a", ""),
            ("model-a", UNAVAILABLE),
            ("model-b", ""),
        ]
        assert all(attempt.end_time >= attempt.begin_time > 0 for _, attempt in told)
        assert told[-1][1].record.usage is not None

    probed(main, on_probe=lambda one, attempt: told.append((one, attempt)))


@pytest.mark.parametrize(
    ("answer", "phase"),
    [
        (Fail(UNAVAILABLE), Phase.OPEN),
        (Fail("PROVIDER_CREDENTIAL_REFUSED"), Phase.OPEN),
        (Fail("MODEL_NOT_FOUND"), Phase.OPEN),
        (ValueError("bug"), Phase.OPEN),
        (Wait(99.0), Phase.OPEN),
        (Fail("PROVIDER_REJECTED"), Phase.CLOSED),
        (Fail("PROVIDER_CONTENT_REFUSED"), Phase.CLOSED),
        (Fail("PROVIDER_RATE_LIMITED", retry_after_s=9.0), Phase.CLOSED),
    ],
)
def test_what_a_probe_finds_decides(answer: Step, phase: Phase) -> None:
    async def main(attempts: Attempts, _probes: Probes) -> None:
        provider = Scripted(always=[Fail(UNAVAILABLE)])
        over = route(target(provider), breaker=BreakerPolicy(failures=1, open_s=5.0))
        with pytest.raises(MeshError):
            await ask(attempts, model_call(over))
        provider.always = [answer]
        await asyncio.sleep(4.0)
        assert len(provider.calls) == 1
        await asyncio.sleep(4.0)
        (status,) = attempts._health.snapshot()
        if isinstance(answer, Wait):
            assert status.phase is Phase.HALF_OPEN, "under way, and no caller let through"
            with pytest.raises(MeshError) as caught:
                await ask(attempts, model_call(over))
            assert (caught.value.retry_after_s or 0) > 0
            await asyncio.sleep(3.0)
            (status,) = attempts._health.snapshot()
            assert provider.under_way == 0, "a probe takes 3 s at most, as set here"
        assert status.phase is phase
        assert len(provider.calls) == 2
        if phase is Phase.OPEN:
            assert status.next_probe_s is not None
            assert status.next_probe_s > 5.0, "twice as long as before"
        if isinstance(answer, Fail) and answer.retry_after_s:
            assert status.cooldown_s == pytest.approx(6.0)

    probed(main, timeout_s=3.0)


def test_ending_the_probes_aborts_what_is_under_way() -> None:
    async def main() -> None:
        provider = Scripted(always=[Fail(UNAVAILABLE)])
        health = Health()
        probes = Probes(health)
        task = asyncio.create_task(probes.run())
        attempts = Attempts(health)
        over = route(target(provider), breaker=BreakerPolicy(failures=1, open_s=5.0))
        with pytest.raises(MeshError):
            await ask(attempts, model_call(over))
        provider.always = [Wait(99.0)]
        await asyncio.sleep(6.0)
        assert provider.under_way == 1
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        assert provider.under_way == 0
        assert health.snapshot()[0].phase is Phase.OPEN, "whoever takes over probes it again"

    run(main())


def test_targets_that_are_gone_are_not_probed() -> None:
    async def main(attempts: Attempts, _probes: Probes) -> None:
        provider = Scripted(always=[Fail(UNAVAILABLE)])
        over = route(target(provider), breaker=BreakerPolicy(failures=1, open_s=5.0))
        with pytest.raises(MeshError):
            await ask(attempts, model_call(over))
        attempts.configure([route(target(Scripted("b")), version=2)])
        await asyncio.sleep(100.0)
        assert len(provider.calls) == 1

    probed(main)


def test_a_new_version_is_probed_by_its_own_provider() -> None:
    """The key was rotated: the provider object is another, the target's health the same."""

    async def main(attempts: Attempts, _probes: Probes) -> None:
        old, new = Scripted(always=[Fail("PROVIDER_CREDENTIAL_REFUSED")]), Scripted()
        options: dict[str, Any] = {"breaker": BreakerPolicy(failures=1, open_s=5.0)}
        with pytest.raises(MeshError):
            await ask(attempts, model_call(route(target(old), **options)))
        over = route(target(new), version=2, **options)
        attempts.configure([over])
        await asyncio.sleep(6.0)
        assert len(old.calls) == 1
        assert len(new.calls) == 1
        assert await ask(attempts, model_call(over)) == "hello."

    probed(main)

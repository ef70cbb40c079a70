"""The attempts of a call: from a route to an answer, over as many targets as its policy allows.

One target that works is the common case, and costs next to nothing here: no tasks, no timers, no locks. What an
attempt that fails leads to stands in failures.py and fallback.py.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Callable, Iterable

from services.inference.engine.call import AnswerInfo, AttemptRecord, ModelCall
from services.inference.providers import faults
from services.inference.providers.base import Part
from services.inference.routing.canary import Canaries
from services.inference.routing.fallback import Fallback, Sleep
from services.inference.routing.health import Health
from services.inference.routing.hedging import Contender, Race, Whole
from services.inference.routing.outcomes import Outcomes
from services.inference.routing.plan import Plan, Plans
from services.inference.routing.pump import HELD_MAX, Drains, Pump
from services.inference.routing.route import Route
from services.inference.routing.strategies import Lane
from services.mesh.errors import MeshError

# Goes out between the parts of a stream that broke and those of the one that begins anew: all before it are void. For
# readers of the bytes a comment, which servers of events may send at any time.
RESTARTED = b": restarted\n\n"


def is_restart(part: Part) -> bool:
    """Whether all parts before this one are void: the answer begins anew after it."""
    return not part.chunks and part.data == RESTARTED


def _nobody(_info: AnswerInfo, _attempt: AttemptRecord) -> None:
    return


class Attempts:
    """Calls providers by the routes of calls.

    `rng` gives numbers in [0, 1). `sleep` and the clock of `health` are the event loop's. `drains`: takes over answers
    of targets with on_leave DRAIN whose callers have left; such an attempt ends when it does, and `drained(info,
    attempt)` says so (until then its `end_time` is 0).
    """

    def __init__(
        self,
        health: Health,
        *,
        rng: Callable[[], float] = random.random,
        sleep: Sleep = asyncio.sleep,
        drains: Drains | None = None,
        canaries: Canaries | None = None,
        drained: Callable[[AnswerInfo, AttemptRecord], None] = _nobody,
    ) -> None:
        self._health = health
        self._clock = health.clock
        self._rng = rng
        self._sleep = sleep
        self._drains = drains
        self._canaries = canaries
        self._drained = drained
        self._plans = Plans(health, rng, canaries)
        self._outcomes = Outcomes(health.clock)

    def configure(self, routes: Iterable[Route]) -> None:
        """Takes the routes of a new version of the configuration: what it no longer has is forgotten."""
        held = list(routes)
        self._health.configure(held)
        self._plans.configure(held)
        if self._canaries is not None:
            self._canaries.configure(held)

    async def complete(self, call: ModelCall, info: AnswerInfo) -> bytes:
        """A whole answer as OpenAI's JSON; rescued wholly. MeshError: the last attempt's, or PROVIDER_UNAVAILABLE or
        PROVIDER_RATE_LIMITED with `retry_after_s` where no target may take the call."""
        return await self._whole(call, info, embeds=False)

    async def embed(self, call: ModelCall, info: AnswerInfo) -> bytes:
        """Vectors as OpenAI's JSON; as `complete`."""
        return await self._whole(call, info, embeds=True)

    async def stream(self, call: ModelCall, info: AnswerInfo) -> AsyncGenerator[Part, None]:
        """An answer as it comes. `info` says who answers before the first part is there.

        Until the first token nothing goes out, and a failed attempt is made good as in `complete`. After it, by the
        route's policy, the error is raised, or the answer begins anew on another target: then `info.restarted` is set,
        and a part for which `is_restart` holds goes out first.
        """
        plan = self._plans.of(call.route)
        lane = self._first(plan, call)
        fallback: Fallback | None = None
        racing = plan.hedge_after_s is not None
        restartable = plan.restarts and call.restartable and (call.body.get("n") or 1) == 1
        gone_out = False
        while True:
            pump: Pump | None = None
            if racing:
                racing = False
                fallback = self._fallback(plan, call, info)
                winner = await self._race_streams(plan, call, info, fallback, lane)
                lane, attempt, pump = winner.lane, winner.attempt, winner.work
                parts = pump.parts()
            else:
                attempt = self._outcomes.begin(lane, info)
                parts = lane.provider.stream(lane.upstream(call), attempt.record)
                if lane.drains and self._drains is not None:
                    pump = Pump(parts, attempt.record, self._clock)
                    parts = pump.parts()
            record = attempt.record
            begun = False
            held: list[Part] = []
            try:
                async for part in parts:
                    if begun:
                        if restartable and _irreversible(part):
                            restartable = False
                        yield part
                        continue
                    if not record.began and len(held) < HELD_MAX:
                        held.append(part)
                        continue
                    begun = True
                    info.first_token_time = pump.begun_time if pump is not None else self._clock()
                    if gone_out:
                        info.restarted = True
                        yield Part(RESTARTED, [])
                    gone_out = True
                    for one in held:
                        yield one
                    if restartable and _irreversible(part):
                        restartable = False
                    yield part
                if not begun:
                    raise faults.broken(lane.provider.name, "the stream ended before it began")
            except MeshError as error:
                self._outcomes.failed(plan, lane, attempt, error)
                if gone_out and (not restartable or record.finish_reasons):
                    error.metadata["attempts"] = str(len(info.attempts))
                    raise
                if fallback is None:
                    fallback = self._fallback(plan, call, info)
                lane = await fallback.next(lane, error, only_others=gone_out)
            except BaseException as why:
                await self._leave(plan, lane, info, attempt, pump, why)
                if pump is None:
                    await parts.aclose()
                raise
            else:
                self._outcomes.answered(plan, lane, attempt, info.first_token_time)
                return

    async def _whole(self, call: ModelCall, info: AnswerInfo, *, embeds: bool) -> bytes:
        plan = self._plans.of(call.route, embeds=embeds)
        lane = self._first(plan, call)
        if plan.hedge_after_s is not None:
            return await self._race_whole(plan, call, info, lane, embeds=embeds)
        fallback: Fallback | None = None
        while True:
            attempt = self._outcomes.begin(lane, info)
            work: Whole | None = None
            try:
                if lane.drains and self._drains is not None:
                    work = _fetch(call, lane, attempt, embeds=embeds)
                    answer = await work.result()
                else:
                    ask = lane.provider.embed if embeds else lane.provider.complete
                    answer = await ask(lane.upstream(call), attempt.record)
            except MeshError as error:
                self._outcomes.failed(plan, lane, attempt, error)
                if fallback is None:
                    fallback = self._fallback(plan, call, info)
                lane = await fallback.next(lane, error)
            except BaseException as why:
                await self._leave(plan, lane, info, attempt, work, why)
                raise
            else:
                self._outcomes.answered(plan, lane, attempt, None)
                return answer

    def _first(self, plan: Plan, call: ModelCall) -> Lane:
        now = self._clock()
        lane = plan.pick(call, now)
        if lane is None:
            raise plan.refusal(now)
        return lane

    def _fallback(self, plan: Plan, call: ModelCall, info: AnswerInfo) -> Fallback:
        return Fallback(plan, call, info, clock=self._clock, rng=self._rng, sleep=self._sleep)

    async def _race_whole(self, plan: Plan, call: ModelCall, info: AnswerInfo, lane: Lane, *, embeds: bool) -> bytes:
        def start(lane: Lane, attempt: AttemptRecord) -> Whole:
            return _fetch(call, lane, attempt, embeds=embeds)

        def drain(one: Contender[Whole]) -> bool:
            return self._drain(plan, one.lane, info, one.attempt, one.work)

        fallback = self._fallback(plan, call, info)
        winner = await Race(plan, info, fallback, self._outcomes, start, drain).run(lane)
        self._outcomes.answered(plan, winner.lane, winner.attempt, None)
        return winner.work.answer

    async def _race_streams(
        self, plan: Plan, call: ModelCall, info: AnswerInfo, fallback: Fallback, lane: Lane
    ) -> Contender[Pump]:
        def start(lane: Lane, attempt: AttemptRecord) -> Pump:
            parts = lane.provider.stream(lane.upstream(call), attempt.record)
            return Pump(parts, attempt.record, self._clock)

        def drain(one: Contender[Pump]) -> bool:
            return self._drain(plan, one.lane, info, one.attempt, one.work)

        return await Race(plan, info, fallback, self._outcomes, start, drain).run(lane)

    async def _leave(
        self,
        plan: Plan,
        lane: Lane,
        info: AnswerInfo,
        attempt: AttemptRecord,
        work: Pump | Whole | None,
        why: BaseException,
    ) -> None:
        """The caller has left, or an error of ours ended the call: aborted at once, or handed over to be drained."""
        if isinstance(why, Exception) or work is None or not self._drain(plan, lane, info, attempt, work):
            self._outcomes.left(plan, lane, attempt, why)
            if work is not None:
                await work.abort()

    def _drain(self, plan: Plan, lane: Lane, info: AnswerInfo, attempt: AttemptRecord, work: Pump | Whole) -> bool:
        """Hands an answer over to be drained; whether it was. What was never sent costs nothing, and is aborted."""
        if not lane.drains or self._drains is None or not attempt.record.sent or info.aborted:
            return False

        def done() -> None:
            work.cancel()
            self._outcomes.left(plan, lane, attempt)
            self._drained(info, attempt)

        self._drains.adopt(work.rest(), attempt.record, done)
        return True


def _fetch(call: ModelCall, lane: Lane, attempt: AttemptRecord, *, embeds: bool) -> Whole:
    ask = lane.provider.embed if embeds else lane.provider.complete
    return Whole(lambda: ask(lane.upstream(call), attempt.record))


def _irreversible(part: Part) -> bool:
    """Whether a part carries what a caller may act on before the answer has ended: a call of a tool."""
    for chunk in part.chunks:
        for choice in chunk.get("choices") or ():
            delta = choice.get("delta") or {}
            if delta.get("tool_calls") or delta.get("function_call"):
                return True
    return False

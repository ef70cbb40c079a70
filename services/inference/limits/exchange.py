"""Between this process and Redis: one call at a time for an organisation, for all its calls that wait."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Sequence

from services.inference.limits import statements
from services.inference.limits.epochs import Epochs
from services.inference.limits.metrics import ROUNDS
from services.inference.limits.model import Period
from services.inference.limits.options import LimitOptions
from services.inference.limits.redis_time import RedisTime
from services.inference.limits.refusals import HELD_RETRY_S, refusal, unavailable, wait_s
from services.inference.limits.script import MAKE, USE, Answer, Script, Want
from services.inference.limits.slices import Account, Org, Slice, Waiter
from services.inference.limits.totals import Totals, seed
from services.inference.limits.warnings import Watermarks
from services.mesh.errors import MeshError
from services.mesh.ids import SYSTEM_CLOCK, Clock
from services.mesh.redis import Redis, RedisUnavailable
from services.mesh.telemetry.logs import get_logger

log = get_logger()
_rounds = itertools.count(1)
_sequences = itertools.count(1)


class Exchange:
    """Serves organisations whose calls wait, or that have something to tell."""

    def __init__(
        self,
        redis: Redis,
        script: Script,
        totals: Totals,
        epochs: Epochs,
        time: RedisTime,
        options: LimitOptions,
        new_id: Callable[[], str],
        clock: Clock = SYSTEM_CLOCK,
        marks: Watermarks | None = None,
    ) -> None:
        self._redis = redis
        self._script = script
        self._totals = totals
        self._epochs = epochs
        self._time = time
        self._options = options
        self._new_id = new_id
        self._clock = clock
        self._marks = marks
        self.process = new_id()  # this life of this process: what Redis leases to
        self._serving: dict[Org, asyncio.Task[None]] = {}

    def start(self, org: Org) -> None:
        """Calls Redis for an organisation soon, if that is not under way: after the callbacks of this tick, so that
        all calls of the tick go together."""
        if org not in self._serving:
            self._serving[org] = asyncio.get_running_loop().create_task(self._serve(org))

    async def flush(self, org: Org) -> None:
        """Tells Redis what changed, and waits until that is done."""
        if org not in self._serving:
            statements.size_up(org)
            self.start(org)
        await asyncio.wait([self._serving[org]])

    async def refresh(self, account: Account) -> None:
        """Has Redis say anew how the limits of an account stand."""
        await self._epochs.whole()  # before, it would say that nothing was used
        for _ in range(2):  # a limit of which Redis knows nothing is seeded by the first
            for one in account.slices:
                one.stated = (-1, -1)
                account.org.touch(one)
            await self.flush(account.org)

    def serves(self, org: Org) -> bool:
        """Whether a call is under way."""
        return org in self._serving

    async def close(self) -> None:
        """Cancels the calls that are under way."""
        tasks = list(self._serving.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _serve(self, org: Org) -> None:
        try:
            while True:
                await self._round(org)
                org.waiting = [one for one in org.waiting if not one.future.done()]
                if not org.waiting and not org.hurried:
                    return
        except Exception as error:
            waiting, org.waiting = org.waiting, []
            for waiter in waiting:
                if not waiter.future.done():
                    waiter.future.set_exception(error)
            log.error("limits could not be taken", org_id=org.org_id, exc_info=error)
        except BaseException:
            for waiter in org.waiting:
                waiter.future.cancel()
            raise
        finally:
            del self._serving[org]

    async def _round(self, org: Org) -> None:
        org.hurried = False
        self._hand_out(org, 0)
        if org.waiting and not await self._epochs.whole():
            self._without_redis(org)
            return
        if not self._epochs.ready:
            return
        wants, complete = statements.wants_of(org, self._time.now(), self._options)
        if complete:
            org.reported_us = int(self._clock.time() * 1_000_000)
        if not wants and not org.live:
            return
        round_number = next(_rounds)
        try:
            answer = await self._call(org, wants)
        except RedisUnavailable:
            statements.undone(org, wants)
            self._without_redis(org)
            return
        except BaseException:
            statements.undone(org, wants)
            raise
        if answer is None:
            statements.undone(org, wants)
            return
        org.called_at = self._time.monotonic()
        unseeded = statements.apply(org, wants, answer, round_number)
        if self._marks is not None:
            for want in wants:
                self._marks.look(want.slice)
        self._hand_out(org, round_number)
        if unseeded:
            try:
                await seed(self._totals, org.org_id, unseeded)
            except MeshError:
                self._refuse_unseeded(org, unseeded)

    async def _call(self, org: Org, wants: Sequence[Want]) -> Answer | None:
        """The script's answer; None where it did nothing because of the epoch. A call that came late is repeated, as
        long as Redis is not known to be away: it may be our own event loop that stood still."""
        mode = USE
        retries = 0
        while True:
            try:
                answer = await self.send(org, wants, mode)
            except RedisUnavailable:
                retries += 1
                if retries > self._options.retries_max or not self._redis.available:
                    raise
                continue
            if answer.outcome == "ok":
                return answer
            if answer.outcome == "stale":
                # Another process took us for dead and has settled what we held. We live on under a new name.
                log.warning(
                    "a process's limits were settled by another, it goes on under a new id", process=self.process
                )
                self.process = self._new_id()
            elif await self._epochs.confirm():
                mode = MAKE  # the organisation is new here, or was not touched since the epoch began
            else:
                return None

    async def send(self, org: Org, wants: Sequence[Want], mode: str) -> Answer:
        """One call of the script. Raises RedisUnavailable."""
        answer = await self._script.call(
            org.org_id,
            wants,
            process=self.process,
            sequence=next(_sequences),
            lease_ms=int(self._options.lease_s * 1000) if statements.still_holds(org, wants) else 0,
            epoch=self._epochs.value,
            mode=mode,
            reported_us=org.reported_us,
        )
        ROUNDS.inc()
        self._time.heard(answer.time_s)
        return answer

    def _hand_out(self, org: Org, round_number: int) -> None:
        """Lets those that wait take, the first first; refuses those for which this round had too little."""
        now = self._time.now()
        waiting, org.waiting = org.waiting, []
        for waiter in waiting:
            if waiter.future.done():
                continue
            slices = waiter.account.take(waiter.amounts, now)
            if slices is not None:
                waiter.future.set_result(slices)
                continue
            waiter.rounds += 1
            short = [one for one in waiter.account.slices if one.free < waiter.amounts[one.unit]]
            refused = [one for one in short if round_number and one.short_in == round_number]
            if waiter.rounds > 2 * self._options.rounds_max:
                refused = short
            if refused:
                waiter.future.set_exception(self._refuse(refused, waiter, now))
            else:
                org.waiting.append(waiter)

    def _refuse(self, refused: Sequence[Slice], waiter: Waiter, now: float) -> MeshError:
        # Of several limits that do not reach, the one that takes longest to be free again.
        worst, worst_s = refused[0], -1.0
        for one in refused:
            need = waiter.amounts[one.unit]
            spent = one.meter.spec.period != Period.ALWAYS and one.used_at(now) + need > one.meter.limit
            least_s = max(HELD_RETRY_S, wait_s(one, need, now)) if spent else HELD_RETRY_S
            one.refused_until = now + (self._options.spent_s if spent else self._options.held_s)
            one.refused_need = need
            if spent and self._marks is not None:
                self._marks.look(one, refused=True)
            if least_s > worst_s:
                worst, worst_s = one, least_s
        return refusal(worst, waiter.amounts[worst.unit], now)

    def _refuse_unseeded(self, org: Org, unseeded: Sequence[Slice]) -> None:
        """PostgreSQL is away, and Redis does not know what was used before. Others of the organisation go on."""
        lacking = set(unseeded)
        waiting, org.waiting = org.waiting, []
        for waiter in waiting:
            missing = [one for one in waiter.account.slices if one in lacking and one.free < waiter.amounts[one.unit]]
            if missing and not waiter.future.done():
                waiter.future.set_exception(unavailable(missing[0]))
            else:
                org.waiting.append(waiter)

    def _without_redis(self, org: Org) -> None:
        """Lets those that wait go by this process's own share of what slides or comes back, and refuses the rest."""
        now = self._time.now()
        waiting, org.waiting = org.waiting, []
        for waiter in waiting:
            if waiter.future.done():
                continue
            account = waiter.account
            if not account.begin <= now < account.end:
                account.roll(now)
            short = [one for one in account.slices if one.free < waiter.amounts[one.unit]]
            firm = next((one for one in short if not one.meter.spec.shared_out), None)
            if firm is not None:
                waiter.future.set_exception(unavailable(firm))
                continue
            spent = [one for one in short if not _overdraw(one, waiter.amounts[one.unit], org, now)]
            slices = account.take(waiter.amounts, now)
            if slices is not None:
                waiter.future.set_result(slices)
            else:
                waiter.future.set_exception(
                    refusal(spent[0], waiter.amounts[spent[0].unit], now) if spent else unavailable(short[0])
                )


def _overdraw(one: Slice, need: int, org: Org, now: float) -> bool:
    """Frees what is needed beyond what was leased, within this process's share; Redis is told when it is back."""
    own = one.settled + one.reserved + one.free
    if one.before:
        own += (one.used_at(now) - one.used) // org.processes
    if own - one.free + need > one.meter.limit // org.processes:
        return False
    one.free = need
    org.live.add(one)
    org.touch(one)
    return True

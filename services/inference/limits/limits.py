"""Limits of calls, and reservations against them: decided in this process, leased from Redis in slices.

    limits = Limits(redis, totals_of(database), …); mesh.background("limits", limits.run)
    reservation = await limits.reserve(caller, tokens=…, nanos=…)      # all limits of the caller, or MeshError
    …
    reservation.settle(tokens=…, nanos=…)                              # or .release()

A process holds a slice of each limit in memory, and most calls take from it without waiting. Where a slice does not
reach, one script call for the organisation, with all calls that wait, leases more. Used and leased together never
exceed the limit, whatever processes do or die, so no call is ever made beyond it.

| gone | what holds |
|---|---|
| Redis | what is leased serves on; limits a minute and at once go by this process's share; all else: UNAVAILABLE |
| what Redis held | counted anew from PostgreSQL and what every process holds (epochs.py) |
| PostgreSQL | all goes on, but for money and days of subjects that were silent for weeks |
| a process | after `lease_s` its calls at once are over; the rest counts as used until its journal says better |
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from services.inference.limits.accounts import Accounts, PlanOf, no_plans
from services.inference.limits.epochs import Epochs, LedgerHooks
from services.inference.limits.exchange import Exchange
from services.inference.limits.metrics import WAITED
from services.inference.limits.model import Amounts, Defaults, LimitValues
from services.inference.limits.options import LimitOptions
from services.inference.limits.recovery import Leave, Recovery
from services.inference.limits.redis_time import RedisTime
from services.inference.limits.refusals import refusal
from services.inference.limits.reservation import FREE, Reservation, give_back, known
from services.inference.limits.script import Script
from services.inference.limits.slices import Account, Org, Slice, Waiter
from services.inference.limits.totals import Totals
from services.inference.limits.warnings import Watermarks
from services.mesh.call import Caller
from services.mesh.ids import SYSTEM_CLOCK, Clock, uuid7
from services.mesh.redis import Redis


class Left(NamedTuple):
    """What is left of one limit. `limit`: the contract's name; `reset_time` in seconds since the epoch, 0: none."""

    kind: int
    subject_id: str
    limit: str
    limit_value: int
    remaining: int
    reset_time: int
    source: int  # a number of LimitSource


class Limits:
    """The limits of one process. `run` in the background; `close` gives back what is held."""

    def __init__(
        self,
        redis: Redis,
        totals: Totals,
        *,
        hooks: LedgerHooks | None = None,
        options: LimitOptions | None = None,
        clock: Clock = SYSTEM_CLOCK,
        new_id: Callable[[], str] = uuid7,
        script: Script | None = None,
        plan_of: PlanOf = no_plans,
        marks: Watermarks | None = None,
    ) -> None:
        self.options = options or LimitOptions()
        script = script or Script(redis)
        self._time = RedisTime(clock)
        self._now = self._time.now
        self._epochs = Epochs(redis, self._time, self.options, new_id, hooks or LedgerHooks())
        self._exchange = Exchange(redis, script, totals, self._epochs, self._time, self.options, new_id, clock, marks)
        self._accounts = Accounts(self.options.accounts_max, self._exchange.start, plan_of)
        self._account_of = self._accounts.of
        self._recovery = Recovery(redis, script, totals, self._epochs, self._exchange, self._accounts, self._time)

    @property
    def incarnation(self) -> str:
        """This life of this process, as Redis knows it: to be kept with the journal, for `retire`."""
        return self._exchange.process

    # Calls

    async def reserve(self, caller: Caller, *, tokens: int, nanos: int | None) -> Reservation:
        """Reserves of all limits of the caller, or of none.

        tokens: the largest that the call can use; nanos: the most that it can cost, None: the price is unknown. Raises
        MeshError LIMIT_REACHED, BUDGET_EXHAUSTED or CONCURRENCY_LIMIT (metadata `state`: "spent" or "held"; RetryInfo),
        PRICE_UNKNOWN, or DEPENDENCY_UNAVAILABLE where what counts is away.
        """
        account = self._account_of(caller)
        if account is None:
            return FREE
        if nanos is None:
            nanos = known(account, None)
        slices = account.take((1, tokens, nanos, 1), self._now())
        if slices is None:
            slices = await self._wait(account, (1, tokens, nanos, 1))
        return Reservation(account, slices, tokens, nanos, self._take, self._now)

    def output_tokens_max(self, caller: Caller) -> int | None:
        """Largest answer of a call of this caller; None: no limit."""
        account = self._account_of(caller)
        return None if account is None else account.output_tokens_max

    async def _take(self, account: Account, amounts: Amounts) -> tuple[Slice, ...]:
        slices = account.take(amounts, self._now())
        return slices if slices is not None else await self._wait(account, amounts)

    async def _wait(self, account: Account, amounts: Amounts) -> tuple[Slice, ...]:
        now = self._now()
        for one in account.slices:
            need = amounts[one.unit]
            if now < one.refused_until and one.free < need and need >= one.refused_need:
                raise refusal(one, need, now)
        future: asyncio.Future[tuple[Slice, ...]] = asyncio.get_running_loop().create_future()
        org = account.org
        WAITED.inc()
        org.waiting.append(Waiter(account, amounts, future))
        self._exchange.start(org)
        try:
            return await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled() and future.exception() is None:
                give_back(future.result(), amounts)  # the caller left in the moment in which it was served
            raise

    # What holds

    def configure(self, defaults: Defaults) -> None:
        """The configuration's defaults hold from now on."""
        self._accounts.configure(defaults)

    def override(self, overrides: Mapping[tuple[int, str], LimitValues]) -> None:
        """All that administrators have set, by (kind, id); it holds from now on."""
        self._accounts.override(overrides)

    def replan(self) -> None:
        """What `plan_of` says has changed; it holds from now on."""
        self._accounts.forget()

    async def left(self, caller: Caller) -> Sequence[Left]:
        """What is left of each limit of a caller, asked of Redis; as last heard where that is away."""
        account = self._accounts.of(caller)
        if account is None or not account.meters:
            return ()
        now = self._now()
        account.roll(now)
        await self._exchange.refresh(account)
        now = self._now()
        account.roll(now)
        return [
            Left(
                one.meter.kind,
                one.meter.subject_id,
                one.meter.spec.name,
                one.meter.limit,
                min(one.meter.limit, one.left_at(now)),
                one.end,
                self._accounts.source_of(one.meter.kind, one.meter.subject_id, caller.plan, one.meter.spec.name),
            )
            for one in account.slices
        ]

    # Life

    async def run(self) -> None:
        """Reports, renews, gives back what lies idle, and follows Redis's epoch; until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._epochs.watch(self._recovery.check_in))
            tasks.create_task(self._flush_forever())

    async def retire(self, incarnation: str, leaves: Sequence[Leave], org_ids: Sequence[str] = ()) -> None:
        """See `Recovery.retire`."""
        await self._recovery.retire(incarnation, leaves, org_ids)

    async def close(self) -> None:
        """Gives back all that is not reserved. After `run` has ended."""
        await self._exchange.close()
        for org in list(self._accounts.busy):
            for one in list(org.live):
                one.free = one.rate = one.taken = 0  # and nothing more is asked for
                org.touch(one)
            await self._exchange.flush(org)

    async def _flush_forever(self) -> None:
        monotonic = self._time.monotonic
        next_age = monotonic() + self.options.accounts_age_s
        while True:
            await asyncio.sleep(self.options.flush_s)
            await self.flush()
            if monotonic() >= next_age:
                self._accounts.age()
                next_age = monotonic() + self.options.accounts_age_s

    async def flush(self) -> None:
        """One round of reports and renewals."""
        renew_before = self._time.monotonic() - self.options.renew_s
        due: list[Org] = []
        for org in list(self._accounts.busy):
            if self._exchange.serves(org):
                continue
            if org.dirty or (org.live and org.called_at <= renew_before):
                due.append(org)
            elif not org.live and not org.waiting:
                self._accounts.busy.discard(org)
        for at in range(0, len(due), self.options.flushes_at_once):
            await asyncio.gather(*map(self._exchange.flush, due[at : at + self.options.flushes_at_once]))

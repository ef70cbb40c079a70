"""Counting what the limits of a process that is gone still bear, and counting all anew after Redis lost everything."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from services.inference.limits.accounts import Accounts
from services.inference.limits.epochs import Epochs
from services.inference.limits.exchange import Exchange
from services.inference.limits.model import Amounts, Unit, window_of
from services.inference.limits.redis_time import RedisTime
from services.inference.limits.script import MAKE, RETIRE, Script, Want, org_key
from services.inference.limits.slices import Org, Slice
from services.inference.limits.totals import Totals, seed
from services.mesh.redis import Redis, RedisUnavailable

RETIRED_SEQUENCE = 2**53 - 2  # after every statement of a live process, and before the script's own mark
WANTS_MAX = 200


class Leave(NamedTuple):
    """A call of a process that is gone, from its journal. Ids empty where there is none; times in seconds since the
    epoch. `settle_time` None: it was never settled, and tokens and nanos are what it had reserved. `stored`: PostgreSQL
    had it before the process died."""

    org_id: str
    user_id: str
    api_key_id: str
    time: float
    tokens: int
    nanos: int
    settle_time: float | None = None
    stored: bool = False


class Recovery:
    """The two ways back."""

    def __init__(
        self,
        redis: Redis,
        script: Script,
        totals: Totals,
        epochs: Epochs,
        exchange: Exchange,
        accounts: Accounts,
        time: RedisTime,
    ) -> None:
        self._redis = redis
        self._script = script
        self._totals = totals
        self._epochs = epochs
        self._exchange = exchange
        self._accounts = accounts
        self._time = time

    async def check_in(self) -> None:
        """States all that this process holds under a new epoch. Raises MeshError DEPENDENCY_UNAVAILABLE."""
        unflushed: dict[Slice, int] = {}
        for call in self._epochs.hooks.unflushed():
            account = self._accounts.of_ids(call.api_key_id, call.user_id, call.org_id)
            if account is None:
                continue
            account.roll(self._time.now())
            for one in account.slices:
                if one.meter.spec.seeded and one.begin <= call.time < one.end:
                    amount = call.nanos if one.unit == Unit.NANOS else call.requests
                    unflushed[one] = unflushed.get(one, 0) + amount
        stated: dict[Org, set[Slice]] = {org: set(org.live) for org in self._accounts.orgs()}
        for one in unflushed:
            stated.setdefault(one.meter.org, set()).add(one)
        for org, slices in stated.items():
            self._begin_anew(org, slices)
            ordered = list(slices)
            seeded = [one for one in ordered if one.meter.spec.seeded]
            for one in seeded:
                one.unflushed = unflushed.get(one, 0)
            if seeded:
                await seed(self._totals, org.org_id, seeded)
            for at in range(0, len(ordered), WANTS_MAX):
                wants = [Want(one, one.free + one.reserved, one.settled) for one in ordered[at : at + WANTS_MAX]]
                await self._exchange.send(org, wants, MAKE)
            for one in ordered:
                one.seed = one.unflushed = None
                one.stated = (-1, -1)
                org.touch(one)

    def _begin_anew(self, org: Org, stated: set[Slice]) -> None:
        """What is settled and not stated now is in PostgreSQL's sums: it shall not be counted a second time."""
        for meter in list(org.meters.values()):
            if meter.spec.seeded and meter.slice not in stated:
                meter.slice.begin_anew()

    async def retire(self, process: str, leaves: Iterable[Leave], org_ids: Iterable[str] = ()) -> None:
        """A process is gone for good and its journal is read: what its slices held comes back, and what its calls have
        used, or had reserved, is counted. A second time does nothing. Raises RedisUnavailable.

        leaves: every call that was not settled, and those settled in its last seconds, since Redis may not have been
        told of them. org_ids: more organisations for which it called.
        """
        by_org: dict[str, list[Leave]] = {one: [] for one in org_ids}
        for leave in leaves:
            by_org.setdefault(leave.org_id or leave.user_id or leave.api_key_id, []).append(leave)
        if not by_org:
            return
        if not await self._epochs.whole():
            raise RedisUnavailable
        for org_id, calls in by_org.items():
            if not org_id:
                continue
            entry = await self._redis.hget(org_key(org_id), process)
            reported_us = int(entry.split()[2]) if entry else 0
            # Where Redis does not know the process, it counted anew since, from what PostgreSQL had.
            wants = self._wants_left([one for one in calls if entry or not one.stored], reported_us)
            await self._script.call(
                org_id,
                wants,
                process=process,
                sequence=RETIRED_SEQUENCE,
                lease_ms=0,
                epoch=self._epochs.value,
                mode=RETIRE,
                reported_us=reported_us,
            )

    def _wants_left(self, calls: Sequence[Leave], reported_us: int) -> list[Want]:
        now = self._time.now()
        left: dict[tuple[str, int], tuple[Slice, int]] = {}
        for call in calls:
            meters = self._accounts.meters_of_ids(call.api_key_id, call.user_id, call.org_id)
            told = call.settle_time is not None and call.settle_time * 1_000_000 <= reported_us
            amounts: Amounts = (1, call.tokens, call.nanos, 0)
            for meter in meters:  # of limits that Redis does not know, the statement changes nothing
                begin, end = window_of(meter.spec.period, call.time)
                if end and end <= now:
                    continue
                one, amount = left.get((meter.key, begin)) or (Slice(meter, begin, end), 0)
                left[meter.key, begin] = one, amount + (0 if told else amounts[meter.unit])
        return [Want(one, keep=0, settled=amount) for one, amount in left.values()]

"""The script against a plain model of it, on a clock that the test sets: whatever processes state in whatever order."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from services.inference.limits.model import ORG, SPECS, window_of
from services.inference.limits.script import DONE, MAKE, OVER, USE, Answer, Script, Want
from services.inference.limits.slices import Meter, Org, Slice
from services.mesh import redis as mesh_redis
from services.mesh.redis import Redis
from tests.integration.inference.limits.conftest import CLOCK_KEY, CLOCKED, OP_TIMEOUT_S
from tests.integration.inference.limits.conftest import ORG as ORG_ID

LEASE_MS = 4000
BEGIN_S = 1_800_000_000 - 1_800_000_000 % 86_400
DAY = SPECS[3]
MINUTE = SPECS[0]


@dataclass
class Held:
    """One process's part of one window, as the model knows it."""

    slice: Slice
    settled: int = 0
    leased: int = 0
    swept: int = 0  # counted as used when its lease ended


@dataclass
class Window:
    """Used before anything was leased, and what each process has of it."""

    seed: int = 0
    of: dict[str, Held] = field(default_factory=dict)

    @property
    def used(self) -> int:
        return self.seed + sum(one.settled + one.swept for one in self.of.values())

    @property
    def leased(self) -> int:
        return sum(one.leased for one in self.of.values())


class Leases(RuleBasedStateMachine):
    """Processes lease, settle, give back, fall silent and come back, over windows that go by."""

    redis: Redis
    loop: asyncio.AbstractEventLoop

    @initialize(limit=st.integers(0, 60), sliding=st.booleans(), seed=st.integers(0, 30))
    def begin(self, limit: int, sliding: bool, seed: int) -> None:
        self.run(self.redis.flushall())
        self.org = Org(ORG_ID, set(), lambda _org: None)
        self.meter = Meter(self.org, ORG, ORG_ID, MINUTE if sliding else DAY, f"limits:{{{ORG_ID}}}:m", limit)
        self.sliding = sliding
        self.now_ms = BEGIN_S * 1000
        self.seed = 0 if sliding else seed
        self.windows: dict[int, Window] = {}
        self.first = True
        self.alive: dict[str, int] = {}  # process: its lease's end
        self.sequence = 0

    def run(self, what):  # type: ignore[no-untyped-def]
        return self.loop.run_until_complete(what)

    def window(self) -> tuple[int, int, Window]:
        begin, end = window_of(self.meter.spec.period, self.now_ms / 1000)
        if begin not in self.windows:
            self.windows[begin] = Window()
            if self.first and not self.sliding:
                self.windows[begin].seed = self.seed
            self.first = False
        return begin, end, self.windows[begin]

    def state(self, process: str, want: Want) -> Answer:
        self.sequence += 1
        self.run(self.redis.set(CLOCK_KEY, self.now_ms))
        answer: Answer = self.run(
            Script(self.redis, CLOCKED).call(
                ORG_ID,
                [want],
                process=process,
                sequence=self.sequence,
                lease_ms=LEASE_MS,
                epoch="epoch",
                mode=MAKE if self.sequence == 1 else USE,
                reported_us=0,
            )
        )
        assert answer.outcome == "ok"
        # The model's sweep: of this limit, whose lease has ended.
        _, _, window = self.window()
        self.alive[process] = self.now_ms + LEASE_MS
        for name, one in window.of.items():
            if self.alive[name] <= self.now_ms and name != process:
                one.swept, one.leased = one.swept + one.leased, 0
        return answer

    @rule(
        process=st.sampled_from("abc"),
        uses=st.integers(0, 20),
        gives=st.integers(0, 20),
        first=st.integers(1, 5),
        others=st.integers(0, 20),
        more=st.integers(0, 40),
        asks=st.booleans(),
    )
    def lease(self, process: str, uses: int, gives: int, first: int, others: int, more: int, asks: bool) -> None:
        begin, end, window = self.window()
        held = window.of.get(process)
        if held is None:
            held = Held(Slice(self.meter, begin, end))
        held.slice.seed = None if self.sliding else self.seed
        believed = held.leased + held.swept
        uses = min(uses, believed)
        keep = max(0, believed - uses - gives)
        need = first + others if asks else 0
        want = Want(held.slice, keep, held.settled + uses, first if asks else 0, need, more)
        answer = self.state(process, want)
        window.of[process] = held
        held.settled, held.leased, held.swept = held.settled + uses, keep, 0
        status, granted, used, before, leased, _ = answer.limits
        assert status == DONE
        assert used == window.used
        left = self.meter.limit - window.used - window.leased
        if self.sliding:
            prior = self.windows.get(begin - 60)
            assert before == (prior.used + prior.leased if prior else 0)
            left -= -(-before * (end * 1000 - self.now_ms) // 60_000)
        if not asks or left < first:
            assert granted <= max(0, min(more, left)) if not asks else granted == 0
        else:
            # At least what calls wait for, where there is so much; never more than there is.
            assert min(left, need) <= granted <= min(left, need + more)
        held.leased += granted
        assert leased == window.leased

    @precondition(lambda self: self.sliding)
    @rule(process=st.sampled_from("abc"), uses=st.integers(0, 20))
    def settle_late(self, process: str, uses: int) -> None:
        """What was reserved before the window ended, and is settled in the next."""
        begin, _, _ = self.window()
        prior = self.windows.get(begin - 60)
        held = prior.of.get(process) if prior else None
        if held is None:
            return
        believed = held.leased + held.swept
        uses = min(uses, believed)
        answer = self.state(process, Want(held.slice, believed - uses, held.settled + uses))
        assert answer.limits[0] == OVER
        held.settled, held.leased, held.swept = held.settled + uses, believed - uses, 0

    @rule(seconds=st.sampled_from([0.05, 0.5, 1, 3, 5, 20, 59, 61, 150, 86_400]))
    def wait(self, seconds: float) -> None:
        self.now_ms += int(seconds * 1000)

    @invariant()
    def never_beyond_the_limit(self) -> None:
        for window in getattr(self, "windows", {}).values():
            assert window.used + window.leased <= max(self.meter.limit, window.seed)


def test_the_script_does_what_the_model_does(redis_url: str) -> None:
    loop = asyncio.new_event_loop()
    client = mesh_redis.open(redis_url, OP_TIMEOUT_S)
    machine = type("Machine", (Leases,), {"redis": client, "loop": loop})
    try:
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=120, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
            ),
        )
    finally:
        loop.run_until_complete(client.aclose())
        loop.close()

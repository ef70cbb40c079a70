"""Every fault of a provider by every policy of a route by every surface, streamed or not: the exact attempts that each
provider sees, what the caller gets, what the receipt says, and that nothing is left.

One test is one fault, whose calls run side by side, each on a route and on targets of its own.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest

from services.inference.providers import parsing
from tests.faults import books
from tests.faults.asking import SHAPES, Got, ask
from tests.faults.table import (
    ANSWER_BYTES_MAX,
    ATTEMPTS_MAX,
    CASES,
    HEDGE_AFTER_S,
    NEVER_S,
    NOT_COUNTED,
    Expected,
    Policy,
    Surface,
    behaviour_of,
    breaks_at,
    combinations,
    expected,
    is_hedged,
)
from tests.faults.world import World
from tests.support.provider import Behaviour, Breaks, FaultCase

pytestmark = pytest.mark.asyncio(loop_scope="module")

# On a connection that had served before, what is lost before the head goes out once more on a fresh one, within the
# same attempt: the provider may have closed it while it was idle. So these are tried one by one, on fresh ones.
FRESH = frozenset({"reset_before_headers", "close_before_headers"})
REUSED = frozenset({"close_if_reused"})  # and this on one that had served
HANG_S = 0.2
RECOVERS_S = 1.0  # where the same provider then answers in time
CONTEXT_TOKENS = {"a": 8192, "b": 8192, "c": 32_768}


@dataclass(frozen=True, slots=True)
class Call:
    """One call of the matrix, and the route that it has for itself."""

    case: FaultCase
    policy: Policy
    surface: Surface

    @property
    def route(self) -> str:
        return f"{self.case.name}.{self.policy.name}.{self.surface.name}".lower()

    @property
    def behaviour(self) -> Behaviour:
        return behaviour_of(self.case, self.policy)

    @property
    def want(self) -> Expected:
        return expected(self.case, self.policy, self.surface)

    @property
    def calls(self) -> int:
        """How often it is made."""
        return 2 if self.policy is Policy.CACHED else 1

    @property
    def is_kept(self) -> bool:
        """Whether the answer to the first is the answer to the second."""
        return not self.want.reason and self.case.name != "finish_content_filter"


@pytest.mark.parametrize("case", CASES.values(), ids=str)
async def test_fault(world: World, case: FaultCase, monkeypatch: pytest.MonkeyPatch) -> None:
    if case.name == "oversized":
        monkeypatch.setattr(parsing, "MAX_ANSWER_BYTES", ANSWER_BYTES_MAX)
    calls = [Call(case, *combination) for combination in combinations(case)]
    world.configure(configuration(world, calls))
    if case.name in FRESH | REUSED:
        faults = []
        for call in calls:
            await (world.fresh() if case.name in FRESH else ask(world, Surface.CHAT, "warm"))
            faults += await wrong_of(world, call)
    else:
        faults = [
            fault for found in await asyncio.gather(*(wrong_of(world, call) for call in calls)) for fault in found
        ]
    faults += await wrong_in_books(world, calls)
    assert not faults, "\n".join(["", *faults])


async def wrong_of(world: World, call: Call) -> list[str]:
    """What is not as it must be of one call: what its caller gets, what its providers see."""
    for letter in call.policy.letters:
        provider = world.provider(f"{call.route}.{letter}")
        provider.default = Behaviour(text=books.TEXTS.get(letter, Behaviour().text))
        if letter in call.policy.wrong:
            if call.policy is Policy.RECOVERS:
                provider.then(call.behaviour)
            else:
                provider.default = call.behaviour
    got = [await ask(world, call.surface, call.route) for _ in range(call.calls)]
    faults = [f"caller: {fault}" for one in got for fault in wrong_got(call, one)]
    times = 1 if call.is_kept else call.calls
    # A connection that it had closed: the same attempt goes out again on a fresh one.
    again = call.case.name in REUSED
    want = {letter: times * count + (again and letter == "a") for letter, count in call.want.seen.items()}
    seen = {letter: world.provider(f"{call.route}.{letter}").record.requests for letter in call.policy.letters}
    if {letter: count for letter, count in seen.items() if count} != want:
        faults.append(f"requests: {seen}, not {want}")
    if call.policy is Policy.SINGLE:
        faults += wrong_in_breaker(world, call)
    return [f"{call.route}: {fault}" for fault in faults]


def wrong_in_breaker(world: World, call: Call) -> list[str]:
    """The breaker counts what any request would have met, and nothing else."""
    counts = call.case.counts and call.case.name not in NOT_COUNTED and bool(call.want.reason)
    want = len(call.want.attempts) if counts else 0
    health = next(one for one in world.parts.health.snapshot() if one.provider == f"{call.route}.a")
    return [] if health.failures_in_row == want else [f"the breaker counts {health.failures_in_row}, not {want}"]


def wrong_got(call: Call, got: Got) -> list[str]:
    want = call.want
    faults = []
    if got.reason != want.reason:
        faults.append(f"reason {got.reason!r}, not {want.reason!r}")
    if want.reason and not want.shown and got.status and got.status != SHAPES[want.reason][0]:
        faults.append(f"status {got.status}")
    if want.reason and want.shown and got.status not in (0, 200):
        faults.append(f"status {got.status} of an answer that had begun")
    if call.surface.embeds:
        if got.vectors != len(want.shown):
            faults.append(f"{got.vectors} vectors")
    else:
        texts = [books.text_of(one, call.case, call.behaviour) if len(one) == 1 else one for one in want.shown]
        if got.shown != [text.strip() for text in texts if text]:
            faults.append(f"shown {[text[:60] for text in got.shown]}, not {[text[:60] for text in texts]}")
    if want.shown and got.model != f"{call.route}.{want.attempts[-1].letter}":
        faults.append(f"the answer names {got.model!r}")
    return faults


async def wrong_in_books(world: World, calls: list[Call]) -> list[str]:
    """What the ledger has that it must not have, once nothing is under way."""
    await world.settled()
    faults = []
    rows = await world.receipts([call.route for call in calls if call.calls == 1])
    rows |= await world.receipts([call.route for call in calls if call.calls == 2], each=2)
    for call in calls:
        want = books.receipt(call.case, call.policy, call.surface, call.behaviour, call.want, call.route)
        found = [books.said(row) for row in rows[call.route]]
        if len(found) != call.calls:
            faults.append(f"{call.route}: {len(found)} receipts")
        for number, one in enumerate(found):
            due = {**want, "attempts": [], **FREE} if number and call.is_kept else want
            differences = {name: (one[name], value) for name, value in due.items() if one[name] != value}
            if differences:
                faults.append(f"{call.route}: receipt {number}, (is, must be): {differences}")
    return faults


FREE = {"input_tokens": 0, "output_tokens": 0, "cost_nanos": 0, "basis": 3}


def configuration(world: World, calls: list[Call]) -> dict[str, Any]:
    """A route for each call, over targets of its own."""
    warm = {"name": "warm", "provider": "warm", "upstream_model": "warm"}
    providers, models, routes = [world.entry("warm")], [warm], []
    for call in calls:
        for letter in call.policy.letters:
            name = f"{call.route}.{letter}"
            providers.append(world.entry(name, **(timeouts(call) if letter in call.policy.wrong else {})))
            context_tokens = CONTEXT_TOKENS[letter]
            models.append(books.model(name, letter, embeds=call.surface.embeds, context_tokens=context_tokens))
        routes.append(route(call))
    return {"providers": providers, "models": models, "routes": routes}


def timeouts(call: Call) -> dict[str, float]:
    """Of a provider that does wrong: short where nothing else ends what it does, and no hedge either."""
    if not call.case.hangs:
        return {}
    if breaks_at(call.case, call.surface) is Breaks.AFTER_FIRST_TOKEN:
        return {"idle_s": HANG_S}
    if call.policy is Policy.HEDGED:
        return {}
    patience_s = RECOVERS_S if call.policy is Policy.RECOVERS else HANG_S
    return {"first_token_s": patience_s, "idle_s": patience_s, "total_s": patience_s}


def route(call: Call) -> dict[str, Any]:
    policy = call.policy
    made: dict[str, Any] = {
        "name": call.route,
        "strategy": "ordered",
        "targets": [{"model": f"{call.route}.{letter}"} for letter in policy.letters],
        "attempts": ATTEMPTS_MAX,
        "backoff_first_s": 0.001,
    }
    match policy:
        case Policy.RESTART:
            made["midstream"] = "restart"
        case Policy.HEDGED:
            made["hedge_after_s"] = HEDGE_AFTER_S if is_hedged(call.case, call.surface) else NEVER_S
        case Policy.CANARY:
            # Nearly all of the calls: those of this test.
            made["canary"] = {"target": f"{call.route}.a", "share_percent": 99.999999}
        case Policy.CACHED:
            made["cache"] = {"ttl_s": 60}
        case _:
            pass
    return made

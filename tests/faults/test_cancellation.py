"""Whoever stops a call stops the provider: on every method, streamed or not, before the first token and after it.

The provider's own record says so; the receipt says CANCELLED with what the call may have cost, or, where the target is
drained, with what it did cost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import grpc
import pytest
from promptmesh.inference.v1 import receipt_pb2

from tests.faults import books
from tests.faults.asking import SHAPES, Caller, Got, ask
from tests.faults.table import BROKEN, CANCELLED, HEDGE_AFTER_S, REVOKED, Surface
from tests.faults.world import PATIENCE_S, World
from tests.support.provider import Behaviour, Fault

pytestmark = pytest.mark.asyncio(loop_scope="module")

# Long enough for a provider on the same machine to come to where it stops, however busy it is.
DEADLINE_S = 2.0
STREAMED = [surface for surface in Surface if surface.streamed]


class End(Enum):
    """Who stops a call."""

    GONE = "the caller leaves"
    DEADLINE = "its deadline passes"
    REVOKED = "its key is revoked"


class How(Enum):
    """Where the call is then, and what its route does."""

    SILENT = "nothing has come"
    HALF = "half of the answer has come"
    HEDGED = "two providers are asked"
    CACHED = "the route keeps answers"


ABOUT_TO_STOP = {
    How.SILENT: Behaviour(fault=Fault.SILENCE),
    How.HALF: Behaviour(fault=Fault.STALL),
    How.HEDGED: Behaviour(fault=Fault.SILENCE),
    How.CACHED: Behaviour(fault=Fault.STALL),
}
# Said to its end some time after the caller has gone.
WHOLE_LATER = Behaviour(latency_s=2 * DEADLINE_S)
WHOLE_SLOWLY = Behaviour(pace_s=DEADLINE_S / 4)
RUNS_ON = Behaviour(text="word " * 100_000)


@dataclass(frozen=True, slots=True)
class Stop:
    """One call that is stopped."""

    surface: Surface
    end: End
    behaviour: Behaviour
    how: How = How.SILENT
    drained: bool = False

    @property
    def route(self) -> str:
        kind = "runs_on" if self.behaviour is RUNS_ON else "abort" if not self.drained else "drain"
        pace = "slow" if self.behaviour.pace_s else "late"
        return f"{self.end.name}.{self.how.name}.{kind}.{pace}.{self.surface.name}".lower()

    @property
    def letters(self) -> str:
        return "ab" if self.how is How.HEDGED else "a"

    @property
    def is_shown(self) -> bool:
        """Whether its caller has seen something when it is stopped."""
        return self.surface.streamed and (self.how in (How.HALF, How.CACHED) or self.behaviour.pace_s > 0)


async def stop(world: World, call: Stop) -> list[str]:
    """Makes the call and stops it; what its caller got wrong."""
    for letter in call.letters:
        world.provider(f"{call.route}.{letter}").default = call.behaviour
    secret = world.identities.new()
    caller = Caller(secret, DEADLINE_S if call.end is End.DEADLINE else PATIENCE_S)
    task = asyncio.create_task(ask(world, call.surface, call.route, caller))
    for letter in call.letters:
        seen = await world.provider(f"{call.route}.{letter}").call(0)
        if call.how in (How.HALF, How.CACHED):
            await seen.began.wait()
    if call.is_shown:
        await caller.shown.wait()
    match call.end:
        case End.GONE:
            task.cancel()
        case End.REVOKED:
            world.identities.revoke(secret)
        case End.DEADLINE:
            pass
    await asyncio.wait([task])
    return [f"{call.route}: {fault}" for fault in wrong_end(call, task)]


def wrong_end(call: Stop, task: asyncio.Task[Got]) -> list[str]:
    if call.end is End.GONE:
        return [] if task.cancelled() else ["it was not cancelled"]
    error = task.exception()
    if call.end is End.DEADLINE:
        passed = isinstance(error, grpc.aio.AioRpcError) and error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        return [] if passed else [f"no deadline passed: {error!r}"]
    if error is not None:
        return [repr(error)]
    got = task.result()
    status = 200 if call.is_shown else SHAPES[REVOKED][0]
    return [] if got.reason == REVOKED and got.status in (0, status) else [f"it is told {got}"]


async def wrong_in_books(world: World, calls: Sequence[Stop]) -> list[str]:
    rows = await world.receipts([call.route for call in calls])
    faults = []
    for call in calls:
        want = receipt(call)
        is_ = books.said(rows[call.route][0])
        differences = {name: (is_[name], due) for name, due in want.items() if is_[name] != due}
        if differences or len(rows[call.route]) != 1:
            faults.append(f"{call.route}: {len(rows[call.route])} receipts, (is, must be): {differences}")
    return faults


def receipt(call: Stop) -> dict[str, Any]:
    """What the ledger must have."""
    prompt = books.PROMPT_ESTIMATES.get(call.surface, books.PROMPT_ESTIMATE)
    if call.drained:
        output = 0 if call.surface.embeds else len(call.behaviour.text.split())
        took = books.Taken(books.PROMPT_TOKENS, output)
    else:
        took = books.Taken(prompt, books.SHOWN_TOKENS if call.is_shown else 0, estimated=True)
    cost = 0
    for letter in call.letters:
        input_nanos, output_nanos = (1000 * dollars for dollars in books.PRICES[letter])
        cost += took.input_tokens * input_nanos + took.output_tokens * output_nanos
    return {
        "outcome": receipt_pb2.OUTCOME_CANCELLED,
        "reason": "",
        "attempts": [(f"{call.route}.{letter}", CANCELLED, letter == "b") for letter in call.letters],
        "input_tokens": took.input_tokens * len(call.letters),
        "output_tokens": took.output_tokens * len(call.letters),
        "basis": receipt_pb2.BASIS_ESTIMATED if took.estimated else receipt_pb2.BASIS_REPORTED,
        "cost_nanos": cost,
    }


def configuration(world: World, calls: Sequence[Stop], **route: Any) -> dict[str, Any]:
    """A route for each call."""
    providers, models, routes = [], [], []
    for call in calls:
        names = [f"{call.route}.{letter}" for letter in call.letters]
        providers += [world.entry(name) for name in names]
        models += [
            {
                **books.model(name, letter, embeds=call.surface.embeds),
                "on_leave": "drain" if call.drained else "abort",
            }
            for name, letter in zip(names, call.letters, strict=True)
        ]
        made = {"name": call.route, "strategy": "ordered", "targets": [{"model": name} for name in names], **route}
        if call.how is How.HEDGED:
            made["hedge_after_s"] = HEDGE_AFTER_S
        if call.how is How.CACHED:
            made["cache"] = {"ttl_s": 60}
        routes.append(made)
    return {"providers": providers, "models": models, "routes": routes}


@pytest.mark.parametrize("end", End)
@pytest.mark.parametrize("how", How)
async def test_a_call_that_is_stopped_stops_its_providers(world: World, how: How, end: End) -> None:
    calls = [Stop(surface, end, ABOUT_TO_STOP[how], how) for surface in Surface]
    world.configure(configuration(world, calls))
    faults = [fault for found in await asyncio.gather(*(stop(world, call) for call in calls)) for fault in found]
    await world.settled()
    for call in calls:
        records = [world.provider(f"{call.route}.{letter}").record for letter in call.letters]
        if [(record.requests, record.aborted) for record in records] != [(1, 1)] * len(records):
            faults.append(f"{call.route}: {[record.counters() for record in records]}")
    faults += await wrong_in_books(world, calls)
    assert not faults, "\n".join(["", *faults])


@pytest.mark.parametrize("end", End)
async def test_a_call_that_is_drained_is_read_to_its_end_and_costs_what_it_cost(world: World, end: End) -> None:
    calls = [Stop(surface, end, WHOLE_LATER, drained=True) for surface in Surface]
    calls += [Stop(surface, end, WHOLE_SLOWLY, drained=True) for surface in STREAMED]
    world.configure(configuration(world, calls))
    faults = [fault for found in await asyncio.gather(*(stop(world, call) for call in calls)) for fault in found]
    await world.settled()
    for call in calls:
        record = world.provider(f"{call.route}.a").record
        if (record.requests, record.whole) != (1, 1):
            faults.append(f"{call.route}: {record.counters()}")
    faults += await wrong_in_books(world, calls)
    assert not faults, "\n".join(["", *faults])


@pytest.mark.parametrize("surface", STREAMED, ids=lambda surface: surface.name.lower())
async def test_an_answer_that_goes_on_far_beyond_its_cap_is_aborted(world: World, surface: Surface) -> None:
    call = Stop(surface, End.GONE, RUNS_ON)
    world.configure(configuration(world, [call], max_output_tokens=8, attempts=1))
    world.provider(f"{call.route}.a").default = call.behaviour
    got = await ask(world, surface, call.route)
    assert got.reason == BROKEN
    await world.settled()
    record = world.provider(f"{call.route}.a").record
    assert (record.requests, record.aborted) == (1, 1)
    (row,) = (await world.receipts([call.route]))[call.route]
    assert (row["outcome"], row["reason"]) == (receipt_pb2.OUTCOME_FAILED, BROKEN)
    assert row["basis"] == receipt_pb2.BASIS_ESTIMATED
    # What was generated and arrived is accounted, beyond the cap too.
    assert row["output_tokens"] >= len(got.texts[0]) // books.BYTES_PER_TOKEN > 8

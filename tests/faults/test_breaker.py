"""A target that is down, under load: every call is answered by the other, callers meet the fault as often as the policy
says and no oftener, and one probe brings the target back."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from promptmesh.inference.v1 import receipt_pb2

from services.inference.ledger.rows import NIL
from tests.faults import books
from tests.faults.asking import Got, ask
from tests.faults.table import LIMITED, UNAVAILABLE, Surface
from tests.faults.world import World
from tests.support.provider import Behaviour, MisbehavingProvider, ProviderServer, running_server

pytestmark = pytest.mark.asyncio(loop_scope="module")

FAILURES = 3
CALLERS = 8
CALLS_EACH = 20
OPEN_S = 0.02
OPEN_MOST_S = 0.08
SHORT = {"first_token_s": 1.0, "idle_s": 1.0, "total_s": 1.0}
PROBE = "ping"
SURFACES = (Surface.CHAT, Surface.CHAT_STREAM, Surface.RESPONSES_STREAM, Surface.GENERATE)
OUTAGES = ("unavailable", "reset_before_headers", "silence", "wrong_content_type", "unauthorized", "refused")


@dataclass(slots=True)
class Pair:
    """A route over `a`, which goes down, and `b`, which does not."""

    name: str
    a: MisbehavingProvider
    b: MisbehavingProvider
    home: ProviderServer  # of `a` alone

    async def go_down(self, outage: str) -> None:
        if outage == "refused":
            await self.home.refuse()
        else:
            self.a.fail(outage, times=None)

    async def come_back(self, outage: str) -> None:
        if outage == "refused":
            await self.home.listen()
        else:
            self.a.recover()

    @property
    def probes(self) -> int:
        """That `a` has seen."""
        return sum(call.prompt == PROBE for call in self.a.calls)

    @property
    def callers(self) -> int:
        """Callers' requests that `a` has seen."""
        return len(self.a.calls) - self.probes


@contextlib.asynccontextmanager
async def pair(world: World, name: str, *, a: dict[str, float] | None = None, **route: Any) -> AsyncIterator[Pair]:
    async with running_server() as home:
        names = f"{name}.a", f"{name}.b"
        pair = Pair(name, home.provider(names[0]), world.provider(names[1]), home)
        pair.b.default = Behaviour(text=books.TEXTS["b"])
        entry = world.entry(names[0], **(a or {}))
        entry["base_url"] = pair.a.base_url
        world.configure(
            {
                "providers": [entry, world.entry(names[1])],
                "models": [books.model(model, letter, embeds=False) for model, letter in zip(names, "ab", strict=True)],
                "routes": [
                    {
                        "name": name,
                        "strategy": "ordered",
                        "targets": [{"model": model} for model in names],
                        "breaker": {"failures": FAILURES, "open_s": OPEN_S, "open_most_s": OPEN_MOST_S},
                        **route,
                    }
                ],
            }
        )
        yield pair
        await home_is_quiet(world, home)


async def home_is_quiet(world: World, home: ProviderServer) -> None:
    await world.settled()
    for provider in home.providers.values():
        await provider.until(lambda record: record.running == 0)


def by(got: Got) -> str:
    """Which target answered; its reason where none did."""
    return got.reason or got.model.rsplit(".", 1)[1]


def surfaces() -> Iterator[Surface]:
    while True:
        yield from SURFACES


async def load(world: World, route: str, *, callers: int, each: int) -> list[str]:
    """So many callers at once, each one call after the other; who answered each call."""
    kinds = surfaces()

    async def one() -> list[str]:
        return [by(await ask(world, next(kinds), route)) for _ in range(each)]

    return [who for done in await asyncio.gather(*(one() for _ in range(callers))) for who in done]


def phase(world: World, pair: Pair) -> str:
    return next(one for one in world.parts.health.snapshot() if one.provider == f"{pair.name}.a").phase.value


async def closed(world: World, pair: Pair) -> None:
    """Returns when the breaker of `a` has closed."""
    async with asyncio.timeout(30):
        while phase(world, pair) != "closed":
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("outage", OUTAGES)
async def test_an_outage_costs_no_call_and_one_probe_ends_it(world: World, outage: str) -> None:
    async with pair(world, f"outage.{outage}", a=SHORT if outage == "silence" else None) as two:
        assert set(await load(world, two.name, callers=CALLERS, each=2)) == {"a"}
        before = two.callers
        await two.go_down(outage)
        assert set(await load(world, two.name, callers=CALLERS, each=CALLS_EACH)) == {"b"}
        # Those that were under way when the breaker opened come on top; each on a kept connection is sent twice.
        while_down = two.callers - before
        if outage == "refused":
            assert while_down == 0, "nobody was there to see them"
        else:
            assert FAILURES <= while_down <= 2 * (FAILURES + CALLERS - 1)
        assert phase(world, two) != "closed"
        # However long it lasts: callers do not meet it again, probes do, and they change nothing.
        probes = two.probes
        if outage != "refused":
            await two.a.until(lambda _: two.probes >= probes + 2)
        assert set(await load(world, two.name, callers=CALLERS, each=CALLS_EACH)) == {"b"}
        assert two.callers - before == while_down
        await two.come_back(outage)
        await closed(world, two)
        # The first probe that was answered was enough, and nobody but probes found out.
        assert [call.fault for call in two.a.calls if call.prompt == PROBE].count("none") == 1
        assert two.callers - before == while_down
        assert set(await load(world, two.name, callers=CALLERS, each=2)) == {"a"}


async def test_one_caller_after_the_other_meets_an_outage_as_often_as_the_policy_says(world: World) -> None:
    async with pair(world, "outage.in_turn") as two:
        await two.go_down("unavailable")
        assert await load(world, two.name, callers=1, each=10 * FAILURES) == ["b"] * 10 * FAILURES
        assert two.callers == FAILURES
        attempts = [len(row["attempts"]) for row in (await world.receipts([two.name], each=10 * FAILURES))[two.name]]
        assert attempts == [2] * FAILURES + [1] * 9 * FAILURES
        await two.come_back("unavailable")
        await closed(world, two)


async def test_probes_are_of_one_token_and_have_receipts_of_their_own(world: World) -> None:
    async with pair(world, "outage.probed") as two:
        await two.go_down("server_error")
        await load(world, two.name, callers=1, each=FAILURES)
        await two.come_back("server_error")
        await closed(world, two)
        probe = two.a.calls[-1]
        assert (probe.prompt, probe.body["max_tokens"]) == (PROBE, 1)
        rows = (await world.receipts([f"{two.name}.a"], each=two.probes))[f"{two.name}.a"]
        assert {row["surface"] for row in rows} == {receipt_pb2.SURFACE_PROBE}
        last = rows[-1]
        assert (last["outcome"], last["org_id"]) == (receipt_pb2.OUTCOME_OK, NIL)
        assert last["cost_nanos"] == 1000 * 1 * probe.prompt_tokens + 1000 * 2 * probe.tokens_said
        assert all(row["cost_nanos"] == 0 for row in rows[:-1])


async def test_where_all_are_down_callers_are_told_at_once_and_nobody_is_asked(world: World) -> None:
    async with pair(world, "outage.of_all", breaker={"failures": 1, "open_s": 600, "open_most_s": 600}) as two:
        two.a.fail("unavailable", times=None)
        two.b.fail("server_error", times=None)
        first = await load(world, two.name, callers=1, each=1)
        assert first == [UNAVAILABLE]
        assert await load(world, two.name, callers=CALLERS, each=2) == [UNAVAILABLE] * 2 * CALLERS
        assert (len(two.a.calls), len(two.b.calls)) == (1, 1)
        rows = (await world.receipts([two.name], each=1 + 2 * CALLERS))[two.name]
        assert [len(row["attempts"]) for row in rows] == [2] + [0] * 2 * CALLERS
        assert {(row["basis"], row["cost_nanos"]) for row in rows} == {(receipt_pb2.BASIS_NONE, 0)}


async def test_a_target_that_limits_us_is_left_alone_for_as_long_as_it_says(world: World) -> None:
    async with pair(world, "limited") as two:
        two.a.fail("rate_limit", times=None, retry_after_s=600)
        assert set(await load(world, two.name, callers=1, each=20)) == {"b"}
        assert len(two.a.calls) == 1
        assert phase(world, two) == "closed"
        two.b.fail("rate_limit", times=None, retry_after_s=600)
        assert await load(world, two.name, callers=1, each=3) == [LIMITED] * 3
        assert (len(two.a.calls), len(two.b.calls)) == (1, 21)

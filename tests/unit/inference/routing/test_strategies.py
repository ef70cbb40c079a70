"""Which target a call goes to, and that it never goes where it must not."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.inference.money import Price
from services.inference.providers.base import TokenUsage
from services.inference.routing.canary import Canaries
from services.inference.routing.health import Health
from services.inference.routing.plan import Plan, Plans
from services.inference.routing.route import BreakerPolicy, CanaryPolicy, Route, Strategy, Target
from services.inference.routing.strategies import STRATEGIES
from services.mesh.errors import MeshError
from tests.unit.inference.routing.scripted import (
    OK,
    Fail,
    Scripted,
    Wait,
    ask,
    attempts_of,
    model_call,
    route,
    run,
    target,
)

NOW = 1000.0


class Choice:
    """A plan with its targets' health at hand. Indexes are those of the route's targets."""

    def __init__(self, over: Route, seed: int = 1, canaries: Canaries | None = None) -> None:
        self.health = Health(clock=lambda: NOW)
        self.plans = Plans(self.health, random.Random(seed).random, canaries)
        self.over = over

    @property
    def plan(self) -> Plan:
        return self.plans.of(self.over)

    def of(self, index: int) -> Any:
        return self.health.of(self.over.targets[index], 1)

    def pick(self, tried: tuple[int, ...] = (), **call: Any) -> int | None:
        lanes = self.plan.lanes
        found = self.plan.pick(model_call(self.over, **call), NOW, [lanes[one] for one in tried])
        return None if found is None else lanes.index(found)

    def order(self, **call: Any) -> list[int]:
        tried: list[int] = []
        while (found := self.pick(tuple(tried), **call)) is not None:
            tried.append(found)
        return tried


def targets(*options: dict[str, Any]) -> list[Target]:
    return [target(Scripted(f"p{number}"), **those) for number, those in enumerate(options)]


def test_every_strategy_is_there() -> None:
    assert set(STRATEGIES) == set(Strategy)


def test_ordered_goes_by_the_route() -> None:
    assert Choice(route(*targets({}, {}, {}), strategy=Strategy.ORDERED)).order() == [0, 1, 2]


def test_least_busy_counts_calls_against_what_a_target_takes() -> None:
    choice = Choice(route(*targets({"concurrency_max": 100}, {"concurrency_max": 10})))
    choice.of(0).in_flight, choice.of(1).in_flight = 20, 3
    assert choice.order() == [0, 1]
    choice.of(0).in_flight = 40
    assert choice.order() == [1, 0]


def test_least_busy_goes_by_weight_where_a_limit_is_unknown() -> None:
    choice = Choice(route(*targets({"weight": 4}, {"weight": 1, "concurrency_max": 100})))
    choice.of(0).in_flight, choice.of(1).in_flight = 3, 1
    assert choice.order() == [0, 1]


def test_ties_are_broken_evenly() -> None:
    choice = Choice(route(*targets({}, {}, {})))
    counts = Counter(choice.pick() for _ in range(3000))
    assert all(900 < counts[one] < 1100 for one in range(3)), counts


def test_lowest_cost_counts_input_and_cap_and_knows_what_it_does_not_know() -> None:
    cheap_input, cheap_output = Price(1, 100), Price(100, 1)
    choice = Choice(
        route(*targets({"price": None}, {"price": cheap_input}, {"price": cheap_output}), strategy=Strategy.LOWEST_COST)
    )
    assert choice.order(input_tokens_estimate=1000, output_cap=10) == [1, 2, 0]
    assert choice.order(input_tokens_estimate=10, output_cap=1000) == [2, 1, 0]


def test_lowest_cost_takes_a_targets_own_cap() -> None:
    choice = Choice(
        route(
            *targets({"price": Price(1, 10), "max_output_tokens": 100}, {"price": Price(1, 9)}),
            strategy=Strategy.LOWEST_COST,
        )
    )
    assert choice.order(output_cap=1000) == [0, 1]


@pytest.mark.parametrize("streamed", [True, False])
def test_lowest_latency_explores_one_call_at_a_time(streamed: bool) -> None:
    choice = Choice(route(*targets({}, {}, {}), strategy=Strategy.LOWEST_LATENCY))
    for index, s in ((0, 0.5), (1, 0.1)):
        health = choice.of(index)
        (health.first_token if streamed else health.answer).add(s, NOW)
    assert choice.order(streamed=streamed) == [2, 1, 0], "nothing is known of the third"
    choice.of(2).in_flight = 1
    assert choice.order(streamed=streamed) == [1, 0, 2], "it is being explored"


@settings(max_examples=30, deadline=None)
@given(weights=st.lists(st.integers(0, 20), min_size=2, max_size=5), seed=st.integers(0, 99))
def test_weights_converge(weights: list[int], seed: int) -> None:
    choice = Choice(route(*targets(*[{"weight": one} for one in weights]), strategy=Strategy.WEIGHTED), seed)
    tries, total = 4000, sum(weights)
    counts = Counter(choice.pick() for _ in range(tries))
    if not total:
        assert set(counts) == {len(weights) - 1}
        return
    for index, weight in enumerate(weights):
        share = weight / total
        # Five standard deviations of a binomial share.
        assert abs(counts[index] / tries - share) <= 5 * (share * (1 - share) / tries) ** 0.5
        assert weight or not counts[index]


def test_quality_takes_the_smallest_tier_that_is_up_to_it_then_what_is_left() -> None:
    choice = Choice(
        route(
            *targets({"tier": 3}, {"tier": 0}, {"tier": 1}, {"tier": 1, "price": Price(1, 1)}),
            strategy=Strategy.QUALITY,
        )
    )
    easy = {"messages": [{"role": "user", "content": "Say hello."}]}
    hard = {"messages": [{"role": "user", "content": "```py\nx\n```\nProve it. Must be exact. Must be short."}]}
    assert choice.order(body=easy) == [1, 3, 2, 0]
    assert choice.order(body=hard) == [0, 3, 2, 1]


_lane = st.fixed_dictionaries(
    {
        "weight": st.integers(0, 5),
        "tier": st.integers(0, 3),
        "concurrency_max": st.integers(0, 3),
        "context_tokens": st.sampled_from([0, 100, 200]),
        "price": st.sampled_from([None, Price(1, 1), Price(5, 5)]),
    }
)
_state = st.tuples(st.booleans(), st.booleans(), st.integers(0, 3))


@settings(max_examples=400, deadline=None)
@given(
    lanes=st.lists(st.tuples(_lane, _state), min_size=1, max_size=5),
    strategy=st.sampled_from(list(Strategy)),
    estimate=st.sampled_from([0, 100, 101, 200, 999]),
    canary=st.integers(0, 5),
    seed=st.integers(0, 9),
)
def test_what_is_not_eligible_is_never_picked_and_what_is_always_is(
    lanes: list[tuple[dict[str, Any], tuple[bool, bool, int]]],
    strategy: Strategy,
    estimate: int,
    canary: int,
    seed: int,
) -> None:
    policy = CanaryPolicy(f"model-p{canary}", 50.0) if canary < len(lanes) else None
    choice = Choice(route(*targets(*[one for one, _ in lanes]), strategy=strategy, canary=policy), seed)
    largest = max(one["context_tokens"] or 10**9 for one, _ in lanes)
    expected = set()
    for index, (options, (opened, limited, in_flight)) in enumerate(lanes):
        health = choice.of(index)
        if opened:
            health.breaker.failed(BreakerPolicy(failures=1), NOW, NOW)
        if limited:
            health.cooldown_until = NOW + 1
        health.in_flight = in_flight
        full = bool(options["concurrency_max"]) and in_flight >= options["concurrency_max"]
        fits = len(lanes) == 1 or (options["context_tokens"] or 10**9) >= min(estimate, largest)
        if not opened and not limited and not full and fits:
            expected.add(index)
    order = choice.order(input_tokens_estimate=estimate, output_cap=10)
    assert len(order) == len(set(order))
    assert set(order) == expected
    if not expected:
        error = choice.plan.refusal(NOW)
        assert error.reason in ("PROVIDER_UNAVAILABLE", "PROVIDER_RATE_LIMITED")
        assert (error.retry_after_s or 0) > 0


def test_where_the_estimate_fits_nowhere_the_largest_decide_for_themselves() -> None:
    choice = Choice(route(*targets({"context_tokens": 100}, {"context_tokens": 1000}, {"context_tokens": 1000})))
    assert sorted(choice.order(input_tokens_estimate=5000)) == [1, 2]


def test_a_larger_target_that_is_out_of_reach_is_not_replaced_by_one_too_small() -> None:
    choice = Choice(route(*targets({"context_tokens": 100}, {"context_tokens": 1000})))
    choice.of(1).cooldown_until = NOW + 3
    assert choice.pick(input_tokens_estimate=500) is None, "the small one would refuse what is only a matter of time"
    assert choice.pick(input_tokens_estimate=50) == 0


def test_refusals_say_the_soonest_way_back() -> None:
    choice = Choice(route(*targets({}, {}, {"concurrency_max": 1})))
    choice.of(0).breaker.failed(BreakerPolicy(failures=1, open_s=5.0), NOW, NOW)
    choice.of(0).last_reason = "PROVIDER_TIMEOUT"
    choice.of(2).in_flight = 1
    choice.of(1).cooldown_until = NOW + 2
    error = choice.plan.refusal(NOW)
    assert (error.reason, error.retry_after_s) == ("PROVIDER_RATE_LIMITED", 2.0)
    assert error.metadata["targets"] == "BUSY,PROVIDER_RATE_LIMITED,PROVIDER_TIMEOUT"
    choice.of(1).cooldown_until = 0
    choice.of(1).breaker.failed(BreakerPolicy(failures=1, open_s=0.5), NOW, NOW)
    error = choice.plan.refusal(NOW)
    assert (error.reason, error.retry_after_s) == ("PROVIDER_UNAVAILABLE", 0.5)


# Canaries


def canary_route(share_percent: float, version: int = 1, **options: Any) -> Route:
    canary = CanaryPolicy("model-p2", share_percent, calls_min=20)
    return route(*targets({}, {}, {}), strategy=Strategy.ORDERED, canary=canary, version=version, **options)


@pytest.mark.parametrize("share_percent", [0.0, 5.0, 50.0, 100.0])
def test_a_canary_gets_its_share_of_first_attempts(share_percent: float) -> None:
    choice = Choice(canary_route(share_percent))
    counts = Counter(choice.pick() for _ in range(4000))
    assert counts[2] / 4000 == pytest.approx(share_percent / 100, abs=0.03)
    assert counts[1] == 0
    assert choice.order()[-1] in (1, 2)


def test_a_canary_is_the_last_resort_of_the_others() -> None:
    choice = Choice(canary_route(0.0))
    assert choice.order() == [0, 1, 2]


def judged(roll_back: Callable[[Route, str], None] | None = None) -> tuple[Choice, list[tuple[str, str]]]:
    told: list[tuple[str, str]] = []
    canaries = Canaries(roll_back or (lambda over, why: told.append((over.name, why))))
    return Choice(canary_route(50.0), canaries=canaries), told


def feed(
    choice: Choice,
    calls: int,
    *,
    canary_fails: float = 0.0,
    control_fails: float = 0.0,
    canary_s: float = 0.1,
    control_s: float = 0.1,
    canary_nanos: int | None = 100,
    control_nanos: int | None = 100,
) -> None:
    trial = choice.plan.trial
    assert trial is not None
    for number in range(calls):
        for is_canary, fails, s, nanos in (
            (False, control_fails, control_s, control_nanos),
            (True, canary_fails, canary_s, canary_nanos),
        ):
            failed = int((number + 1) * fails) > int(number * fails)
            trial.observe(is_canary, failed=failed, latency_s=s, cost_nanos=nanos, now=NOW)


@pytest.mark.parametrize(
    ("worse", "word"),
    [
        ({"canary_fails": 0.5}, "failed"),
        ({"canary_fails": 0.2, "control_fails": 0.1}, "failed"),
        ({"canary_s": 0.5}, "first token"),
        ({"canary_nanos": 500}, "costs"),
    ],
)
def test_a_canary_that_does_worse_is_rolled_back_once(worse: dict[str, Any], word: str) -> None:
    choice, told = judged()
    feed(choice, 19, **worse)
    assert not told, "too few calls for a verdict"
    feed(choice, 200, **worse)
    assert [name for name, _ in told] == ["house"]
    assert word in told[0][1]
    assert "model-p2" in told[0][1]
    assert {choice.pick() for _ in range(200)} == {0}, "it gets no calls from then on"
    assert choice.order() == [0, 1], "not even as a last resort"


@pytest.mark.parametrize(
    "alike",
    [
        {},
        {"canary_fails": 0.13, "control_fails": 0.1},
        {"canary_fails": 0.0, "control_fails": 0.9},
        {"canary_s": 0.13},
        {"canary_nanos": 190},
        {"canary_nanos": None},
        {"canary_nanos": 0, "control_nanos": 0},
    ],
)
def test_a_canary_that_does_about_as_well_stays(alike: dict[str, Any]) -> None:
    choice, told = judged()
    feed(choice, 1000, **alike)
    assert not told


def test_a_canary_that_goes_bad_late_is_still_found_out() -> None:
    choice, told = judged()
    feed(choice, 10_000)
    feed(choice, 60, canary_fails=0.5)
    assert told


def test_only_its_own_calls_condemn_a_canary() -> None:
    choice, told = judged()
    feed(choice, 20, canary_s=0.1, control_s=0.1)
    trial = choice.plan.trial
    assert trial is not None
    for _ in range(500):
        trial.observe(False, failed=False, latency_s=0.001, cost_nanos=1, now=NOW + 1)
    assert not told
    trial.observe(True, failed=False, latency_s=0.1, cost_nanos=100, now=NOW + 2)
    assert told


def test_nothing_is_judged_without_a_control() -> None:
    choice, told = judged()
    trial = choice.plan.trial
    assert trial is not None
    for _ in range(500):
        trial.observe(True, failed=True, latency_s=None, cost_nanos=None, now=NOW)
    assert not told


def test_counts_go_on_over_versions_and_begin_anew_after_a_rollback() -> None:
    choice, told = judged()
    feed(choice, 15, canary_fails=0.5)
    choice.over = canary_route(50.0, version=2)
    feed(choice, 10, canary_fails=0.5)
    assert len(told) == 1
    old = choice.plan.trial
    choice.over = canary_route(50.0, version=3)
    assert choice.plan.trial is not old, "an operator tries it again"
    assert {choice.pick() for _ in range(100)} == {0, 2}
    choice.over = route(*targets({}, {}, {}), version=4)
    assert choice.plan.trial is None


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("worse", ["fails", "slow", "dear", ""])
def test_attempts_are_what_a_canary_is_judged_by(streamed: bool, worse: str) -> None:
    async def main() -> None:
        told: list[str] = []
        attempts = attempts_of(canaries=Canaries(lambda _route, why: told.append(why)))
        control = Scripted("a", always=[Wait(0.1), *OK])
        canary = Scripted("b", always=[Wait(0.5 if worse == "slow" else 0.1), *OK])
        if worse == "fails":
            canary.always = [Fail("PROVIDER_REJECTED")]
        if worse == "dear":
            canary.usage = TokenUsage(1000, 500)
        over = route(target(control), target(canary), canary=CanaryPolicy("model-b", 50.0, calls_min=20))
        for _ in range(100):
            try:
                await ask(attempts, model_call(over, streamed=streamed))
            except MeshError as error:
                assert error.reason == "PROVIDER_REJECTED"  # noqa: PT017
        words = {"fails": "failed", "slow": "first token", "dear": "costs"}
        if not worse:
            assert not told
            return
        assert len(told) == 1
        assert words[worse] in told[0]
        assert len(canary.calls) < 50 < len(control.calls), "it got no calls after"

    run(main())


def test_plans_follow_the_configuration() -> None:
    choice = Choice(route(*targets({}, {})))
    first = choice.plan
    assert choice.plan is first
    choice.over = route(*targets({}, {}), version=2)
    assert choice.plan is not first
    choice.plans.configure([])
    assert not choice.plans._plans
    with pytest.raises(MeshError):
        choice.plans.of(choice.over, embeds=True)

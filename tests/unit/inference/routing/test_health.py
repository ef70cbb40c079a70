"""What counts against a target and what does not; breakers, cooldowns, stalls of our own, and what metrics say."""

from __future__ import annotations

import asyncio
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest

from services.inference.routing.breaker import Breaker, Phase
from services.inference.routing.health import COOLDOWN_FIRST_S, COOLDOWN_MOST_S, Health, TargetHealth
from services.inference.routing.health_metrics import HealthCollector
from services.inference.routing.quantiles import DecayedQuantile
from services.inference.routing.route import BreakerPolicy
from services.inference.routing.stalls import LoopStalls
from services.mesh.errors import CODES
from tests.unit.inference.routing.scripted import Scripted, route, run, target

POLICY = BreakerPolicy()
AGAINST = {"PROVIDER_UNAVAILABLE", "PROVIDER_TIMEOUT", "PROVIDER_ANSWER_BROKEN", "PROVIDER_CREDENTIAL_REFUSED"}


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def health_of(clock: Clock, stalled: bool = False) -> TargetHealth:
    return Health(clock=clock, stalled=lambda: stalled).of(target(Scripted()), 1)


def fail(one: TargetHealth, reason: str, now: float, *, began: float | None = None, after: float | None = None) -> None:
    one.in_flight += 1
    one.failed(reason, POLICY, now if began is None else began, now, after)


# Breakers


@pytest.mark.parametrize("reason", sorted(CODES))
def test_only_what_any_request_would_meet_opens_a_breaker(reason: str) -> None:
    one = health_of(Clock())
    for _ in range(50):
        fail(one, reason, 1000.0)
    assert (one.breaker.phase is Phase.OPEN) is (reason in AGAINST)
    assert (one.cooldown_until > 1000.0) is (reason == "PROVIDER_RATE_LIMITED")


def test_a_row_of_failures_opens_and_a_success_ends_the_row() -> None:
    breaker = Breaker()
    for _ in range(POLICY.failures - 1):
        assert not breaker.failed(POLICY, 1000.0, 1000.0)
    breaker.succeeded(1000.0, 1000.5)
    for _ in range(POLICY.failures - 1):
        assert not breaker.failed(POLICY, 1001.0, 1001.0)
    assert breaker.failed(POLICY, 1001.0, 1001.0)
    assert breaker.probe_time == 1001.0 + POLICY.open_s


def test_a_stream_begun_in_good_times_ends_no_row() -> None:
    breaker = Breaker()
    for _ in range(POLICY.failures - 1):
        breaker.failed(POLICY, 1000.0, 1000.0)
    breaker.succeeded(begin_time=990.0, now=1001.0)
    assert breaker.failed(POLICY, 1001.0, 1001.0)


def test_a_share_of_the_window_opens() -> None:
    policy = BreakerPolicy(failures=1000, failure_share=0.5, calls_min=20, window_s=10.0)
    breaker = Breaker()
    for number in range(9):
        now = 1000.0 + number
        breaker.succeeded(now, now)
        assert not breaker.failed(policy, now, now)
    assert not breaker.failed(policy, 1009.0, 1009.0), "19 calls are too few"
    assert breaker.failed(policy, 1009.0, 1009.0)


def test_what_is_older_than_the_window_does_not_count() -> None:
    policy = BreakerPolicy(failures=1000, failure_share=0.5, calls_min=20, window_s=10.0)
    breaker = Breaker()
    for _ in range(19):
        assert not breaker.failed(policy, 1000.0, 1000.0)
    for now in (1011.0, 1080.0):
        assert not breaker.failed(policy, now, now)


def test_calls_of_before_it_last_changed_are_not_counted() -> None:
    breaker = Breaker()
    for _ in range(POLICY.failures):
        breaker.failed(POLICY, 1000.0, 1000.0)
    breaker.probe_succeeded(1005.0)
    for _ in range(50):
        assert not breaker.failed(POLICY, 1004.0, 1006.0), "a timeout of the outage, come in late"
    assert breaker.closed
    for _ in range(POLICY.failures):
        breaker.failed(POLICY, 1006.0, 1006.0)
    assert not breaker.closed


def test_a_probe_that_succeeded_wipes_the_window() -> None:
    policy = BreakerPolicy(failures=1000, failure_share=0.5, calls_min=20, window_s=10.0)
    breaker = Breaker()
    assert [breaker.failed(policy, 1000.0, 1000.0) for _ in range(20)].count(True) == 1
    breaker.probe_succeeded(1002.0)
    assert not breaker.failed(policy, 1003.0, 1003.0), "one failure is not the share of twenty"


def test_a_failed_probe_doubles_the_time_within_the_bound() -> None:
    breaker = Breaker()
    policy = BreakerPolicy(failures=1, open_s=5.0, open_most_s=12.0)
    breaker.failed(policy, 1000.0, 1000.0)
    waits = []
    for _ in range(4):
        waits.append(breaker.open_s)
        breaker.probe_failed(2000.0)
        assert breaker.probe_time == 2000.0 + breaker.open_s
    assert waits == [5.0, 10.0, 12.0, 12.0]
    breaker.probe_succeeded(3000.0)
    breaker.failed(policy, 3000.0, 3000.0)
    assert breaker.open_s == 5.0


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 30)), max_size=200))
def test_no_row_no_share_no_opening(events: list[tuple[bool, float]]) -> None:
    """It opens only where the row or the share was reached, counted anew the plain way."""
    policy = BreakerPolicy(failures=5, failure_share=0.5, calls_min=8, window_s=10.0)
    breaker, now, seen, row = Breaker(), 1000.0, [], 0
    for ok, pause_s in events:
        now += pause_s
        seen.append((int(now), ok))
        if ok:
            breaker.succeeded(now, now)
            row = 0
            continue
        row += 1
        window = [one for second, one in seen if second >= int(now - policy.window_s) + 1]
        failed = window.count(False)
        expected = row >= policy.failures or (len(window) >= policy.calls_min and failed * 2 >= len(window))
        assert breaker.failed(policy, now, now) is expected
        if expected:
            return


def test_a_timeout_of_our_own_stall_opens_nothing() -> None:
    one = health_of(Clock(), stalled=True)
    for _ in range(50):
        fail(one, "PROVIDER_TIMEOUT", 1000.0)
    assert one.breaker.closed
    assert one.status(1000.0).outcomes["provider_timeout"] == 50
    for _ in range(POLICY.failures):
        fail(one, "PROVIDER_UNAVAILABLE", 1000.0)
    assert not one.breaker.closed, "a refused connection is no matter of time"


def test_a_stall_of_the_loop_is_noticed_and_forgotten() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        stalls = LoopStalls()
        assert not stalls.stalled()
        task = asyncio.create_task(stalls.run())
        await asyncio.sleep(0.55)
        assert not stalls.stalled()
        loop.now += 3.0  # type: ignore[attr-defined]  # the loop stands still
        assert stalls.stalled(), "known before its ticks go on"
        await asyncio.sleep(0.5)
        assert stalls.stalled()
        await asyncio.sleep(1.0)
        assert not stalls.stalled()
        task.cancel()
        await asyncio.wait([task])
        loop.now += 3.0  # type: ignore[attr-defined]
        assert not stalls.stalled(), "who does not tick knows nothing"

    run(main())


# Cooldowns


def test_a_cooldown_is_as_long_as_the_provider_says() -> None:
    one = health_of(Clock())
    fail(one, "PROVIDER_RATE_LIMITED", 1000.0, after=7.0)
    assert one.cooldown_until == 1007.0
    fail(one, "PROVIDER_RATE_LIMITED", 1001.0, after=1.0)
    assert one.cooldown_until == 1007.0, "never shortened"
    assert one.breaker.closed


def test_a_cooldown_without_retry_after_doubles_until_a_success() -> None:
    one = health_of(Clock())
    now, waits = 1000.0, []
    for _ in range(9):
        fail(one, "PROVIDER_RATE_LIMITED", now)
        waits.append(one.cooldown_until - now)
        now = one.cooldown_until
    assert waits[:3] == [COOLDOWN_FIRST_S, 2 * COOLDOWN_FIRST_S, 4 * COOLDOWN_FIRST_S]
    assert waits[-1] == COOLDOWN_MOST_S
    one.in_flight += 1
    one.answered(now, now)
    fail(one, "PROVIDER_RATE_LIMITED", now)
    assert one.cooldown_until == now + COOLDOWN_FIRST_S


def test_many_limits_at_once_are_one() -> None:
    one = health_of(Clock())
    for _ in range(100):
        fail(one, "PROVIDER_RATE_LIMITED", 1000.1, began=1000.0)
    assert one.cooldown_until == 1000.1 + COOLDOWN_FIRST_S


# Quantiles


@given(st.lists(st.floats(0.001, 500.0), min_size=1, max_size=300))
def test_the_quantile_is_within_a_bucket_of_the_true_one(values: list[float]) -> None:
    found = DecayedQuantile()
    for value in values:
        found.add(value, 1000.0)
    rank = int(0.95 * len(values))
    true = sorted(values)[min(rank, len(values) - 1)]
    estimate = found.value(1000.0)
    assert estimate is not None
    near = sorted(values)[max(0, rank - 1)], true
    assert near[0] * 0.9 <= estimate <= near[1] * 1.1


def test_the_quantile_forgets() -> None:
    found = DecayedQuantile(half_life_s=60.0)
    for _ in range(1000):
        found.add(10.0, 1000.0)
    for _ in range(1000):
        found.add(0.1, 1000.0 + 600.0)  # ten half-lives later
    assert found.value(1600.0) == pytest.approx(0.1, rel=0.06)
    assert found.value(1600.0 + 60 * 10) == pytest.approx(0.1, rel=0.06)
    assert found.value(1600.0 + 60 * 20) is None
    assert found.value(1e9) is None
    found.add(1.0, 1e9)
    assert found.value(1e9 + 1) == pytest.approx(1.0, rel=0.06)


def test_odd_durations_are_borne() -> None:
    found = DecayedQuantile()
    assert found.value(0.0) is None
    for value in (0.0, -1.0, 1e-9, 1e9):
        found.add(value, 1000.0)
    assert found.value(1000.0) == pytest.approx(600, rel=0.1)


# Over versions, and out to operators


def test_health_survives_versions_of_the_configuration() -> None:
    health = Health(clock=Clock())
    provider = Scripted()
    old, new = target(provider, weight=1), target(provider, weight=2)
    first = health.of(old, 1)
    assert health.of(new, 2) is first
    assert first.target is new
    assert health.of(old, 1) is first
    assert first.target is new, "a call of the old version does not turn it back"
    other = route(target(Scripted("other")), version=3)
    health.configure([other])
    assert [one.provider for one in health.snapshot()] == ["other"]


def test_metrics_and_the_snapshot_say_the_same() -> None:
    clock = Clock()
    health = Health(clock=clock)
    one = health.of(target(Scripted()), 1)
    one.in_flight = 3
    one.first_token.add(0.2, clock.now)
    one.answered(clock.now, clock.now)
    fail(one, "PROVIDER_RATE_LIMITED", clock.now, after=4.0)
    for _ in range(POLICY.failures):
        fail(one, "PROVIDER_TIMEOUT", clock.now)
    one.left()
    registry = CollectorRegistry()
    registry.register(HealthCollector(health))
    text = generate_latest(registry).decode()
    labels = '{model="up-model-p",provider="p"}'
    for line in (
        f"promptmesh_target_breaker{labels} 2.0",
        f"promptmesh_target_breaker_opened_total{labels} 1.0",
        f"promptmesh_target_in_flight{labels} 1.0",
        f"promptmesh_target_cooldown_seconds{labels} 4.0",
        'promptmesh_target_attempts_total{model="up-model-p",outcome="ok",provider="p"} 1.0',
        'promptmesh_target_attempts_total{model="up-model-p",outcome="provider_timeout",provider="p"} 5.0',
        'promptmesh_target_attempts_total{model="up-model-p",outcome="cancelled",provider="p"} 1.0',
    ):
        assert line in text, text
    (status,) = health.snapshot()
    assert status.next_probe_s == POLICY.open_s
    assert status.first_token_p95_s == pytest.approx(0.2, rel=0.06)
    assert status.last_reason == "PROVIDER_TIMEOUT"


def test_the_collector_may_run_beside_the_loop() -> None:
    """The metrics' thread reads while targets come and go."""
    import threading

    health = Health(clock=time.monotonic)
    registry = CollectorRegistry()
    registry.register(HealthCollector(health))
    errors: list[BaseException] = []
    stop = threading.Event()

    def scrape() -> None:
        while not stop.is_set():
            try:
                generate_latest(registry)
            except BaseException as error:
                errors.append(error)
                raise

    thread = threading.Thread(target=scrape)
    thread.start()
    for number in range(300):
        one = health.of(target(Scripted(f"p{number}")), 1)
        fail(one, "PROVIDER_TIMEOUT", time.monotonic())
        fail(one, "PROVIDER_REJECTED", time.monotonic())
    stop.set()
    thread.join()
    assert not errors

"""Reservations against real slices: all limits or none, what a refusal says, what comes back."""

from __future__ import annotations

import asyncio

import pytest

from services.inference.limits import Defaults, Limits, LimitValues, Total
from services.mesh.call import Caller, CallerKind
from services.mesh.errors import MeshError
from tests.integration.inference.limits.conftest import CALLER, CLOCK_KEY, CLOCKED, KEY, ORG, USER, Fleet, of_org, raw

OTHER_KEY = "0190aaaa-0000-7000-8000-00000000000d"
OTHER = Caller(CallerKind.API_KEY, user_id=USER, org_id=ORG, api_key_id=OTHER_KEY)


async def left(limits: Limits, caller: Caller = CALLER) -> dict[str, int]:
    return {f"{one.kind}.{one.limit}": one.remaining for one in await limits.left(caller)}


async def refused(limits: Limits, *, tokens: int = 1, nanos: int | None = 1, caller: Caller = CALLER) -> MeshError:
    with pytest.raises(MeshError) as caught:
        await limits.reserve(caller, tokens=tokens, nanos=nanos)
    return caught.value


async def test_all_subjects_or_none(fleet: Fleet) -> None:
    limits = fleet.start(
        Defaults(
            api_key=LimitValues(requests_per_day=5, nanos_per_day=1000),
            user=LimitValues(tokens_per_minute=10_000),
            org=LimitValues(nanos_per_month=300, concurrent_requests=10),
        )
    )
    first = await limits.reserve(CALLER, tokens=100, nanos=200)
    error = await refused(limits, tokens=100, nanos=200)
    assert error.reason == "BUDGET_EXHAUSTED"
    assert error.metadata == {
        "limit": "nanos_per_month",
        "subject": f"org:{ORG}",
        "limit_value": "300",
        "remaining": "300",
        "needed": "200",
        "state": "held",
    }
    assert error.retry_after_s == 1.0
    assert error.quota[0].subject == f"org:{ORG}"
    # Nothing of the refused call was taken anywhere.
    expected = {
        "1.requests_per_day": 4,
        "1.nanos_per_day": 800,
        "2.tokens_per_minute": 9_900,
        "3.nanos_per_month": 100,
        "3.concurrent_requests": 9,
    }
    assert await left(limits) == expected
    first.settle(tokens=60, nanos=150)
    assert (await left(limits))["2.tokens_per_minute"] == 9_940
    error = await refused(limits, tokens=100, nanos=200)
    assert error.metadata["state"] == "spent"
    assert error.retry_after_s is not None
    assert error.retry_after_s > 0
    assert "nanos_per_month" in error.message
    assert "$0.00000015 of it are left" in error.message
    # Another key of the same organisation has an own day, and shares the month.
    (await limits.reserve(OTHER, tokens=100, nanos=150)).settle(tokens=1, nanos=150)
    assert (await left(limits, OTHER))["3.nanos_per_month"] == 0
    assert (await left(limits, OTHER))["1.requests_per_day"] == 4
    assert (await left(limits, CALLER))["1.requests_per_day"] == 4


async def test_callers_without_limits_are_free(fleet: Fleet) -> None:
    limits = fleet.start()
    fleet.sums.away = True
    reservation = await limits.reserve(CALLER, tokens=10**9, nanos=None)
    await reservation.extend(1, None)
    reservation.settle(tokens=1, nanos=1)
    assert reservation.remaining().requests_limit is None
    assert await limits.left(CALLER) == ()
    service = Caller(CallerKind.SERVICE, service="prompts")
    limits.configure(of_org(requests_per_day=0))
    assert (await limits.reserve(service, tokens=1, nanos=1)).subjects == ()


async def test_a_limit_of_nought_allows_nothing(fleet: Fleet) -> None:
    limits = fleet.start(of_org(requests_per_minute=0))
    error = await refused(limits)
    assert (error.reason, error.metadata["state"]) == ("LIMIT_REACHED", "spent")


async def test_a_price_that_is_unknown(fleet: Fleet) -> None:
    limits = fleet.start(of_org(requests_per_day=3))
    (await limits.reserve(CALLER, tokens=1, nanos=None)).settle(tokens=1, nanos=None)
    limits.configure(of_org(nanos_per_day=3))
    assert (await refused(limits, nanos=None)).reason == "PRICE_UNKNOWN"
    reservation = await limits.reserve(CALLER, tokens=1, nanos=1)
    with pytest.raises(MeshError, match="price"):
        await reservation.extend(1, None)
    # Settled at an unknown price, the reservation counts.
    reservation.settle(tokens=1, nanos=None)
    assert await left(limits) == {"3.nanos_per_day": 2}


async def test_released_only_the_minute_counts(fleet: Fleet) -> None:
    limits = fleet.start(
        of_org(
            requests_per_minute=10, tokens_per_minute=100, concurrent_requests=4, requests_per_day=10, nanos_per_day=50
        )
    )
    reservation = await limits.reserve(CALLER, tokens=40, nanos=20)
    reservation.release()
    reservation.settle(tokens=40, nanos=20)  # too late: it was released
    assert await left(limits) == {
        "3.requests_per_minute": 9,
        "3.tokens_per_minute": 100,
        "3.concurrent_requests": 4,
        "3.requests_per_day": 10,
        "3.nanos_per_day": 50,
    }


async def test_extended_for_one_more_attempt(fleet: Fleet) -> None:
    limits = fleet.start(of_org(tokens_per_minute=100, nanos_per_day=50, requests_per_day=10))
    reservation = await limits.reserve(CALLER, tokens=40, nanos=20)
    await reservation.extend(40, 20)
    assert (reservation.tokens, reservation.nanos) == (80, 40)
    with pytest.raises(MeshError) as caught:
        await reservation.extend(40, 20)
    assert caught.value.metadata["state"] == "held"
    assert (await left(limits))["3.tokens_per_minute"] == 20
    reservation.settle(tokens=70, nanos=35)
    assert await left(limits) == {"3.tokens_per_minute": 30, "3.nanos_per_day": 15, "3.requests_per_day": 9}


async def test_used_beyond_the_reservation_counts(fleet: Fleet) -> None:
    limits = fleet.start(of_org(nanos_per_day=50))
    (await limits.reserve(CALLER, tokens=1, nanos=20)).settle(tokens=1, nanos=45)
    assert await left(limits) == {"3.nanos_per_day": 5}
    assert (await refused(limits, nanos=6)).metadata["state"] == "spent"


async def test_calls_at_once(fleet: Fleet) -> None:
    one, two = fleet.start(of_org(concurrent_requests=2)), fleet.start(of_org(concurrent_requests=2))
    first, _second = await one.reserve(CALLER, tokens=1, nanos=1), await two.reserve(CALLER, tokens=1, nanos=1)
    error = await refused(two)
    assert (error.reason, error.metadata["state"], error.retry_after_s) == ("CONCURRENCY_LIMIT", "held", 1.0)
    first.settle(tokens=1, nanos=1)
    await one.flush()
    async with asyncio.timeout(10):
        while (await two.left(CALLER))[0].remaining == 0:
            await one.flush()
    (await two.reserve(CALLER, tokens=1, nanos=1)).settle(tokens=1, nanos=1)


async def test_a_limit_that_is_lowered_raised_and_removed(fleet: Fleet) -> None:
    limits = fleet.start(of_org(requests_per_day=100))
    held = [await limits.reserve(CALLER, tokens=1, nanos=1) for _ in range(10)]
    limits.configure(of_org(requests_per_day=5))
    assert (await refused(limits)).metadata["limit_value"] == "5"
    for one in held:
        one.settle(tokens=1, nanos=1)
    assert (await refused(limits)).metadata["state"] in ("held", "spent")
    assert await left(limits) == {"3.requests_per_day": 0}
    assert (await refused(limits)).metadata["state"] == "spent"
    limits.configure(of_org(requests_per_day=11))
    (await limits.reserve(CALLER, tokens=1, nanos=1)).settle(tokens=1, nanos=1)
    assert (await refused(limits)).metadata["remaining"] == "0"
    limits.configure(Defaults())
    (await limits.reserve(CALLER, tokens=1, nanos=1)).settle(tokens=1, nanos=1)


async def test_what_was_used_before_is_asked_of_postgresql_once(fleet: Fleet) -> None:
    fleet.sums.by_subject = {KEY: Total(requests=4, nanos=900), ORG: Total(requests=7, nanos=950)}
    one = fleet.start(
        Defaults(api_key=LimitValues(requests_per_day=5), org=LimitValues(nanos_per_month=1000, nanos_per_day=1000))
    )
    (await one.reserve(CALLER, tokens=1, nanos=50)).settle(tokens=1, nanos=50)
    error = await refused(one)
    assert error.metadata["state"] == "spent"
    fleet.sums.asked.clear()
    two = fleet.start(of_org(nanos_per_month=1000))
    assert (await refused(two)).metadata["state"] == "spent"
    assert fleet.sums.asked == []


async def test_without_postgresql_only_what_must_be_seeded_is_refused(fleet: Fleet) -> None:
    fleet.sums.away = True
    limits = fleet.start(Defaults(api_key=LimitValues(requests_per_minute=5), org=LimitValues(nanos_per_day=5)))
    error = await refused(limits)
    assert (error.reason, error.retry_after_s) == ("DEPENDENCY_UNAVAILABLE", 1.0)
    limits.configure(Defaults(api_key=LimitValues(requests_per_minute=5)))
    (await limits.reserve(CALLER, tokens=1, nanos=1)).settle(tokens=1, nanos=1)


async def test_callers_who_leave_while_they_wait_leave_nothing(fleet: Fleet) -> None:
    limits = fleet.start(of_org(concurrent_requests=50, nanos_per_day=1000))

    async def call() -> None:
        reservation = await limits.reserve(CALLER, tokens=1, nanos=1)
        reservation.settle(tokens=1, nanos=1)

    tasks = [asyncio.create_task(call()) for _ in range(40)]
    await asyncio.sleep(0)
    for turn in range(40):
        tasks[turn].cancel()
        if turn % 5 == 0:
            await asyncio.sleep(0)
    await asyncio.wait(tasks)
    used = sum(not task.cancelled() for task in tasks)
    assert await left(limits) == {"3.concurrent_requests": 50, "3.nanos_per_day": 1000 - used}


async def test_the_minute_slides(fleet: Fleet) -> None:
    minute_ms = 1_800_000_000_000 - 1_800_000_000_000 % 60_000
    async with raw(fleet.url) as redis:
        await redis.set(CLOCK_KEY, minute_ms + 59_000)
        limits = fleet.start(of_org(requests_per_minute=60), text=CLOCKED, runs=False)
        limits._epochs.value, limits._epochs.ready = "epoch", True
        await redis.set("limits:epoch", "epoch 0")
        held = [await limits.reserve(CALLER, tokens=1, nanos=1) for _ in range(30)]
        for one in held[:20]:
            one.settle(tokens=1, nanos=1)
        # A second into the next minute, 59/60 of the 30 still count.
        await redis.set(CLOCK_KEY, minute_ms + 61_000)
        await limits.left(CALLER)
        assert await left(limits) == {"3.requests_per_minute": 30}
        # Half a minute later, half of them do; those that came back meanwhile, released, count as their minute's.
        for one in held[20:]:
            one.release()
        await limits.flush()
        await redis.set(CLOCK_KEY, minute_ms + 90_000)
        assert await left(limits) == {"3.requests_per_minute": 45}
        error = None
        for _ in range(45):
            (await limits.reserve(CALLER, tokens=1, nanos=1)).settle(tokens=1, nanos=1)
        error = await refused(limits)
        assert error.metadata["state"] == "spent"
        # One more of the 30 has slid out after two seconds.
        assert error.retry_after_s == pytest.approx(2.0, abs=0.5)


async def test_headers_tell_the_tightest_limit(fleet: Fleet) -> None:
    limits = fleet.start(
        Defaults(
            api_key=LimitValues(requests_per_minute=10, tokens_per_minute=100, output_tokens_per_request=50),
            org=LimitValues(requests_per_minute=1000, nanos_per_day=500, output_tokens_per_request=70),
        )
    )
    reservation = await limits.reserve(CALLER, tokens=30, nanos=20)
    said = reservation.remaining()
    assert (said.requests_limit, said.requests_remaining) == (10, 9)
    assert (said.tokens_limit, said.tokens_remaining) == (100, 70)
    assert said.budget_remaining_nanos == 480
    assert said.requests_reset_s is not None
    assert 0 <= said.requests_reset_s <= 60
    assert limits.output_tokens_max(CALLER) == 50
    assert limits.output_tokens_max(Caller(CallerKind.SESSION, user_id=USER, org_id=ORG)) == 70
    reservation.release()

"""Slices in memory: windows, all or none, settlements, what a process keeps and asks for."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.inference.limits.accounts import Accounts
from services.inference.limits.model import (
    API_KEY,
    ORG,
    SPECS,
    USER,
    Defaults,
    LimitValues,
    Period,
    window_of,
)
from services.inference.limits.options import LimitOptions
from services.inference.limits.redis_time import RedisTime
from services.inference.limits.refusals import wait_s
from services.inference.limits.reservation import Reservation
from services.inference.limits.settings import LimitSettings
from services.inference.limits.slices import Account, Org, Slice, Waiter
from services.inference.limits.statements import size_up, still_holds, wants_of
from services.mesh.call import Caller, CallerKind

NOON = datetime(2026, 5, 31, 12, 0, 30, tzinfo=UTC).timestamp()
CALLER = Caller(CallerKind.API_KEY, user_id="user", org_id="org", api_key_id="key")
ALL = LimitValues(**{spec.name: 1000 for spec in SPECS})
OPTIONS = LimitOptions()


def account_of(defaults: Defaults, free: int = 100) -> Account:
    accounts = Accounts(10, lambda _org: None)
    accounts.configure(defaults)
    account = accounts.of(CALLER)
    assert account is not None
    account.roll(NOON)
    for one in account.slices:
        one.free = free
    return account


async def nothing(_account: Account, _amounts: Any) -> tuple[Slice, ...]:
    raise AssertionError("not here")


def reserve(account: Account, tokens: int, nanos: int, now: float = NOON) -> Reservation:
    slices = account.take((1, tokens, nanos, 1), now)
    assert slices is not None
    return Reservation(account, slices, tokens, nanos, nothing, lambda: now)


@given(st.integers(0, 4_000_000_000), st.sampled_from(list(Period)))
def test_windows_hold_their_moment_and_meet(second: int, period: Period) -> None:
    begin, end = window_of(period, second)
    if period == Period.ALWAYS:
        assert (begin, end) == (0, 0)
        return
    assert begin <= second < end
    assert window_of(period, end)[0] == end
    assert window_of(period, begin) == (begin, end)
    if period == Period.MONTH:
        assert datetime.fromtimestamp(begin, UTC).day == datetime.fromtimestamp(end, UTC).day == 1
        assert 28 <= (end - begin) / 86_400 <= 31


def test_what_is_set_stands_over_the_defaults() -> None:
    accounts = Accounts(10, lambda _org: None)
    accounts.configure(Defaults(user=LimitValues(requests_per_day=5, nanos_per_day=6)))
    accounts.override({(USER, "user"): LimitValues(requests_per_day=0, output_tokens_per_request=4)})
    assert accounts.values_of(USER, "user", "") == LimitValues(
        requests_per_day=0, nanos_per_day=6, output_tokens_per_request=4
    )
    assert accounts.values_of(USER, "other", "") == LimitValues(requests_per_day=5, nanos_per_day=6)
    assert accounts.values_of(ORG, "user", "") == LimitValues()
    account = accounts.of(CALLER)
    assert account is not None
    assert account.output_tokens_max == 4
    assert account.subjects == ("user:user",)


def test_one_meter_for_all_callers_of_an_organisation() -> None:
    accounts = Accounts(2, lambda _org: None)
    accounts.configure(Defaults(api_key=LimitValues(requests_per_day=1), org=LimitValues(requests_per_day=9)))
    callers = [Caller(CallerKind.API_KEY, user_id="user", org_id="org", api_key_id=f"k{n}") for n in range(7)]
    found = [accounts.of(one) for one in callers]
    assert len({id(one.meters[1]) for one in found if one is not None}) == 1
    assert len({id(one.meters[0]) for one in found if one is not None}) == 7
    # Forgotten callers find the same meters again: there is never a second slice of a limit.
    assert accounts.of(callers[0]).meters == found[0].meters  # type: ignore[union-attr]


@given(
    st.lists(
        st.tuples(st.integers(0, 60), st.integers(0, 60), st.integers(0, 90), st.integers(0, 90), st.booleans()),
        max_size=12,
    )
)
def test_nothing_is_lost_and_nothing_is_made(calls: list[tuple[int, int, int, int, bool]]) -> None:
    account = account_of(Defaults(api_key=ALL, user=ALL, org=ALL))
    used = [0, 0, 0, 0]
    open_: list[tuple[Reservation, int, int, bool]] = []
    for tokens, nanos, used_tokens, used_nanos, settles in calls:
        before = [(one.free, one.reserved) for one in account.slices]
        slices = account.take((1, tokens, nanos, 1), NOON)
        if slices is None:
            assert [(one.free, one.reserved) for one in account.slices] == before
            assert any(one.free < (1, tokens, nanos, 1)[one.unit] for one in account.slices)
            continue
        open_.append(
            (Reservation(account, slices, tokens, nanos, nothing, lambda: NOON), used_tokens, used_nanos, settles)
        )
    for reservation, tokens, nanos, settles in open_:
        if settles:
            reservation.settle(tokens=tokens, nanos=nanos)
            used = [used[0] + 1, used[1] + tokens, used[2] + nanos, 0]
        else:
            reservation.release()
            reservation.release()
    for one in account.slices:
        assert one.reserved == 0
        minute = one.meter.spec.name == "requests_per_minute"
        expected = len(open_) if minute else used[one.unit]
        assert one.settled == expected
        assert one.free >= max(0, 100 - expected)
        if expected <= 100 and all(t <= r.tokens and n <= r.nanos for r, t, n, _ in open_):
            assert one.free == 100 - expected


def test_a_call_settles_into_the_window_it_was_reserved_in() -> None:
    account = account_of(Defaults(org=LimitValues(tokens_per_minute=1000, nanos_per_day=1000, nanos_per_month=1000)))
    minute, day, month = account.slices
    account.org.live.update(account.slices)
    reservation = reserve(account, 40, 50)
    tomorrow = NOON + 86_400  # the month has ended too
    assert account.take((1, 1, 1, 1), tomorrow) is None
    assert minute.free == day.free == month.free == 0
    assert all(now is not then for now, then in zip(account.slices, (minute, day, month), strict=True))
    reservation.settle(tokens=30, nanos=20)
    assert (minute.settled, day.settled, month.settled) == (30, 20, 20)
    assert all(one.settled == 0 for one in account.slices)
    wants, complete = wants_of(account.org, tomorrow, OPTIONS)
    assert complete
    assert {(want.slice, want.keep, want.settled) for want in wants} >= {(minute, 0, 30), (day, 0, 20), (month, 0, 20)}


def test_a_window_does_not_begin_twice() -> None:
    account = account_of(Defaults(org=LimitValues(requests_per_minute=10)))
    (first,) = account.slices
    reservation = reserve(account, 1, 1)
    account.org.live.add(first)
    account.roll(NOON + 30)
    (second,) = account.slices
    assert second.begin == first.end
    # What we know of Redis's clock goes back by a millisecond, and by more than that.
    account.roll(NOON + 29.999)
    assert account.slices == (second,)
    account.roll(NOON - 10)
    assert account.slices == (first,)
    reservation.settle(tokens=1, nanos=1)


async def test_what_waits_is_asked_for_at_once_and_what_lies_idle_goes_back() -> None:
    account = account_of(Defaults(org=LimitValues(requests_per_day=1000)), free=3)
    (one,) = account.slices
    org: Org = account.org
    loop = asyncio.get_running_loop()
    org.waiting = [Waiter(account, (1, 1, 1, 1), loop.create_future()) for _ in range(10)]
    ((want,), _) = wants_of(org, NOON, OPTIONS)
    assert (want.keep, want.first, want.need) == (3, 0, 7)
    assert want.more > 0
    org.waiting = []
    one.free = 50
    one.taken = 40
    org.touch(one)
    for _ in range(20):
        size_up(org)
        wants, _ = wants_of(org, NOON, OPTIONS)
        if one.free == 0:
            break
        org.touch(one)
    assert one.free == 0
    assert [want.keep for want in wants] == [0]
    assert not still_holds(org, wants)


def test_what_is_scarce_goes_back_at_once() -> None:
    account = account_of(Defaults(org=LimitValues(requests_per_day=1000)), free=8)
    (one,) = account.slices
    one.scarce, one.taken = True, 100
    account.org.touch(one)
    ((want,), _) = wants_of(account.org, NOON, OPTIONS)
    assert (want.keep, want.more) == (0, 0)


@pytest.mark.parametrize(
    ("used", "before", "need", "expected_s"),
    [
        (10, 90, 1, 30 - 60 * 89 / 90),  # enough has slid out by then
        (100, 0, 1, 30 + 60 * (1 - 99 / 100)),  # this minute's must slide out in the next
        (100, 0, 100, 30),
    ],
)
def test_how_long_a_minute_takes(used: int, before: int, need: int, expected_s: float) -> None:
    account = account_of(Defaults(org=LimitValues(requests_per_minute=100)))
    (one,) = account.slices
    one.used, one.before = used, before
    assert wait_s(one, need, NOON) == pytest.approx(expected_s)


class Clock:
    def __init__(self) -> None:
        self.at = 100.0

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.at, UTC)

    def time(self) -> float:
        return self.at + 1_000_000.0

    def monotonic(self) -> float:
        return self.at


def test_redis_s_clock_is_known_by_its_fastest_answer() -> None:
    clock = Clock()
    time = RedisTime(clock)
    assert time.now() == 1_000_100.0
    time.heard(500.0)
    assert time.now() == 500.0
    time.heard(499.0)  # a slow answer
    assert 499.85 < time.now() < 500.0
    time.heard(501.0)
    assert time.now() == 501.0
    for _ in range(200):
        time.heard(400.0)  # it was set back
    assert time.now() == pytest.approx(400.0, abs=0.01)


def test_settings() -> None:
    settings = LimitSettings.model_construct(limits_lease_s=8.0, limits_flush_ms=50.0)
    assert settings.limit_options.lease_s == 8.0
    assert settings.limit_options.renew_s == 2.0
    assert settings.limit_options.flush_s == 0.05
    defaults = LimitSettings.model_construct().limit_options
    assert defaults == LimitOptions()
    assert defaults.epoch_poll_s < defaults.collect_s * 3 / 4
    assert API_KEY != USER != ORG

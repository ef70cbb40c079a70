"""Limits from plans: what stands over what, and what is remembered when a plan changes; levels of warnings."""

from __future__ import annotations

from dataclasses import replace

import pytest
from promptmesh.auth.v1 import plans_pb2
from promptmesh.inference.v1 import limits_pb2 as pb

from services.inference.limits.accounts import Accounts
from services.inference.limits.model import API_KEY, ORG, USER, Defaults, LimitValues
from services.inference.limits.plans import PlanLimits
from services.inference.limits.warnings import Watermarks, level_of
from services.mesh.call import Caller, CallerKind
from services.mesh.plans import Plans

CALLER = Caller(CallerKind.API_KEY, user_id="user", org_id="org", api_key_id="key")
NOON = 1_780_000_000.0


def plan(name: str, **user: int) -> plans_pb2.Plan:
    return plans_pb2.Plan(name=name, user=plans_pb2.PlanLimits(**user), org=plans_pb2.PlanLimits(requests_per_day=50))


def known(*plans: plans_pb2.Plan, version: int = 1, to: Plans | None = None) -> Plans:
    to = to or Plans()
    to.apply(plans_pb2.Plans(version=version, plans=plans, default_plan=plans[0].name))
    return to


def limits_of(accounts: Accounts, caller: Caller = CALLER) -> dict[str, int]:
    account = accounts.of(caller)
    assert account is not None
    return {f"{meter.kind}.{meter.spec.name}": meter.limit for meter in account.meters}


def test_an_override_stands_over_the_plan_and_the_plan_over_the_configuration() -> None:
    plans = PlanLimits(known(plan("free", requests_per_day=10, requests_per_minute=5, posts_per_day=1)))
    accounts = Accounts(10, lambda _org: None, plans.of)
    accounts.configure(Defaults(user=LimitValues(requests_per_day=1, tokens_per_minute=7, requests_per_minute=2)))
    accounts.override({(USER, "user"): LimitValues(requests_per_minute=0)})
    assert accounts.values_of(USER, "user", "") == LimitValues(
        requests_per_minute=0, requests_per_day=10, tokens_per_minute=7
    )
    sources = [accounts.source_of(USER, "user", "free", f"{one}_per_{time}") for one, time in SOURCES]
    assert sources == [pb.LIMIT_SOURCE_OVERRIDE, pb.LIMIT_SOURCE_PLAN, pb.LIMIT_SOURCE_CONFIGURATION]
    assert limits_of(accounts) == {
        f"{USER}.requests_per_minute": 0,
        f"{USER}.tokens_per_minute": 7,
        f"{USER}.requests_per_day": 10,
        f"{ORG}.requests_per_day": 50,
    }


SOURCES = (("requests", "minute"), ("requests", "day"), ("tokens", "minute"))


def test_a_plan_that_is_given_and_taken_back_leaves_nothing_of_the_other() -> None:
    plans = PlanLimits(known(plan("free", requests_per_day=10), plan("pro", requests_per_day=1000)))
    accounts = Accounts(10, lambda _org: None, plans.of)
    day = f"{USER}.requests_per_day"
    for name, most in (("", 10), ("pro", 1000), ("", 10), ("pro", 1000)):
        assert limits_of(accounts, replace(CALLER, plan=name))[day] == most
        # Another key of the organisation shares its meters.
        assert limits_of(accounts, replace(CALLER, plan=name, api_key_id="other"))[day] == most


def test_plans_that_are_applied_hold_for_callers_who_are_remembered() -> None:
    plans = known(plan("free", requests_per_day=10))
    accounts = Accounts(10, lambda _org: None, PlanLimits(plans).of)
    plans.on_change(accounts.forget)
    assert limits_of(accounts)[f"{USER}.requests_per_day"] == 10
    known(plan("free", requests_per_day=11), version=2, to=plans)
    assert limits_of(accounts)[f"{USER}.requests_per_day"] == 11


def test_who_is_not_here_is_taken_under_the_plan_last_seen() -> None:
    plans = PlanLimits(known(plan("free"), plan("pro", requests_per_day=1000)))
    accounts = Accounts(10, lambda _org: None, plans.of)
    limits_of(accounts, replace(CALLER, plan="pro"))
    account = accounts.of_ids("key", "user", "org")
    assert account is not None
    assert [meter.limit for meter in account.meters] == [1000, 50]
    # What a dead process's calls are counted against is every limit there may have been.
    meters = accounts.meters_of_ids("key", "user", "org")
    assert {meter.kind for meter in meters} == {API_KEY, USER, ORG}
    assert len({meter.key for meter in meters}) == len(meters) == 18
    assert accounts.meters_of_ids("", "", "") == ()


@pytest.mark.parametrize(
    ("used", "limit", "refused", "level"),
    [
        (79, 100, False, 0),
        (80, 100, False, 80),
        (99, 100, False, 80),
        (100, 100, False, 100),
        (250, 100, False, 100),
        (94, 100, True, 80),
        (95, 100, True, 100),
        (10, 100, True, 0),
        (0, 0, True, 0),
        (3, 4, False, 0),
        (799_999_999, 1_000_000_000, False, 0),
    ],
)
def test_levels(used: int, limit: int, refused: bool, level: int) -> None:
    assert level_of(used, limit, refused=refused) == level


def test_a_level_is_told_once_for_a_window_and_not_of_a_minute() -> None:
    accounts = Accounts(10, lambda _org: None)
    accounts.configure(Defaults(org=LimitValues(requests_per_day=10, requests_per_minute=10)))
    account = accounts.of(CALLER)
    assert account is not None
    marks = Watermarks()

    def used(amount: int, now: float) -> None:
        account.roll(now)
        for one in account.slices:
            one.used = amount
            marks.look(one)
            marks.look(one)

    for amount in (5, 8, 9, 10, 10):
        used(amount, NOON)
    assert [(one.limit, one.percent, one.used) for one in marks.queue] == [
        ("requests_per_day", 80, 8),
        ("requests_per_day", 100, 10),
    ]
    used(8, NOON + 86_400)
    assert [one.percent for one in marks.queue] == [80, 100, 80]
    assert marks.queue[2].begin == marks.queue[0].end


def test_what_does_not_fit_is_told_at_the_next_look() -> None:
    accounts = Accounts(10, lambda _org: None)
    accounts.configure(Defaults(org=LimitValues(requests_per_day=10, nanos_per_day=10)))
    account = accounts.of(CALLER)
    assert account is not None
    account.roll(NOON)
    marks = Watermarks(queue_max=1)
    for one in account.slices:
        one.used = 8
        marks.look(one)
    assert len(marks.queue) == 1
    marks.queue.clear()
    for one in account.slices:
        marks.look(one)
    assert [one.limit for one in marks.queue] == ["nanos_per_day"]

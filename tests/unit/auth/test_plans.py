"""plans.yaml: what it says, and every fault in it by its place and line; what a warning's mail says."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from buf.validate import validate_pb2
from hypothesis import given
from hypothesis import strategies as st
from promptmesh.auth.v1 import plans_pb2 as pb
from promptmesh.inference.v1 import events_pb2, limits_pb2

from services.auth.mail.templates import rendered
from services.auth.plans import parsing
from services.auth.plans.parsing import PlansError, parse
from services.auth.plans.warnings import places

SMALL = """\
default: free
plans:
  free:
    display_name: Free
    key: {requests_per_minute: 0}
    user:
      requests_per_day: 10
      posts_per_day: 3
    org: {usd_per_day: 0.25, usd_per_month: 7}
  pro: {}
"""


def faults(text: str) -> list[str]:
    with pytest.raises(PlansError) as caught:
        parse(text)
    return [f"{one.place}:{one.line}: {one.message}" for one in caught.value.faults]


def test_what_a_text_says() -> None:
    read = parse(SMALL)
    assert (read.default_plan, read.names) == ("free", ["free", "pro"])
    free, pro = read.plans
    assert free.display_name == "Free"
    assert free.api_key.HasField("requests_per_minute")  # 0 is a limit: nothing at all
    assert free.api_key == pb.PlanLimits(requests_per_minute=0)
    assert free.user == pb.PlanLimits(requests_per_day=10, posts_per_day=3)
    assert free.org == pb.PlanLimits(nanos_per_day=250_000_000, nanos_per_month=7_000_000_000)
    assert pro == pb.Plan(name="pro", display_name="pro")


def test_the_plans_of_a_new_mesh_limit_nobody_who_was_given_none() -> None:
    read = parse(parsing.default_text())
    assert read.names == ["free", "pro", "unlimited"]
    default = next(plan for plan in read.plans if plan.name == read.default_plan)
    assert default == pb.Plan(name="unlimited", display_name="Unlimited")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "plans:"),
        ("- 1\n", "(text):0: must be a mapping"),
        ("default: free\nplans: {}\n", "plans:2: must be a mapping with at least one plan"),
        ("default: gold\nplans: {free: {}}\n", "default:1: must name one of the plans (free)"),
        ("plans: {free: {}}\n", "default:0: must name one"),
        ("default: free\nplans:\n  free: {}\n  Gold Plan: {}\n", "plans.Gold Plan:4: is no name of a plan"),
        ("default: free\nplans: {free: {}}\nplan: 1\n", "plan:3: is not known here"),
        ("default: free\nplans:\n  free:\n    users: {}\n", "plans.free.users:4: is not known here"),
        ("default: free\nplans:\n  free:\n    user: 5\n", "plans.free.user:4: must be a mapping"),
        (
            "default: free\nplans:\n  free:\n    user: {requests_per_hour: 1}\n",
            "requests_per_hour:4: is not known here",
        ),
        ("default: free\nplans:\n  free:\n    user: {requests_per_day: -1}\n", "requests_per_day:4: must be a whole"),
        ("default: free\nplans:\n  free:\n    user: {requests_per_day: 1.5}\n", "must be a whole number"),
        ("default: free\nplans:\n  free:\n    user: {requests_per_day: yes}\n", "must be a whole number"),
        ("default: free\nplans:\n  free:\n    user: {requests_per_day: many}\n", "must be a whole number"),
        ("default: free\nplans:\n  free:\n    user: {usd_per_day: -0.5}\n", "usd_per_day:4: must be US dollars"),
        ("default: free\nplans:\n  free:\n    user: {usd_per_day: 0.0000000001}\n", "has more than nine decimals"),
        ("default: free\nplans:\n  free:\n    user: {usd_per_day: .inf}\n", "is not a "),
        ("default: free\nplans:\n  free:\n    key: {posts_per_day: 1}\n", "posts_per_day:4: cannot be set for a key"),
        ("default: free\nplans:\n  free: {}\n  free: {}\n", "plans.free:4: stands here twice"),
        ("default: free\nplans:\n  free: {display_name: ''}\n", "plans.free.display_name:3: must be a text"),
        ("default: [\n", "is not YAML"),
        ("default: p0\nplans:\n" + "".join(f"  p{n}: {{}}\n" for n in range(101)), "plans:2: holds 101 plans"),
    ],
)
def test_each_fault_is_named_by_place_and_line(text: str, expected: str) -> None:
    assert any(expected in one for one in faults(text)), faults(text)


def test_all_faults_come_at_once_in_order_of_lines() -> None:
    text = "default: gold\nplans:\n  free:\n    user: {requests_per_day: x}\n    org: {usd_per_day: y}\n"
    assert [one.partition(": ")[0] for one in faults(text)] == [
        "default:1",
        "plans.free.user.requests_per_day:4",
        "plans.free.org.usd_per_day:5",
    ]


@given(st.text(alphabet="abdefgilnopruy:_-{}[]&*! \n0123456789.", max_size=200))
def test_no_text_does_more_than_be_refused(text: str) -> None:
    with contextlib.suppress(PlansError):
        parse(text)


def test_the_bounds_are_those_of_the_contract() -> None:
    most: dict[str, int] = {}
    for field in pb.PlanLimits.DESCRIPTOR.fields:
        rules: Any = field.GetOptions().Extensions[validate_pb2.field]
        most[field.name] = rules.int64.lte
    dollars = dict.fromkeys(parsing.DOLLARS.values(), parsing.DOLLARS_MAX * parsing.NANOS_PER_DOLLAR)
    assert most == {**parsing.NUMBERS, **dollars}


def test_a_warning_says_whose_how_much_and_until_when() -> None:
    warning = events_pb2.LimitWarning(
        kind=limits_pb2.LIMIT_KIND_ORG,
        limit="nanos_per_month",
        percent=80,
        limit_value=20_000_000_000,
        used=16_059_999_999,
    )
    warning.end_time.FromJsonString("2026-12-01T00:00:00Z")
    subject, body = rendered("limit_warning", places(warning))
    assert subject == "A limit is nearly used up"
    assert "your organisation" in body
    assert "16.05 of 20.00 US dollars a month" in body
    assert "01 December 2026, 00:00 UTC" in body
    warning.limit, warning.kind, warning.limit_value, warning.used = "requests_per_day", 1, 500, 500
    _, body = rendered("limit_reached", places(warning))
    assert "an API key of yours" in body
    assert "500 of 500 calls a day" in body

"""What a process knows of plans."""

from __future__ import annotations

from promptmesh.auth.v1 import plans_pb2 as pb

from services.mesh.plans import NO_PLAN, Plans


def plans(version: int, default: str = "free") -> pb.Plans:
    free = pb.Plan(name="free", user=pb.PlanLimits(requests_per_day=0, posts_per_day=version))
    return pb.Plans(version=version, plans=[free, pb.Plan(name="pro")], default_plan=default)


def test_before_anything_was_heard_nobody_has_a_limit() -> None:
    assert Plans().of("free") is NO_PLAN


def test_the_default_one_stands_for_no_name_and_for_names_that_are_not_known() -> None:
    known = Plans()
    assert known.apply(plans(1)) == 1
    assert known.of("") is known.of("free") is known.of("not-yet-heard-of")
    assert known.of("pro").name == "pro"
    assert known.of("").user == {"requests_per_day": 0, "posts_per_day": 1}  # 0 is a limit, what is not there is none


def test_later_ones_replace_older_ones_and_older_ones_change_nothing() -> None:
    known, told = Plans(), []
    known.on_change(lambda: told.append(known.version))
    known.apply(plans(2))
    assert known.apply(plans(1, "pro")) == 2
    assert known.apply(plans(2, "pro")) == 2  # said again, as a sign of life
    assert known.of("").name == "free"
    known.apply(plans(3, "pro"))
    assert (known.of("").name, told) == ("pro", [2, 3])

"""A second attempt beside a slow one: who wins, what is paid for, and that the loser is gone."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from services.inference.engine.call import AnswerInfo
from services.inference.routing.route import RetryPolicy, Strategy
from services.mesh.errors import MeshError
from tests.unit.inference.routing.scripted import (
    FINISH,
    OK,
    ROLE,
    Fail,
    Say,
    Scripted,
    Step,
    Wait,
    ask,
    attempts_of,
    model_call,
    reasons,
    route,
    run,
    target,
)

STREAMED = pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
UNAVAILABLE = "PROVIDER_UNAVAILABLE"


def slow(s: float, *then: Step) -> list[Step]:
    return [ROLE, Wait(s), *(then or (Say("slow"), FINISH))]


# Scripts of the first and the second target; hedged after 1 s. Then the answer (or the reason), each attempt's reason,
# and when it is over.
CASES: list[tuple[str, list[Step], list[Step], str, list[str], float]] = [
    ("in time: no hedge", slow(0.9), slow(0), "slow.", [""], 0.9),
    ("the hedge wins", slow(5), slow(1, Say("b"), FINISH), "b.", ["CANCELLED", ""], 2.0),
    ("the first wins all the same", slow(1.5), slow(5), "slow.", ["", "CANCELLED"], 1.5),
    ("the first fails, the hedge answers", slow(2, Fail(UNAVAILABLE)), slow(3), "slow.", [UNAVAILABLE, ""], 4.0),
    ("the hedge fails, the first answers", slow(2), slow(0.5, Fail(UNAVAILABLE)), "slow.", ["", UNAVAILABLE], 2.0),
    ("both fail", slow(2, Fail("PROVIDER_TIMEOUT")), slow(2, Fail(UNAVAILABLE)), UNAVAILABLE,
     ["PROVIDER_TIMEOUT", UNAVAILABLE], 3.0),
    ("refused content ends both", slow(2, Fail("PROVIDER_CONTENT_REFUSED")), slow(9), "PROVIDER_CONTENT_REFUSED",
     ["PROVIDER_CONTENT_REFUSED", "CANCELLED"], 2.0),
    ("fails before the hedge: fallback", [Fail(UNAVAILABLE)], slow(0.5), "slow.", [UNAVAILABLE, ""], 0.5),
]  # fmt: skip


@STREAMED
@pytest.mark.parametrize(
    ("first", "second", "expected", "ended", "over_s"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_hedges(
    first: list[Step], second: list[Step], expected: str, ended: list[str], over_s: float, streamed: bool
) -> None:
    async def main() -> None:
        one, two = Scripted("a", always=first), Scripted("b", always=second)
        over = route(target(one), target(two), strategy=Strategy.ORDERED, hedge_after_s=1.0)
        loop, info, attempts = asyncio.get_running_loop(), AnswerInfo(), attempts_of()
        began = loop.time()
        call = model_call(over, streamed=streamed)
        if expected.isupper():
            with pytest.raises(MeshError) as caught:
                await ask(attempts, call, info)
            assert caught.value.reason == expected
            assert caught.value.metadata["attempts"] == str(len(ended))
        else:
            assert await ask(attempts, call, info) == expected
            winner = ended.index("")
            assert info.target is over.targets[winner]
            assert info.record is info.attempts[winner].record
            assert info.attempts[winner].record.finish_reasons
        assert loop.time() - began == pytest.approx(over_s)
        assert reasons(info) == ended
        assert [attempt.hedge for attempt in info.attempts] == [False, *[began + 1.0 == attempt.begin_time
                                                                        for attempt in info.attempts[1:]]]  # fmt: skip
        assert one.under_way == two.under_way == 0
        assert all(status.in_flight == 0 for status in attempts._health.snapshot())

    run(main())


@STREAMED
def test_a_hedge_is_within_the_budget_and_on_another_target(streamed: bool) -> None:
    async def main() -> None:
        one, two = Scripted("a", always=slow(5)), Scripted("b")
        attempts = attempts_of()
        single = route(target(one), name="single", hedge_after_s=1.0)
        assert await ask(attempts, model_call(single, streamed=streamed)) == "slow."
        tight = route(target(one), target(two), strategy=Strategy.ORDERED, hedge_after_s=1.0,
                      retry=RetryPolicy(attempts_max=1))  # fmt: skip
        assert await ask(attempts, model_call(tight, streamed=streamed)) == "slow."
        assert len(one.calls) == 2
        assert not two.calls

    run(main())


@STREAMED
@pytest.mark.parametrize("money", [True, False])
def test_a_hedge_is_paid_for_before_it_begins(streamed: bool, money: bool) -> None:
    async def main() -> None:
        one, two = Scripted("a", always=slow(5)), Scripted("b", always=OK)
        over = route(target(one), target(two), strategy=Strategy.ORDERED, hedge_after_s=1.0)
        asked: list[Any] = []

        async def before(found: Any) -> None:
            asked.append(found.name)
            if not money:
                raise MeshError("BUDGET_EXHAUSTED", "No money is left.")

        answer = await ask(attempts_of(), model_call(over, streamed=streamed, before_attempt_again=before))
        assert answer == ("hello." if money else "slow.")
        assert asked == ["model-b"]
        assert len(two.calls) == money

    run(main())


def test_no_hedge_begins_once_the_first_has_begun() -> None:
    async def main() -> None:
        one, two = Scripted("a", always=slow(1.5)), Scripted("b")
        over = route(target(one), target(two), strategy=Strategy.ORDERED, hedge_after_s=1.0)

        async def before(_target: Any) -> None:
            await asyncio.sleep(1.0)  # the limits take their time, and the answer comes meanwhile

        info = AnswerInfo()
        assert await ask(attempts_of(), model_call(over, before_attempt_again=before), info) == "slow."
        assert not two.calls
        assert len(info.attempts) == 1

    run(main())


def test_one_hedge_a_call() -> None:
    async def main() -> None:
        providers = [Scripted(name, always=slow(9)) for name in "abc"]
        over = route(*map(target, providers), strategy=Strategy.ORDERED, hedge_after_s=1.0)
        assert await ask(attempts_of(), model_call(over)) == "slow."
        assert [len(one.calls) for one in providers] == [1, 1, 0]

    run(main())


@STREAMED
def test_an_error_of_ours_in_a_race_is_raised_and_ends_it(streamed: bool) -> None:
    async def main() -> None:
        one, two = Scripted("a", always=[Wait(2.0), ValueError("bug")]), Scripted("b", always=slow(9))
        over = route(target(one), target(two), strategy=Strategy.ORDERED, hedge_after_s=1.0)
        info = AnswerInfo()
        with pytest.raises(ValueError, match="bug"):
            await ask(attempts_of(), model_call(over, streamed=streamed), info)
        assert reasons(info) == ["INTERNAL", "CANCELLED"]
        assert two.under_way == 0

    run(main())

"""The exact attempts of every fault, with one target and with two, streamed and not."""

from __future__ import annotations

import asyncio
import random
from contextlib import aclosing
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.inference.engine.call import AnswerInfo
from services.inference.providers.base import TokenUsage
from services.inference.routing.route import BreakerPolicy, Midstream, RetryPolicy, Strategy
from services.mesh.errors import MeshError
from tests.unit.inference.routing.scripted import (
    COMMENT,
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
BROKEN = "PROVIDER_ANSWER_BROKEN"
UNAVAILABLE = "PROVIDER_UNAVAILABLE"
LIMITED = "PROVIDER_RATE_LIMITED"

# What the provider does → attempts of a route with one target, and on each of a route with two of which the first does
# it always. "ok" where the call succeeds.
FAULTS: list[tuple[str, Fail, int, tuple[int, int]]] = [
    ("unavailable", Fail(UNAVAILABLE), 3, (1, 1)),
    ("timeout", Fail("PROVIDER_TIMEOUT", sent=True), 3, (1, 1)),
    ("broken before its first token", Fail(BROKEN, sent=True), 3, (1, 1)),
    ("429", Fail(LIMITED), 3, (1, 1)),
    ("429, for a second", Fail(LIMITED, retry_after_s=1.0), 3, (1, 1)),
    ("429, for longer than we wait", Fail(LIMITED, retry_after_s=30.0), 1, (1, 1)),
    ("503, for longer than we wait", Fail(UNAVAILABLE, retry_after_s=30.0), 1, (1, 1)),
    ("credential refused", Fail("PROVIDER_CREDENTIAL_REFUSED"), 1, (1, 1)),
    ("model unknown", Fail("MODEL_NOT_FOUND"), 1, (1, 1)),
    ("context overflow, nothing larger", Fail("CONTEXT_LENGTH_EXCEEDED"), 1, (1, 0)),
    ("content refused", Fail("PROVIDER_CONTENT_REFUSED"), 1, (1, 0)),
    ("rejected", Fail("PROVIDER_REJECTED"), 1, (1, 0)),
    ("invalid field", Fail("INVALID_FIELD"), 1, (1, 0)),
    ("a limit of ours", Fail("OVERLOADED"), 1, (1, 0)),
]
NAMES = [fault[0] for fault in FAULTS]


@STREAMED
@pytest.mark.parametrize(("fault", "attempts"), [(one[1], one[2]) for one in FAULTS], ids=NAMES)
def test_attempts_with_one_target(fault: Fail, attempts: int, streamed: bool) -> None:
    async def main() -> None:
        provider = Scripted(always=[fault])
        info = AnswerInfo()
        with pytest.raises(MeshError) as caught:
            await ask(attempts_of(), model_call(route(target(provider)), streamed=streamed), info)
        assert caught.value.reason == fault.reason
        assert caught.value.metadata["attempts"] == str(attempts)
        assert len(provider.calls) == attempts
        assert reasons(info) == [fault.reason] * attempts
        assert all(one.end_time >= one.begin_time for one in info.attempts)

    run(main())


@STREAMED
@pytest.mark.parametrize(("fault", "expected"), [(one[1], one[3]) for one in FAULTS], ids=NAMES)
def test_attempts_with_two_targets(fault: Fail, expected: tuple[int, int], streamed: bool) -> None:
    async def main() -> None:
        first, second = Scripted("a", always=[fault]), Scripted("b")
        info = AnswerInfo()
        over = route(target(first), target(second), strategy=Strategy.ORDERED)
        call = model_call(over, streamed=streamed)
        began = asyncio.get_running_loop().time()
        if expected[1]:
            assert await ask(attempts_of(), call, info) == "hello."
            assert info.target is over.targets[1]
            assert info.record is info.attempts[-1].record
            assert reasons(info) == [fault.reason, ""]
        else:
            with pytest.raises(MeshError) as caught:
                await ask(attempts_of(), call, info)
            assert caught.value.reason == fault.reason
        assert (len(first.calls), len(second.calls)) == expected
        assert asyncio.get_running_loop().time() == began, "another target is asked without a pause"

    run(main())


@STREAMED
@pytest.mark.parametrize("fails", [0, 1, 2])
def test_a_single_target_is_tried_again_after_backoff(fails: int, streamed: bool) -> None:
    async def main() -> None:
        provider = Scripted(scripts=[[Fail(UNAVAILABLE)]] * fails)
        info = AnswerInfo()
        draws = iter([0.5, 1.0])
        attempts = attempts_of(rng=lambda: next(draws))
        assert await ask(attempts, model_call(route(target(provider)), streamed=streamed), info) == "hello."
        assert reasons(info) == [UNAVAILABLE] * fails + [""]
        # Full jitter: half of 0.1 s, all of 0.2 s.
        waited = [late - early for early, late in zip(provider.times, provider.times[1:], strict=False)]
        assert waited == pytest.approx([0.05, 0.2][:fails])

    run(main())


def test_retry_after_is_waited_for_and_never_undercut() -> None:
    async def main() -> None:
        provider = Scripted(scripts=[[Fail(LIMITED, retry_after_s=1.5)]])
        attempts = attempts_of(rng=lambda: 0.0)
        assert await ask(attempts, model_call(route(target(provider)))) == "hello."
        assert provider.times[1] - provider.times[0] == pytest.approx(1.5)

    run(main())


@STREAMED
def test_it_never_sleeps_past_the_deadline(streamed: bool) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        provider = Scripted(always=[Fail(LIMITED, retry_after_s=1.5)])
        call = model_call(route(target(provider)), streamed=streamed, deadline=loop.time() + 1.0)
        began = loop.time()
        with pytest.raises(MeshError) as caught:
            await ask(attempts_of(), call)
        assert caught.value.reason == LIMITED
        assert loop.time() == began
        assert len(provider.calls) == 1

    run(main())


def test_no_other_target_is_asked_after_the_deadline() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        first, second = Scripted("a", always=[Wait(2.0), Fail(UNAVAILABLE)]), Scripted("b")
        over = route(target(first), target(second), strategy=Strategy.ORDERED)
        with pytest.raises(MeshError):
            await ask(attempts_of(), model_call(over, deadline=loop.time() + 1.0))
        assert not second.calls

    run(main())


def test_two_targets_are_tried_once_each() -> None:
    async def main() -> None:
        first, second = Scripted("a", always=[Fail(UNAVAILABLE)]), Scripted("b", always=[Fail("PROVIDER_TIMEOUT")])
        info = AnswerInfo()
        over = route(target(first), target(second), strategy=Strategy.ORDERED, retry=RetryPolicy(attempts_max=9))
        with pytest.raises(MeshError) as caught:
            await ask(attempts_of(), model_call(over), info)
        assert caught.value.reason == "PROVIDER_TIMEOUT", "the last error is passed on"
        assert reasons(info) == [UNAVAILABLE, "PROVIDER_TIMEOUT"]

    run(main())


def test_a_target_is_tried_again_where_the_other_is_out_of_reach() -> None:
    async def main() -> None:
        first, second = Scripted("a", scripts=[[Fail(UNAVAILABLE)]]), Scripted("b")
        busy = target(second, concurrency_max=1)
        over = route(target(first), busy, strategy=Strategy.ORDERED)
        attempts = attempts_of()
        held = attempts.stream(model_call(route(busy, name="other")), AnswerInfo())
        await anext(held)
        assert await ask(attempts, model_call(over)) == "hello."
        assert (len(first.calls), len(second.calls)) == (2, 1)
        await held.aclose()

    run(main())


@STREAMED
def test_an_overflow_goes_to_a_larger_model_only(streamed: bool) -> None:
    async def main() -> None:
        overflow = [Fail("CONTEXT_LENGTH_EXCEEDED")]
        small, same, large = Scripted("a", always=overflow), Scripted("b"), Scripted("c")
        unknown = Scripted("d")
        over = route(
            target(small, context_tokens=1000),
            target(same, context_tokens=1000),
            target(unknown, context_tokens=0),
            target(large, context_tokens=2000),
            strategy=Strategy.ORDERED,
        )
        assert await ask(attempts_of(), model_call(over, streamed=streamed, input_tokens_estimate=10)) == "hello."
        assert [len(one.calls) for one in (small, same, unknown, large)] == [1, 0, 0, 1]

    run(main())


def test_a_target_that_was_left_alone_meanwhile_is_not_tried_again() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        provider = Scripted(always=[Fail(LIMITED, retry_after_s=1.5)])
        over = route(target(provider, concurrency_max=2), name="one", breaker=BreakerPolicy(failures=1))
        attempts = attempts_of()
        waiting = asyncio.create_task(ask(attempts, model_call(over)))
        await asyncio.sleep(1.0)
        health = attempts._health.of(over.targets[0], 1)
        health.breaker.failed(over.breaker, loop.time(), loop.time())
        await asyncio.wait([waiting])
        error = waiting.exception()
        assert isinstance(error, MeshError)
        assert error.reason == LIMITED
        assert len(provider.calls) == 1

    run(main())


def test_an_overflow_of_the_largest_is_passed_on_even_after_others_failed() -> None:
    async def main() -> None:
        large = Scripted("a", always=[Fail("CONTEXT_LENGTH_EXCEEDED")])
        small = Scripted("b")
        over = route(target(large, context_tokens=9000), target(small, context_tokens=1000), strategy=Strategy.ORDERED)
        with pytest.raises(MeshError) as caught:
            await ask(attempts_of(), model_call(over))
        assert caught.value.reason == "CONTEXT_LENGTH_EXCEEDED"
        assert not small.calls

    run(main())


def test_the_upstream_call_is_the_targets() -> None:
    async def main() -> None:
        provider = Scripted()
        capped = target(provider, max_output_tokens=50)
        attempts = attempts_of()
        await ask(attempts, model_call(route(capped, name="a"), output_cap=80, wants_usage=True, streamed=True))
        await ask(attempts, model_call(route(capped, name="b"), output_cap=20))
        await ask(attempts, model_call(route(target(provider, max_output_tokens=0), name="c"), output_cap=0))
        assert [call.output_cap for call in provider.calls] == [50, 20, None]
        assert [call.wants_usage for call in provider.calls] == [True, False, False]
        assert {(call.model, call.upstream_model) for call in provider.calls} == {("model-p", "up-model-p")}

    run(main())


def test_embeddings_go_to_targets_that_embed_and_answers_to_the_others() -> None:
    async def main() -> None:
        chats, embeds = Scripted("a"), Scripted("b")
        attempts = attempts_of()
        both = route(target(chats), target(embeds, embeds=True))
        assert await attempts.embed(model_call(both), AnswerInfo()) == b"hello."
        assert await attempts.complete(model_call(both), AnswerInfo()) == b"hello."
        assert (len(chats.calls), len(embeds.calls)) == (1, 1)
        with pytest.raises(MeshError) as caught:
            await attempts.embed(model_call(route(target(chats), name="chat only")), AnswerInfo())
        assert caught.value.reason == "INVALID_FIELD"
        with pytest.raises(MeshError) as caught:
            await attempts.complete(model_call(route(target(embeds, embeds=True), name="vectors")), AnswerInfo())
        assert caught.value.reason == "INVALID_FIELD"

    run(main())


@STREAMED
def test_an_error_of_ours_is_not_made_good_and_leaves_nothing(streamed: bool) -> None:
    async def main() -> None:
        first, second = Scripted("a", always=[ValueError("bug")]), Scripted("b")
        info = AnswerInfo()
        attempts = attempts_of()
        over = route(target(first), target(second), strategy=Strategy.ORDERED)
        with pytest.raises(ValueError, match="bug"):
            await ask(attempts, model_call(over, streamed=streamed), info)
        assert reasons(info) == ["INTERNAL"]
        assert all(one.in_flight == 0 for one in attempts._health.snapshot())
        assert not second.calls

    run(main())


# Streams


def test_parts_without_content_are_held_back_so_that_fallback_stays_open() -> None:
    async def main() -> None:
        first = Scripted("a", always=[COMMENT, ROLE, COMMENT, Fail(BROKEN)])
        second = Scripted("b", always=[ROLE, Wait(1.0), Say("hi"), FINISH])
        over = route(target(first), target(second), strategy=Strategy.ORDERED)
        info = AnswerInfo()
        began = asyncio.get_running_loop().time()
        async with aclosing(attempts_of().stream(model_call(over, streamed=True), info)) as parts:
            got = await anext(parts)
            assert info.target is over.targets[1]
            assert info.record.began
            assert info.first_token_time == began + 1.0
            text = got.data + b"".join([one.data async for one in parts])
        assert text == b"hi."
        assert not info.restarted

    run(main())


def test_a_stream_that_ends_without_an_answer_is_broken() -> None:
    async def main() -> None:
        provider = Scripted(always=[ROLE])
        with pytest.raises(MeshError) as caught:
            await ask(attempts_of(), model_call(route(target(provider)), streamed=True))
        assert caught.value.reason == BROKEN
        assert len(provider.calls) == 3

    run(main())


@pytest.mark.parametrize("reason", [UNAVAILABLE, "PROVIDER_TIMEOUT", BROKEN, LIMITED])
@pytest.mark.parametrize("midstream", list(Midstream))
@pytest.mark.parametrize("targets", [1, 2])
def test_a_break_after_the_first_token_is_by_the_routes_policy(reason: str, midstream: Midstream, targets: int) -> None:
    async def main() -> None:
        first = Scripted("a", always=[ROLE, Say("par"), Fail(reason)])
        second = Scripted("b")
        over = route(*[target(first), target(second)][:targets], strategy=Strategy.ORDERED, midstream=midstream)
        info = AnswerInfo()
        got: list[bytes] = []
        restarts = midstream is Midstream.RESTART and targets == 2

        async def read() -> None:
            async with aclosing(attempts_of().stream(model_call(over, streamed=True), info)) as parts:
                async for one in parts:
                    if one.data == b": restarted\n\n":
                        assert info.restarted
                        assert info.target is over.targets[1]
                    got.append(one.data)

        if restarts:
            await read()
            assert b"".join(got) == b"par: restarted\n\nhello."
            assert reasons(info) == [reason, ""]
        else:
            with pytest.raises(MeshError) as caught:
                await read()
            assert caught.value.reason == reason
            assert caught.value.metadata["attempts"] == "1"
            assert b"".join(got) == b"par"
            assert not second.calls
        assert info.restarted is restarts

    run(main())


@pytest.mark.parametrize(
    ("script", "body"),
    [
        (["ROLE", "TOOL", Fail(BROKEN)], {}),
        (["ROLE", Say("so"), "TOOL", Fail(BROKEN)], {}),
        (["ROLE", Say("so"), Fail(BROKEN)], {"n": 2}),
        (["ROLE", Say("so"), FINISH, Fail(BROKEN)], {}),
        (["ROLE", Say("so"), Fail("PROVIDER_CONTENT_REFUSED")], {}),
    ],
    ids=["a tool was called", "a tool was called later", "several choices", "it had finished", "content refused"],
)
def test_nothing_irreversible_is_begun_anew(script: list[Step], body: dict[str, Any]) -> None:
    async def main() -> None:
        first, second = Scripted("a", always=script), Scripted("b")
        over = route(target(first), target(second), strategy=Strategy.ORDERED, midstream=Midstream.RESTART)
        info = AnswerInfo()
        with pytest.raises(MeshError):
            await ask(attempts_of(), model_call(over, streamed=True, body=body), info)
        assert not second.calls
        assert not info.restarted

    run(main())


def test_an_answer_never_begins_anew_on_the_target_that_broke_it() -> None:
    async def main() -> None:
        first, second = Scripted("a", scripts=[[Say("x"), Fail(BROKEN)]]), Scripted("b")
        over = route(target(first), target(second), strategy=Strategy.ORDERED, midstream=Midstream.RESTART)
        attempts, info = attempts_of(), AnswerInfo()
        attempts._health.of(over.targets[1], 1).cooldown_until = 2000.0
        with pytest.raises(MeshError) as caught:
            await ask(attempts, model_call(over, streamed=True), info)
        assert caught.value.reason == BROKEN
        assert reasons(info) == [BROKEN]
        assert not info.restarted

    run(main())


def test_a_restart_that_finds_no_target_raises_the_last_error() -> None:
    async def main() -> None:
        first = Scripted("a", always=[Say("x"), Fail(BROKEN)])
        second = Scripted("b", always=[Fail(UNAVAILABLE)])
        third = Scripted("c", always=[Say("y"), Fail(BROKEN)])
        over = route(
            target(first), target(second), target(third), strategy=Strategy.ORDERED, midstream=Midstream.RESTART
        )
        info = AnswerInfo()
        with pytest.raises(MeshError) as caught:
            await ask(attempts_of(), model_call(over, streamed=True), info)
        assert caught.value.metadata["attempts"] == "3"
        assert reasons(info) == [BROKEN, UNAVAILABLE, BROKEN]
        assert info.restarted

    run(main())


# Money


@pytest.mark.parametrize(
    ("script", "asked"),
    [
        ([Fail(UNAVAILABLE)], 0),
        ([Fail(UNAVAILABLE, sent=True)], 0),
        ([Say("x"), Fail(BROKEN)], 1),
    ],
)
def test_money_is_asked_for_where_an_earlier_attempt_may_be_billed(script: list[Step], asked: int) -> None:
    async def main() -> None:
        first, second = Scripted("a", always=script), Scripted("b")
        over = route(target(first), target(second), strategy=Strategy.ORDERED)
        asks: list[str] = []

        async def before(found: Any) -> None:
            asks.append(found.name)

        assert await ask(attempts_of(), model_call(over, before_attempt_again=before)) == "hello."
        assert asks == ["model-b"] * asked

    run(main())


def test_without_money_there_is_no_further_attempt() -> None:
    async def main() -> None:
        first, second = Scripted("a", always=[Say("x"), Fail(BROKEN)]), Scripted("b")
        over = route(target(first), target(second), strategy=Strategy.ORDERED)

        async def before(_target: Any) -> None:
            raise MeshError("BUDGET_EXHAUSTED", "No money is left.")

        with pytest.raises(MeshError) as caught:
            await ask(attempts_of(), model_call(over, before_attempt_again=before))
        assert caught.value.reason == "BUDGET_EXHAUSTED"
        assert not second.calls

    run(main())


# Properties

_steps = st.sampled_from(
    [ROLE, COMMENT, Say("x"), "TOOL", FINISH, Wait(0.3), Fail(UNAVAILABLE), Fail(BROKEN, sent=True), Fail(LIMITED),
     Fail(LIMITED, retry_after_s=1.0), Fail("CONTEXT_LENGTH_EXCEEDED"), Fail("PROVIDER_REJECTED"),
     Fail("PROVIDER_CREDENTIAL_REFUSED"), Fail("PROVIDER_TIMEOUT")]
)  # fmt: skip
_scripts = st.lists(st.lists(_steps, max_size=4).map(lambda steps: [*steps, *OK[1:]]), max_size=4)


@settings(max_examples=300, deadline=None)
@given(
    scripts=st.lists(_scripts, min_size=1, max_size=4),
    attempts_max=st.integers(1, 5),
    hedge_after_s=st.sampled_from([None, 0.1, 1.0]),
    strategy=st.sampled_from(list(Strategy)),
    midstream=st.sampled_from(list(Midstream)),
    contexts=st.lists(st.sampled_from([0, 1000, 2000]), min_size=4, max_size=4),
    streamed=st.booleans(),
    seed=st.integers(0, 9),
)
def test_whatever_happens_the_budget_holds_and_nothing_is_left(
    scripts: list[list[list[Step]]],
    attempts_max: int,
    hedge_after_s: float | None,
    strategy: Strategy,
    midstream: Midstream,
    contexts: list[int],
    streamed: bool,
    seed: int,
) -> None:
    async def main() -> None:
        providers = [Scripted(f"p{number}", scripts=list(those)) for number, those in enumerate(scripts)]
        over = route(
            *[target(one, context_tokens=contexts[number]) for number, one in enumerate(providers)],
            strategy=strategy,
            midstream=midstream,
            retry=RetryPolicy(attempts_max=attempts_max),
            hedge_after_s=hedge_after_s,
        )
        attempts = attempts_of(rng=random.Random(seed).random)
        for _ in range(3):
            before = sum(len(one.calls) for one in providers)
            info = AnswerInfo()
            failed: MeshError | None = None
            try:
                text = await ask(attempts, model_call(over, streamed=streamed, input_tokens_estimate=5), info)
            except MeshError as error:
                failed = error
            if failed is not None:
                assert failed.metadata["attempts"] == str(len(info.attempts))
            else:
                assert text.endswith(".")
                assert info.record.finish_reasons == {0: "stop"}
                assert info.record.usage == TokenUsage(10, 5)
                answered = [one for one in info.attempts if one.record is info.record]
                assert [one.target for one in answered] == [info.target]
                assert answered[0].reason == ""
            called = sum(len(one.calls) for one in providers) - before
            assert called == len(info.attempts) <= attempts_max
            assert all(one.end_time >= one.begin_time > 0 for one in info.attempts)
            assert len({id(one.record) for one in info.attempts}) == len(info.attempts)
            names = [one.target.name for one in info.attempts]
            while len(names) > 1 and names[0] == names[1]:
                names.pop(0)  # for as long as it was the only one
            assert len(set(names)) == len(names), "each target once"
            assert all(one.under_way == 0 for one in providers)
            assert all(one.in_flight == 0 for one in attempts._health.snapshot())

    run(main())

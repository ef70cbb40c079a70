"""What becomes of a call on a route with a policy, at each moment that moderation is away, late, or says no."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import orjson
import pytest
from promptmesh.moderation.v1 import moderation_pb2 as pb

from services.inference.engine.call import AnswerInfo, ModelCall
from services.inference.providers.base import Part
from services.inference.routing.route import CachePolicy, ModerationPolicy
from services.inference.screening.options import ScreeningOptions
from services.inference.screening.passage import Screening
from services.mesh.errors import MeshError
from tests.unit.inference.routing.scripted import Scripted, model_call, route, run, target
from tests.unit.inference.screening.streams import DONE, FORBIDDEN, HEAD, Client, chunk, part

OPTIONS = ScreeningOptions(wait_ms=5000, flush_ms=500)
ALL = ModerationPolicy(True, True, True, True)
OUTPUT = ModerationPolicy(screen_output=True)
INPUT = ModerationPolicy(screen_input=True)
LONG = "some words that are said slowly, " * 20


class Moderation:
    """Says no to FORBIDDEN; `away` from the call of that number on, until `back` (the loop's clock)."""

    def __init__(self, away: int = 10**9, back: float = float("inf")) -> None:
        self.texts: list[str] = []
        self.surfaces: set[int] = set()
        self.calls = 0
        self.version = "1"
        self.away, self.back = away, back

    async def BatchScreen(self, request: pb.BatchScreenRequest, timeout: float) -> pb.BatchScreenResponse:
        self.calls += 1
        if self.calls > self.away and asyncio.get_running_loop().time() < self.back:
            raise OSError("away")
        self.texts += [one.text for one in request.requests]
        self.surfaces |= {one.surface for one in request.requests}
        finding = pb.Finding(rule="test.rule", category=pb.CATEGORY_SPAM, verdict=pb.VERDICT_REJECT)
        said = [FORBIDDEN in one.text for one in request.requests]
        return pb.BatchScreenResponse(
            screenings=[
                pb.Screening(verdict=pb.VERDICT_REJECT, findings=[finding], policy_version=self.version)
                if no
                else pb.Screening(verdict=pb.VERDICT_ALLOW, policy_version=self.version)
                for no in said
            ]
        )


def call(policy: ModerationPolicy, *contents: Any, body: Any = None, **options: Any) -> ModelCall:
    messages = [{"role": "user", "content": content} for content in contents or ("hello",)]
    over = route(target(Scripted()), moderation=policy, cache=options.pop("cache", None))
    return model_call(over, body={"messages": messages, **(body or {})}, **options)


class Source:
    """A provider's stream: parts, pauses in seconds, an error at its end."""

    def __init__(self, *steps: Part | float | MeshError) -> None:
        self.steps = steps
        self.given = 0
        self.ended = False

    async def parts(self) -> AsyncGenerator[Part, None]:
        try:
            for step in self.steps:
                if isinstance(step, float):
                    await asyncio.sleep(step)
                elif isinstance(step, MeshError):
                    raise step
                else:
                    self.given += 1
                    yield step
        finally:
            self.ended = True


def said(*texts: str) -> list[Part]:
    return [part(chunk({"content": text})) for text in texts]


END = (part(chunk(finish="stop")), DONE)


async def listen(
    moderation: Moderation, source: Source, policy: ModerationPolicy = OUTPUT, info: AnswerInfo | None = None
) -> tuple[Client, MeshError | None]:
    """What the client got, and what the stream ended in."""
    screening = Screening(moderation, OPTIONS)
    client = Client()
    try:
        async with aclosing(screening.begin(call(policy)).stream(source.parts(), info or AnswerInfo())) as parts:
            async for one in parts:
                client.take([one])
    except MeshError as error:
        return client, error
    finally:
        assert source.ended
        await screening.close()
    return client, None


# The input


async def refusal(screening: Screening, asked: ModelCall) -> MeshError:
    with pytest.raises(MeshError) as caught:
        await screening.begin(asked).screen_input()
    return caught.value


def test_a_refused_message_is_named_with_its_rule_and_without_its_text() -> None:
    async def main() -> None:
        error = await refusal(Screening(Moderation()), call(INPUT, "fine", f"is {FORBIDDEN}", FORBIDDEN))
        assert error.reason == "CONTENT_REFUSED"
        assert error.metadata == {
            "param": "messages[1]", "message": "1", "rule": "test.rule", "category": "spam"
        }  # fmt: skip
        assert FORBIDDEN not in str(error)

    run(main())


@pytest.mark.parametrize(
    "body",
    [
        {"messages": [{"role": "system", "content": FORBIDDEN}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": FORBIDDEN}]}]},
        {"messages": [{"role": "user", "content": [{"text": "forb", "type": "text"}, {"text": "idden"}]}]},
        {"messages": [{"role": "user", "content": "data:image/" + FORBIDDEN}]},
        {"messages": [{"role": "user", "content": "", "name": FORBIDDEN}]},
        {"messages": [{"role": "tool", "content": FORBIDDEN, "tool_call_id": "c"}]},
        {"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": FORBIDDEN}}]}]},
        {"messages": [{"role": "assistant", "reasoning_content": FORBIDDEN}]},
        {"messages": [{"role": "user", "content": "x" * 20_000 + FORBIDDEN + "y" * 20_000}]},
        {"tools": [{"type": "function", "function": {"name": "f", "description": FORBIDDEN}}]},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "description": FORBIDDEN}}},
        {"prediction": {"type": "content", "content": FORBIDDEN}},
        {"whatever": [FORBIDDEN]},
        {"input": ["fine", FORBIDDEN]},
        {"input": FORBIDDEN},
    ],
)  # fmt: skip
def test_no_text_of_a_body_is_left_out(body: Any) -> None:
    async def main() -> None:
        moderation = Moderation()
        assert (await refusal(Screening(moderation), call(INPUT, body=body))).reason == "CONTENT_REFUSED"
        assert moderation.surfaces == {pb.SURFACE_INPUT}

    run(main())


def test_what_was_cleared_is_not_screened_again_until_the_policy_changes() -> None:
    async def main() -> None:
        moderation = Moderation()
        screening = Screening(moderation, OPTIONS)
        await screening.begin(call(INPUT, "one")).screen_input()
        await screening.begin(call(INPUT, "one", "two")).screen_input()
        assert moderation.texts == ["one", "two"]
        await screening.begin(call(INPUT, "one", "two")).screen_input()
        assert moderation.calls == 2, "moderation was not asked at all"
        moderation.version = "2"
        await screening.begin(call(INPUT, "one", "three")).screen_input()
        await screening.begin(call(INPUT, "one")).screen_input()
        assert moderation.texts == ["one", "two", "three", "one"]

    run(main())


def test_what_was_refused_is_refused_again() -> None:
    async def main() -> None:
        screening = Screening(Moderation(), OPTIONS)
        for _ in range(2):
            assert (await refusal(screening, call(INPUT, "fine", FORBIDDEN))).reason == "CONTENT_REFUSED"

    run(main())


def test_moderation_away_sends_nothing_and_says_when_to_come_back() -> None:
    async def main() -> None:
        error = await refusal(Screening(Moderation(away=0)), call(INPUT))
        assert (error.reason, error.retry_after_s) == ("SCREENING_UNAVAILABLE", 1.0)
        assert (await refusal(Screening(None), call(INPUT))).reason == "SCREENING_UNAVAILABLE"

    run(main())


@pytest.mark.parametrize(("cache", "waited_s"), [(None, 0.5), (CachePolicy(60), 5.0)])
def test_a_deadline_ends_the_wait_of_its_own_call_alone(cache: CachePolicy | None, waited_s: float) -> None:
    """A call that others may follow waits as long as any may."""

    class Hangs(Moderation):
        async def BatchScreen(self, request: pb.BatchScreenRequest, timeout: float) -> pb.BatchScreenResponse:
            await asyncio.Event().wait()
            raise AssertionError

    async def main() -> None:
        screening = Screening(Hangs(), OPTIONS)
        loop = asyncio.get_running_loop()
        begin = loop.time()
        error = await refusal(screening, call(INPUT, deadline=begin + 0.5, cache=cache))
        assert error.reason == "SCREENING_UNAVAILABLE"
        assert loop.time() - begin == pytest.approx(waited_s)
        await screening.close()

    run(main())


def test_moderation_sees_what_leaves_and_the_caller_what_they_wrote() -> None:
    async def main() -> None:
        moderation = Moderation()
        asked = call(ALL, "I am ann@example.org")
        passage = Screening(moderation, OPTIONS).begin(asked)
        await passage.screen_input()
        assert asked.body["messages"][0]["content"] == "I am [EMAIL_1]"
        stream = passage.stream(Source(*said("Hi [EMAI", "L_1], [EMAIL_2]"), *END).parts(), AnswerInfo())
        client = Client()
        client.take([one async for one in stream])
        assert client.texts[0, "content"] == "Hi ann@example.org, [EMAIL_2]"
        assert moderation.texts == ["I am [EMAIL_1]", "Hi [EMAIL_1], [EMAIL_2]"]

    run(main())


def test_masked_and_not_restored_stays_masked() -> None:
    async def main() -> None:
        passage = Screening(None).begin(call(ModerationPolicy(mask_personal_data=True), "ann@example.org"))
        source = Source(*said("[EMAIL_1]"), *END)
        parts = source.parts()
        assert passage.stream(parts, AnswerInfo()) is parts, "and costs nothing"
        data = b'{"choices":[{"message":{"content":"[EMAIL_1]"}}]}'
        assert await passage.answer(data, AnswerInfo()) is data
        await parts.aclose()

    run(main())


def test_calls_of_one_process_never_restore_each_others_values() -> None:
    async def main() -> None:
        screening, policy = Screening(None), ModerationPolicy(mask_personal_data=True, restore_personal_data=True)
        first = screening.begin(call(policy, "ann@example.org"))
        screening.begin(call(policy, "bob@example.org and 4111111111111111"))
        data = b'{"choices":[{"message":{"content":"[EMAIL_1] [CARD_1]"}}]}'
        answer = orjson.loads(await first.answer(data, AnswerInfo()))
        assert answer["choices"][0]["message"]["content"] == "ann@example.org [CARD_1]"

    run(main())


@pytest.mark.parametrize(
    ("body", "param"),
    [({"logprobs": True}, "logprobs"), ({"modalities": ["text", "audio"]}, "modalities")],
)
def test_what_cannot_be_screened_is_refused_and_not_left_out(body: Any, param: str) -> None:
    with pytest.raises(MeshError) as caught:
        Screening(None).begin(call(OUTPUT, body=body))
    assert (caught.value.reason, caught.value.metadata) == ("INVALID_FIELD", {"param": param})
    Screening(None).begin(call(INPUT, body=body))
    Screening(None).begin(call(OUTPUT, body={"logprobs": False, "modalities": ["text"]}))


# Streams


def test_a_stream_that_is_cleared_is_whole() -> None:
    async def main() -> None:
        moderation = Moderation()
        client, error = await listen(moderation, Source(*said(*LONG), *END))
        assert error is None
        assert client.texts[0, "content"] == LONG
        assert (client.finish, client.done) == ({0: "stop"}, True)
        assert moderation.surfaces == {pb.SURFACE_OUTPUT}

    run(main())


def test_a_refused_stream_ends_in_an_error_and_its_provider_is_aborted() -> None:
    async def main() -> None:
        info, source = AnswerInfo(), Source(*said(LONG, f"and {FORBIDDEN} ", LONG), 3600.0, *END)
        client, error = await listen(Moderation(), source, info=info)
        assert error is not None
        assert (error.reason, error.metadata["rule"]) == ("CONTENT_REFUSED", "test.rule")
        assert FORBIDDEN not in error.message
        assert LONG.startswith(client.texts[0, "content"])
        assert not client.finish
        assert not client.done
        assert info.aborted
        assert source.given == 3

    run(main())


@pytest.mark.parametrize("away", range(4))
def test_moderation_away_in_the_middle_ends_the_stream_after_the_wait(away: int) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        begin, info = loop.time(), AnswerInfo()
        steps: list[Any] = [one for text in ("x " * 250,) * 8 for one in (*said(text), 0.001)]
        moderation = Moderation(away=away)
        client, error = await listen(moderation, Source(*steps, *END), info=info)
        assert error is not None
        assert error.reason == "SCREENING_UNAVAILABLE"
        assert info.aborted
        assert 4.0 < loop.time() - begin < 6.0
        assert "".join(moderation.texts).count("x") >= client.texts[0, "content"].count("x")
        assert not client.finish

    run(main())


def test_moderation_that_comes_back_in_time_costs_a_pause_alone() -> None:
    async def main() -> None:
        back = asyncio.get_running_loop().time() + 4.0
        client, error = await listen(Moderation(away=1, back=back), Source(*said(LONG, LONG, LONG), *END))
        assert error is None
        assert client.texts[0, "content"] == LONG * 3
        assert client.done

    run(main())


def test_a_pause_of_the_model_does_not_hold_what_can_be_shown() -> None:
    async def main() -> None:
        screening = Screening(Moderation(), OPTIONS)
        source = Source(*said("x" * 200), 60.0, *said("y"), *END)
        loop = asyncio.get_running_loop()
        begin = loop.time()
        client = Client()
        async with aclosing(screening.begin(call(OUTPUT)).stream(source.parts(), AnswerInfo())) as parts:
            client.take([await anext(parts)])
            assert client.texts[0, "content"] == "x" * 40, "all but the overlap"
            assert loop.time() - begin == pytest.approx(0.5)
            client.take([one async for one in parts])
        assert client.texts[0, "content"] == "x" * 200 + "y"

    run(main())


def test_a_slow_stream_is_shown_as_it_goes() -> None:
    """Each token comes sooner than the last would be flushed."""

    async def main() -> None:
        moderation = Moderation()
        steps: list[Any] = [one for _ in range(100) for one in (*said("word "), 0.1)]
        client, error = await listen(moderation, Source(*steps, *END))
        assert error is None
        assert client.texts[0, "content"] == "word " * 100
        assert 5 <= moderation.calls <= 25

    run(main())


def test_what_came_before_a_provider_failed_is_shown_before_the_error() -> None:
    async def main() -> None:
        broken = MeshError("PROVIDER_ANSWER_BROKEN", "cut")
        for policy in (OUTPUT, ModerationPolicy(mask_personal_data=True, restore_personal_data=True)):
            info = AnswerInfo()
            client, error = await listen(Moderation(), Source(*said("so far"), broken), policy, info)
            assert error is broken
            assert client.texts[0, "content"] == "so far"
            assert not info.aborted

    run(main())


def test_an_error_before_anything_came_is_the_providers() -> None:
    async def main() -> None:
        failed = MeshError("PROVIDER_UNAVAILABLE", "no")
        moderation = Moderation(away=0)
        _, error = await listen(moderation, Source(failed))
        assert error is failed
        assert moderation.calls == 0

    run(main())


def test_a_caller_who_leaves_ends_the_stream() -> None:
    async def main() -> None:
        screening = Screening(Moderation(), OPTIONS)
        info, source = AnswerInfo(), Source(*said(LONG), 3600.0)
        stream = screening.begin(call(OUTPUT)).stream(source.parts(), info)
        await anext(stream)
        await stream.aclose()
        assert source.ended
        assert not info.aborted, "so that it may be drained"

        source = Source(*said("held"), 3600.0)
        stream = screening.begin(call(OUTPUT)).stream(source.parts(), AnswerInfo())
        waiting = asyncio.create_task(anext(stream))
        await asyncio.sleep(1)
        waiting.cancel()
        await asyncio.wait([waiting])
        assert waiting.cancelled()
        assert source.ended

    run(main())


def test_a_caller_who_reads_slowly_holds_the_provider_back() -> None:
    async def main() -> None:
        screening = Screening(Moderation(), OPTIONS)
        source = Source(*said(*(LONG,) * 200), *END)
        async with aclosing(screening.begin(call(OUTPUT)).stream(source.parts(), AnswerInfo())) as parts:
            await anext(parts)
            await asyncio.sleep(60)
            assert source.given <= 40

    run(main())


# Whole answers


def whole(message: Any, **more: Any) -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", **message}, "logprobs": None, "finish_reason": "stop"}
    return orjson.dumps({**HEAD, "object": "chat.completion", "choices": [choice], **more})


@pytest.mark.parametrize(
    ("message", "more"),
    [
        ({"content": FORBIDDEN}, {}),
        ({"content": "x" * 30_000 + FORBIDDEN}, {}),
        ({"content": "", "reasoning_content": FORBIDDEN}, {}),
        ({"content": None, "refusal": FORBIDDEN}, {}),
        ({"content": None, "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": FORBIDDEN}}]}, {}),
        ({"content": None, "tool_calls": [{"id": "c", "function": {"name": FORBIDDEN, "arguments": ""}}]}, {}),
        ({"content": None, "function_call": {"name": "f", "arguments": FORBIDDEN}}, {}),
        ({"content": "a", "annotations": [{"title": FORBIDDEN}]}, {}),
        ({"content": [{"type": "text", "text": FORBIDDEN}]}, {}),
        ({"content": "a"}, {"citations": [FORBIDDEN]}),
    ],
)
def test_no_text_of_an_answer_is_left_out(message: Any, more: Any) -> None:
    async def main() -> None:
        passage = Screening(Moderation(), OPTIONS).begin(call(OUTPUT))
        with pytest.raises(MeshError) as caught:
            await passage.answer(whole(message, **more), AnswerInfo())
        assert caught.value.reason == "CONTENT_REFUSED"

    run(main())


def test_a_cleared_answer_is_as_it_came() -> None:
    async def main() -> None:
        data = whole({"content": "hello"}, usage={"total_tokens": 3})
        assert await Screening(Moderation(), OPTIONS).begin(call(OUTPUT)).answer(data, AnswerInfo()) is data

    run(main())


def test_logprobs_that_nobody_asked_for_are_left_out() -> None:
    async def main() -> None:
        answer = orjson.loads(whole({"content": "hello"}))
        answer["choices"][0]["logprobs"] = {"content": [{"token": FORBIDDEN}]}
        passage = Screening(Moderation(), OPTIONS).begin(call(OUTPUT))
        assert FORBIDDEN.encode() not in await passage.answer(orjson.dumps(answer), AnswerInfo())

    run(main())


def test_moderation_away_shows_no_answer() -> None:
    async def main() -> None:
        passage = Screening(Moderation(away=0), OPTIONS).begin(call(OUTPUT))
        with pytest.raises(MeshError) as caught:
            await passage.answer(whole({"content": "hello"}), AnswerInfo())
        assert caught.value.reason == "SCREENING_UNAVAILABLE"

    run(main())


def test_values_come_back_in_texts_and_in_arguments_as_json() -> None:
    async def main() -> None:
        key = "-----BEGIN PRIVATE KEY-----\nab\n-----END PRIVATE KEY-----"
        policy = replace(ALL, screen_input=False)
        passage = Screening(Moderation(), OPTIONS).begin(call(policy, f"{key} of ann@example.org"))
        calls = [{"id": "c", "function": {"name": "f", "arguments": '{"k": "[KEY_1]"}'}}]
        answer = await passage.answer(whole({"content": "[KEY_1] [EMAIL_1]", "tool_calls": calls}), AnswerInfo())
        message = orjson.loads(answer)["choices"][0]["message"]
        assert message["content"] == f"{key} ann@example.org"
        assert orjson.loads(message["tool_calls"][0]["function"]["arguments"]) == {"k": key}

    run(main())

"""The demo says what it is, says the same every time, and speaks both surfaces."""

from __future__ import annotations

import orjson
import pytest

from services.inference.providers.base import AnswerRecord
from services.inference.providers.demo import Demo
from services.mesh.errors import MeshError
from tests.unit.inference.calls import answer_text, events, openai_call, pieces, request, run_openai

PROMPT = "Write a story about a lighthouse. The lighthouse keeper counts ships."


async def test_it_says_that_it_is_a_demo_and_speaks_about_the_prompt() -> None:
    text = await answer_text(Demo("demo", 0), request(PROMPT))
    assert "demo" in text
    assert "no model was called" in text
    assert "11 words" in text
    assert "“lighthouse”" in text


@pytest.mark.parametrize("prompt", [PROMPT, "?", "", "é" * 300, "one", "a\x00b" * 50])
async def test_the_same_prompt_has_the_same_answer_at_any_pace(prompt: str) -> None:
    assert await answer_text(Demo("demo", 0), request(prompt)) == await answer_text(
        Demo("demo", 100_000), request(prompt)
    )


async def test_it_streams_and_counts() -> None:
    got = await pieces(Demo("demo", 2_000), request(PROMPT))
    assert len(got) > 1
    assert got[-1].finish_reason == "stop"
    assert got[-1].usage is not None
    assert got[-1].usage.output_tokens == len("".join(piece.text for piece in got).split())


async def test_it_keeps_to_a_cap_and_a_stop_text() -> None:
    capped = await pieces(Demo("demo", 0), request(PROMPT, max_output_tokens=5))
    assert (capped[-1].text, capped[-1].finish_reason) == ("This is a demo answer:", "length")
    assert await answer_text(Demo("demo", 0), request(PROMPT, stop=("demo",))) == "This is a"


async def test_on_the_surface_of_openai() -> None:
    demo, record = Demo("demo", 0), AnswerRecord()
    whole = orjson.loads(await run_openai(demo, openai_call(), record))
    assert whole["object"] == "chat.completion"
    assert whole["model"] == "house"
    assert whole["usage"]["total_tokens"] == whole["usage"]["prompt_tokens"] + whole["usage"]["completion_tokens"]
    assert record.usage is not None

    streamed = events(await run_openai(demo, openai_call(stream=True)))
    text = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in streamed)
    assert text == whole["choices"][0]["message"]["content"]
    assert all("usage" not in chunk for chunk in streamed)

    with_usage = events(await run_openai(demo, openai_call(stream=True, stream_options={"include_usage": True})))
    assert with_usage[-1]["choices"] == []
    assert with_usage[-1]["usage"] == whole["usage"]


async def test_it_refuses_what_it_cannot_do() -> None:
    with pytest.raises(MeshError) as caught:
        await run_openai(Demo("demo", 0), openai_call(n=2))
    assert caught.value.metadata["param"] == "n"

"""The demo says what it is, says the same every time, and speaks the surfaces that every provider does."""

from __future__ import annotations

import base64
import math
import operator
import struct
from typing import Any

import orjson
import pytest

from services.inference.providers.base import AnswerRecord, TokenUsage
from services.inference.providers.demo import Demo
from services.mesh.errors import MeshError
from tests.unit.inference.calls import answer_text, completed, embed_request, events, parts, request, streamed, text_of

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
    record = AnswerRecord()
    got = await parts(Demo("demo", 2_000), request(PROMPT), record)
    chunks = events(b"".join(part.data for part in got))
    assert [chunk for part in got for chunk in part.chunks] == chunks
    assert len(chunks) > 1
    assert record.finish_reasons == {0: "stop"}
    assert record.usage is not None
    assert record.usage.output_tokens == len(text_of(chunks).split())
    assert record.sent


async def test_it_keeps_to_a_cap_and_a_stop_text() -> None:
    record = AnswerRecord()
    capped = await completed(Demo("demo", 0), request(PROMPT, output_cap=5, max_tokens=9), record)
    assert capped["choices"][0]["message"]["content"] == "This is a demo answer:"
    assert record.finish_reasons == {0: "length"}
    assert await answer_text(Demo("demo", 0), request(PROMPT, stop=["demo"])) == "This is a"


async def test_whole_and_streamed_answers_say_the_same() -> None:
    demo, record = Demo("demo", 0), AnswerRecord()
    whole = await completed(demo, request(), record)
    assert whole["object"] == "chat.completion"
    assert whole["model"] == "house"
    assert whole["usage"]["total_tokens"] == whole["usage"]["prompt_tokens"] + whole["usage"]["completion_tokens"]
    assert record.usage is not None
    chunks = events(await streamed(demo, request()))
    assert text_of(chunks) == whole["choices"][0]["message"]["content"]
    assert all("usage" not in chunk for chunk in chunks)
    with_usage = events(await streamed(demo, request(wants_usage=True)))
    assert with_usage[-1]["choices"] == []
    assert with_usage[-1]["usage"] == whole["usage"]


async def test_it_refuses_what_it_cannot_do() -> None:
    for ask in (completed, streamed):
        with pytest.raises(MeshError) as caught:
            await ask(Demo("demo", 0), request(n=2))
        assert caught.value.metadata["param"] == "n"


async def embedded(*inputs: str, **body: Any) -> Any:
    return orjson.loads(await Demo("demo", 0).embed(embed_request(*inputs, **body), AnswerRecord()))


async def test_embeddings_are_the_same_every_time_and_near_where_words_are_shared() -> None:
    record = AnswerRecord()
    raw = await Demo("demo", 0).embed(embed_request("a red ship", "a red boat", "nothing else"), record)
    assert orjson.loads(raw) == await embedded("a red ship", "a red boat", "nothing else")
    ship, boat, other = (one["embedding"] for one in orjson.loads(raw)["data"])
    assert len(ship) == 64
    assert math.isclose(math.hypot(*ship), 1.0)
    assert sum(map(operator.mul, ship, boat)) > sum(map(operator.mul, ship, other))
    assert record.usage == TokenUsage(8, 0)


async def test_embeddings_in_every_form() -> None:
    floats = (await embedded("one", dimensions=8))["data"][0]["embedding"]
    packed = (await embedded("one", dimensions=8, encoding_format="base64"))["data"][0]["embedding"]
    assert struct.unpack("<8f", base64.b64decode(packed)) == pytest.approx(floats)
    assert len((await embedded(input=[1, 2, 3]))["data"]) == 1
    assert len((await embedded(input=[[1, 2], [3]]))["data"]) == 2
    assert len((await embedded(input=""))["data"][0]["embedding"]) == 64


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("input", []),
        ("input", None),
        ("input", ["a", 1]),
        ("input", {"a": 1}),
        ("input", ["x"] * 2049),
        ("dimensions", 0),
        ("dimensions", 10_000),
        ("dimensions", True),
        ("encoding_format", "hex"),
    ],
)
async def test_embeddings_that_are_refused(field: str, value: object) -> None:
    with pytest.raises(MeshError) as caught:
        await embedded("one", **{field: value})
    assert caught.value.reason == "INVALID_FIELD"
    assert caught.value.metadata["param"] == field

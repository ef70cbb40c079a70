"""Chunks of a stream, however they are cut into reads: the same chunks, the same record, the same fault."""

from __future__ import annotations

import itertools
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.inference.providers.base import AnswerRecord, TokenUsage
from services.inference.providers.openai_chunks import ChunkReader
from services.inference.providers.renaming import ChunkRenamer, renamed
from services.inference.providers.sse import MAX_LINE_BYTES


def chunk(text: str = "", index: int = 0, reason: str | None = None, **more: Any) -> dict[str, Any]:
    delta = {"content": text} if text else {}
    return {"model": "up", "choices": [{"index": index, "delta": delta, "finish_reason": reason}], **more}


def said(*chunks: object, begin: bytes = b"data: ", end: bytes = b"\n\n") -> bytes:
    return b"".join(begin + (one if isinstance(one, bytes) else orjson.dumps(one)) + end for one in chunks)


class Got:
    def __init__(self, stream: bytes, cuts: list[int] | None = None) -> None:
        self.record = AnswerRecord()
        reader = ChunkReader("up", "model", self.record)
        self.chunks: list[dict[str, Any]] = []
        self.raws: list[bytes] = []
        for begin, end in itertools.pairwise([0, *sorted(cuts or []), len(stream)]):
            reader.feed(stream[begin:end])
            self._take(reader)
            if reader.done or reader.error:
                break
        else:
            reader.end()
            self._take(reader)
        self.error = reader.error
        self.done = reader.done

    def _take(self, reader: ChunkReader) -> None:
        assert [orjson.loads(raw) for raw in reader.events] == reader.chunks
        self.chunks += reader.chunks
        self.raws += reader.events


CHUNKS = [
    chunk("Grüße"),
    chunk("two \n\ndata: lines"),
    {"choices": []},
    {},
    chunk("x", index=1),
    chunk(reason="stop"),
    chunk(index=1, reason="length"),
    {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4}},
]
STREAMS = [
    said(*CHUNKS, b"[DONE]"),
    said(*CHUNKS),
    said(*CHUNKS, b"[DONE]", b"and what comes after it"),
    said(*CHUNKS, b"[DONE]", end=b"\r\n\r\n"),
    b": hello\n\n" + said(*CHUNKS[:3]) + b"event: x\nid: 1\n\n" + said(*CHUNKS[3:], b" [DONE] "),
    said(*CHUNKS, b"[DONE]", begin=b"data:"),
    said(*CHUNKS)[:-2],
]


@given(st.sampled_from(STREAMS), st.lists(st.integers(0, len(STREAMS[0])), max_size=12))
def test_any_cut_gives_the_same(stream: bytes, cuts: list[int]) -> None:
    got = Got(stream, [min(cut, len(stream)) for cut in cuts])
    assert got.error is None
    assert got.chunks == CHUNKS
    assert got.record == AnswerRecord(
        output_bytes=len("Grüße".encode()) + len("two \n\ndata: lines") + 1,
        usage=TokenUsage(3, 4),
        finish_reasons={0: "stop", 1: "length"},
    )


BROKEN = [
    b'{"model":"up","choices":[{"del',
    b"[1, 2]",
    b"7",
    b'""',
    b"",
    b"not json",
    b'{"a":"\xff"}',
    b'{"choices":7}',
    b'{"choices":{"a":1}}',
    b'{"choices":[7]}',
    b'{"choices":[{"index":"0"}]}',
    b'{"choices":[{"index":true}]}',
    b'{"a":1},{"b":2}',
    b'{"error":{"message":"no"}}',
    b'{"error":"no"}',
    pytest.param(b"x" * MAX_LINE_BYTES, id="a long line"),
]


@pytest.mark.parametrize("broken", BROKEN)
@given(cuts=st.lists(st.integers(0, 400), max_size=6))
def test_what_came_before_a_broken_chunk_is_kept_and_nothing_after_it(broken: bytes, cuts: list[int]) -> None:
    stream = said(chunk("one"), chunk("two"), broken, chunk("three"), chunk(reason="stop"), b"[DONE]")
    got = Got(stream, [min(cut, len(stream)) for cut in cuts])
    assert got.error is not None
    assert got.error.reason in {"PROVIDER_ANSWER_BROKEN", "PROVIDER_UNAVAILABLE"}
    assert got.chunks == [chunk("one"), chunk("two")]
    assert got.record.output_bytes == 6
    assert not got.record.finish_reasons


@pytest.mark.parametrize(
    "stream",
    [
        said(b"[DONE]"),
        said(chunk("one"), b"[DONE]"),
        said(chunk("one")),
        said(chunk("one"), chunk("two", index=1), chunk(reason="stop"), b"[DONE]"),
        b"",
        b"<html>",
    ],
)
def test_a_stream_without_all_its_finish_reasons_is_not_whole(stream: bytes) -> None:
    got = Got(stream)
    assert got.error is not None
    assert "finish reason" in got.error.message


@pytest.mark.parametrize("field", ["content", "reasoning_content", "reasoning", "refusal"])
def test_bytes_of_everything_that_is_generated(field: str) -> None:
    delta = {"role": "assistant", field: "äb"}
    got = Got(said({"choices": [{"index": 0, "delta": delta}]}, chunk(reason="stop")))
    assert got.record.output_bytes == 3


def test_odd_members_are_no_reason_to_fail() -> None:
    odd = [
        {"choices": [{"delta": None}]},
        {"choices": [{"index": 0, "delta": {"content": None}}]},
        {"choices": [{"index": 0, "delta": {"tool_calls": [7, {"function": {"name": "f", "arguments": "{}"}}]}}]},
        {"choices": None, "error": None, "usage": None},
        {"choices": [{"index": 0, "delta": "text", "finish_reason": "stop"}]},
    ]
    got = Got(said(*odd, b"[DONE]"))
    assert got.error is None
    assert got.chunks == odd


NAMES = st.sampled_from(["up", "house", 'q"uote', "münchen", "a/b:c"])


@given(upstream=NAMES, model=NAMES, space=st.booleans(), text=st.sampled_from(["x", '"model":"up"', "a\nb"]))
def test_renaming_changes_the_name_and_nothing_else(upstream: str, model: str, space: bool, text: str) -> None:
    chunks = [{**chunk(text), "model": upstream}, {**chunk(reason="stop"), "model": upstream}]
    dumps = [orjson.dumps(one) for one in chunks]
    if space:
        dumps = [raw.replace(b'"model":"', b'"model": "', 1) for raw in dumps]
    expected = [{**one, "model": model} for one in chunks]
    out = ChunkRenamer(model).events(list(dumps), chunks)
    assert [orjson.loads(one.removeprefix(b"data: ")) for one in out.split(b"\n\n") if one] == expected
    assert chunks == expected
    assert orjson.loads(renamed(dumps[0], orjson.loads(dumps[0]), model)) == expected[0]


def test_chunks_without_a_name_or_with_several_get_one() -> None:
    chunks: list[dict[str, Any]] = [{"choices": []}, {"model": "b", "choices": [], "x": {"model": "inner"}}]
    out = ChunkRenamer("house").events([orjson.dumps(one) for one in chunks], chunks)
    got = [orjson.loads(one.removeprefix(b"data: ")) for one in out.split(b"\n\n") if one]
    assert [one["model"] for one in got] == ["house", "house"]
    assert got[1]["x"] == {"model": "inner"}


def test_a_lost_body_is_whole_only_with_as_many_choices_as_were_asked_for() -> None:
    reader = ChunkReader("up", "model", AnswerRecord())
    reader.feed(said(chunk("a"), chunk(reason="stop")))
    assert reader.whole(1)
    assert not reader.whole(2), "the second never began"
    reader.feed(said(chunk("b", index=1)))
    assert not reader.whole(1), "what began must end"
    reader.feed(said(chunk(index=1, reason="stop")))
    assert reader.whole(2)

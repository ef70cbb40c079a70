"""Each fault of the table, proved on the wire, streamed and not."""

from __future__ import annotations

import email.utils
import gzip
import time
import zlib
from collections.abc import AsyncIterator, Callable

import orjson
import pytest

from tests.support.provider import (
    FAULTS,
    Behaviour,
    Breaks,
    Fault,
    FaultCase,
    MisbehavingProvider,
    Retry,
    running_provider,
)
from tests.support.provider.cases import OTHER_MODEL, OVERSIZED_BYTES
from tests.unit.support.wire import MODEL, Answer, ask, chat, connected

TEXT = Behaviour().text
WORDS = 8  # of TEXT
Proof = Callable[[Answer, bool], bool]


@pytest.fixture
async def provider() -> AsyncIterator[MisbehavingProvider]:
    async with running_provider() as provider:
        yield provider


def is_whole(got: Answer, streamed: bool) -> bool:
    """A whole answer with a finish reason."""
    if streamed:
        said = got.text or "tool_calls" in got.chunks[0]["choices"][0]["delta"]
        return got.status == 200 and bool(said) and len(got.finish_reasons) == 1
    choice = got.json["choices"][0]
    return bool(choice["finish_reason"]) and bool(choice["message"])


def says(status: int, *words: str, header: str = "") -> Proof:
    """An error with this status, these words in its body and this header."""

    def proof(got: Answer, streamed: bool) -> bool:
        return (
            (got.status, got.end) == (status, "complete")
            and all(word.encode() in got.body for word in words)
            and (not header or header in got.headers)
        )

    return proof


def usage_of(got: Answer, streamed: bool) -> object:
    """Usage as it came; "none": not even its name."""
    return (got.chunks[-1] if streamed else got.json).get("usage", "none")


def with_usage(expected: object) -> Proof:
    return lambda got, streamed: is_whole(got, streamed) and usage_of(got, streamed) == expected


def nothing_at_all(end: str) -> Proof:
    return lambda got, streamed: (got.raw, got.end) == (b"", end)


def in_the_middle(end: str) -> Proof:
    """Two tokens and no finish reason, or half a body; then this end."""

    def proof(got: Answer, streamed: bool) -> bool:
        if streamed:
            return (got.end, got.text, got.finish_reasons) == (end, "Hello from", []) and b"[DONE]" not in got.raw
        length = int(got.headers["content-length"])
        return got.end == end and len(got.body) == length // 2

    return proof


def skipped(event: bytes) -> Proof:
    """A whole answer but for one event, after two tokens; in one piece no JSON object."""

    def proof(got: Answer, streamed: bool) -> bool:
        if not streamed:
            try:
                return not isinstance(orjson.loads(got.body), dict)
            except orjson.JSONDecodeError:
                return got.end == "complete" and got.status == 200
        return is_whole(got, True) and got.text == TEXT and got.events.index(event) == 2 and got.events[-1] == b"[DONE]"

    return proof


def error_after(chunks: int) -> Proof:
    def proof(got: Answer, streamed: bool) -> bool:
        if not streamed:
            return got.status == 200 and set(got.json) == {"error"}
        return set(got.chunks[-1]) == {"error"} and len(got.events) == chunks + 1 and got.end == "complete"

    return proof


def a_date(got: Answer, streamed: bool) -> bool:
    when = email.utils.parsedate_to_datetime(got.headers["retry-after"]).timestamp()
    return got.status == 429 and abs(when - time.time()) < 60


def no_finish(got: Answer, streamed: bool) -> bool:
    if streamed:
        return got.finish_reasons == [] and got.events[-1] == b"[DONE]" and got.text == TEXT
    return got.json["choices"][0]["finish_reason"] is None and got.end == "complete"


def cut_cleanly(got: Answer, streamed: bool) -> bool:
    if streamed:
        return got.end == "complete" and got.text == "Hello from" and not got.finish_reasons and len(got.events) == 2
    return no_finish(got, False)


def gzipped(got: Answer, streamed: bool) -> bool:
    got.body = zlib.decompress(got.body, wbits=31) if streamed else gzip.decompress(got.body)
    return got.headers["content-encoding"] == "gzip" and is_whole(got, streamed)


def huge_headers(got: Answer, streamed: bool) -> bool:
    return got.raw.startswith(b"HTTP/1.1 200 OK\r\n") and len(got.head) > 256 * 1024


def bad_framing(got: Answer, streamed: bool) -> bool:
    return got.status == 200 and got.end == "garbage" and b"\r\nthis is no length\r\n" in got.raw


def comments(got: Answer, streamed: bool) -> bool:
    return is_whole(got, True) and got.text == TEXT and got.body.count(b": still thinking\r\n\r\n") == WORDS


def in_every_chunk(got: Answer, streamed: bool) -> bool:
    sums = [chunk["usage"]["completion_tokens"] for chunk in got.chunks if chunk.get("usage")]
    return is_whole(got, True) and sums == [*range(1, WORDS + 1), WORDS]


def made_up_tool(got: Answer, streamed: bool) -> bool:
    if streamed:
        return "tool_calls" in got.chunks[0]["choices"][0]["delta"] and got.finish_reasons == ["tool_calls"]
    choice = got.json["choices"][0]
    return bool(choice["message"]["tool_calls"]) and choice["finish_reason"] == "tool_calls"


def finish(reason: str) -> Proof:
    def proof(got: Answer, streamed: bool) -> bool:
        return (got.finish_reasons if streamed else [got.json["choices"][0]["finish_reason"]]) == [reason]

    return proof


HONEST = {"prompt_tokens": 2, "completion_tokens": WORDS, "total_tokens": 2 + WORDS}
PROOFS: dict[str, Proof] = {
    "none": with_usage(HONEST),
    "slow_head": is_whole,
    "slow_first_token": is_whole,
    "slow_body": is_whole,
    "interim": lambda got, streamed: got.raw.startswith(b"HTTP/1.1 103 Early Hints\r\n") and is_whole(got, streamed),
    "close_delimited": lambda got, streamed: got.end == "eof" and is_whole(got, streamed) and not _framed(got),
    "chunk_extensions": lambda got, streamed: (
        is_whole(got, streamed) and b";of=" in got.raw and b"X-Trailer" in got.raw
    ),
    "extra_bytes": lambda got, streamed: got.raw.endswith(b"nobody asked") and is_whole(got, streamed),
    "close_after": lambda got, streamed: is_whole(got, streamed) and "connection" not in got.headers,
    "never_ends": lambda got, streamed: is_whole(got, True) and (got.events[-1], got.end) == (b"[DONE]", "hangs"),
    "no_done": lambda got, streamed: is_whole(got, True) and b"[DONE]" not in got.raw and got.end == "complete",
    "comments": comments,
    "no_space": lambda got, streamed: is_whole(got, True) and got.text == TEXT and b"data: " not in got.body,
    "usage_missing": lambda got, streamed: is_whole(got, streamed) and usage_of(got, streamed) in ("none", None),
    "usage_null": with_usage(None),
    "usage_negative": with_usage({"prompt_tokens": -5, "completion_tokens": -1}),
    "usage_huge": with_usage({"prompt_tokens": 1e18, "completion_tokens": 1e18}),
    "usage_strings": with_usage({"prompt_tokens": "3", "completion_tokens": "many"}),
    "usage_not_an_object": with_usage([1, 2]),
    "usage_in_every_chunk": in_every_chunk,
    "other_model": lambda got, streamed: _models(got, streamed) == {OTHER_MODEL} and is_whole(got, streamed),
    "more_than_asked": lambda got, streamed: _completion_tokens(got, streamed) == 300 > 16,
    "finish_length": finish("length"),
    "finish_content_filter": finish("content_filter"),
    "made_up_tool": made_up_tool,
    "rate_limit": lambda got, streamed: got.status == 429 and got.headers["retry-after"] == "1",
    "rate_limit_date": a_date,
    "rate_limit_ms": lambda got, streamed: got.status == 429 and got.headers["retry-after-ms"] == "250",
    "rate_limit_no_hint": lambda got, streamed: got.status == 429 and not any("retry" in name for name in got.headers),
    "rate_limit_broken_hint": lambda got, streamed: got.status == 429 and got.headers["retry-after"] == "soon",
    "server_error": says(500, "server_error"),
    "unavailable": says(503, "overloaded"),
    "unavailable_hint": says(503, header="retry-after"),
    "gateway_timeout": says(504, "timeout"),
    "overloaded": says(529, '"overloaded_error"'),
    "bad_gateway_html": lambda got, streamed: got.status == 502 and got.headers["content-type"] == "text/html",
    "unauthorized": says(401, "API key"),
    "payment_required": says(402, "balance"),
    "forbidden": says(403, "region"),
    "not_found": says(404, '"model_not_found"'),
    "request_timeout": says(408),
    "too_large": says(413),
    "unprocessable": says(422, '"detail"'),
    "bad_request": says(400, "invalid_request_error"),
    "context_openai": says(400, '"context_length_exceeded"', "maximum context length"),
    "context_anthropic": says(400, "prompt is too long"),
    "context_vllm": says(400, "maximum context length", '"BadRequestError"'),
    "policy_openai": says(400, '"content_policy_violation"'),
    "policy_azure": says(400, '"content_filter"'),
    "error_body_stalled": lambda got, streamed: (got.status, got.end) == (500, "hangs") and 0 < len(got.body) < 99,
    "redirect": says(307, header="location"),
    "reset_before_headers": nothing_at_all("reset"),
    "close_before_headers": nothing_at_all("eof"),
    "close_if_reused": is_whole,  # a fresh connection; the reused one below
    "silence": nothing_at_all("hangs"),
    "not_http": lambda got, streamed: got.end == "garbage" and got.raw.startswith(b"SSH-2.0"),
    "headers_unfinished": lambda got, streamed: (
        got.end == "hangs" and got.raw.startswith(b"HTTP/1.1 200 OK\r\n") and b"\r\n\r\n" not in got.raw
    ),
    "huge_headers": huge_headers,
    "head_only": lambda got, streamed: (got.status, got.body, got.end) == (200, b"", "hangs"),
    "stall": in_the_middle("hangs"),
    "cut": in_the_middle("eof"),
    "cut_reset": in_the_middle("reset"),
    "cut_at_end": lambda got, streamed: is_whole(got, True) and got.end == "eof" and b"[DONE]" not in got.raw,
    "cut_at_once": lambda got, streamed: (got.end, got.finish_reasons) == ("eof", []) and (got.body == b"") == streamed,
    "cut_cleanly": cut_cleanly,
    "bad_framing": bad_framing,
    "wrong_content_type": lambda got, streamed: got.status == 200 and got.headers["content-type"] == "text/html",
    "gzip": gzipped,
    "broken_chunk": skipped(b'{"id":"chatcmpl-0","choices":[{"del'),
    "not_an_object": skipped(b'["a","list"]'),
    "broken_utf8": lambda got, streamed: not _is_utf8(got.body) and (not streamed or is_whole(got, True)),
    "huge_line": lambda got, streamed: len(got.events[2]) > 1024 * 1024 and is_whole(got, True),
    "no_finish": no_finish,
    "error_in_stream": error_after(2),
    "error_at_once": error_after(0),
    "only_comments": lambda got, streamed: (
        got.end == "hangs" and set(got.body.split(b"\n\n")) == {b": keep-alive", b""}
    ),
    "empty_body": lambda got, streamed: (got.status, got.body, got.end) == (200, b"", "complete"),
    "no_choices": lambda got, streamed: got.json["choices"] == [],
    "oversized": lambda got, streamed: len(got.body) > OVERSIZED_BYTES and is_whole(got, False),
}


def _framed(got: Answer) -> bool:
    return bool({"content-length", "transfer-encoding"} & set(got.headers))


def _models(got: Answer, streamed: bool) -> set[str]:
    return {one["model"] for one in (got.chunks if streamed else [got.json])}


def _completion_tokens(got: Answer, streamed: bool) -> int:
    usage = usage_of(got, streamed)
    assert isinstance(usage, dict)
    return int(usage["completion_tokens"])


def _is_utf8(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


ALL = [
    pytest.param(case, streamed, id=f"{case}-{'stream' if streamed else 'unary'}")
    for case in FAULTS.values()
    for streamed in (False, True)
    if case.happens(streamed)
]


def test_each_fault_has_a_proof() -> None:
    assert set(PROOFS) == set(FAULTS)
    assert {name for name, case in FAULTS.items() if case.name != name} == set()


def test_each_mechanism_has_a_case() -> None:
    """But those that another one stands for."""
    used = {case.behaviour.fault for case in FAULTS.values()}
    assert set(Fault) - used == {Fault.NOT_JSON, Fault.ABSURD_USAGE}


@pytest.mark.parametrize(("case", "streamed"), ALL)
async def test_a_fault_happens_on_the_wire(provider: MisbehavingProvider, case: FaultCase, streamed: bool) -> None:
    provider.fail(case.name)
    async with connected(provider) as wire:
        wire.send(chat(streamed, max_tokens=16), provider.base_url + "/chat/completions")
        got = await wire.receive(hangs=case.hangs or case.name == "never_ends")
        assert PROOFS[case.name](got, streamed), (got.end, got.raw[:2000])
        seen = provider.calls[0]
        if not case.hangs:
            await provider.until(lambda record: record.running == 0)
            broken_off = got.end in {"eof", "reset", "garbage"} and case.name != "close_delimited"
            assert seen.outcome == ("cut" if broken_off else "whole")
        assert seen.fault == case.name
        assert provider.steps_left == 0
    if case.hangs:
        await provider.until(lambda record: record.running == 0)
        assert seen.outcome == "aborted"
    again = await ask(provider, chat(streamed))
    assert is_whole(again, streamed), "it was told to fail once"


@pytest.mark.parametrize(("case", "streamed"), ALL)
async def test_what_the_table_says_of_a_fault(provider: MisbehavingProvider, case: FaultCase, streamed: bool) -> None:
    """Whether something was said before it breaks, and that who needs no other attempt is given a whole answer."""
    assert case.harmless == (case.retry is Retry.NOT_NEEDED)
    assert not (case.harmless and (case.counts or case.hangs))
    provider.fail(case.name)
    async with connected(provider) as wire:
        wire.send(chat(streamed), provider.base_url + "/chat/completions")
        got = await wire.receive(hangs=case.hangs or case.name == "never_ends")
    if case.breaks_at(streamed) is Breaks.NEVER:
        assert is_whole(got, streamed)
    elif case.tolerable:
        return  # whole to those who overlook it
    elif streamed:
        said = got.status == 200 and bool(got.text)
        assert said == (case.breaks is Breaks.AFTER_FIRST_TOKEN)
        assert not got.finish_reasons
    else:
        assert case.breaks_at(streamed) is Breaks.BEFORE_FIRST_TOKEN


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_connection_that_served_before_is_closed(provider: MisbehavingProvider, streamed: bool) -> None:
    provider.fail("close_if_reused", times=None)
    async with connected(provider) as wire:
        wire.send(chat(streamed), provider.base_url + "/chat/completions")
        assert is_whole(await wire.receive(), streamed)
        wire.send(chat(streamed), provider.base_url + "/chat/completions")
        assert (await wire.receive()).raw == b""
    assert [seen.reused for seen in provider.calls] == [False, True]
    assert [seen.outcome for seen in provider.calls] == ["whole", "cut"]


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_connection_is_kept_unless_the_fault_says_otherwise(
    provider: MisbehavingProvider, streamed: bool
) -> None:
    provider.fail("none")
    provider.fail("rate_limit")
    provider.fail("close_after")
    async with connected(provider) as wire:
        for _ in range(3):
            wire.send(chat(streamed), provider.base_url + "/chat/completions")
            assert (await wire.receive()).end == "complete"
        assert await wire.ended() == b""
    assert len({seen.connection for seen in provider.calls}) == 1


@pytest.mark.parametrize("after", [0, 1, 8, 100])
async def test_a_fault_comes_after_as_many_chunks_as_told(provider: MisbehavingProvider, after: int) -> None:
    """A text that is shorter has it at its end: never is it left out."""
    for name in ("cut", "cut_reset", "broken_chunk", "error_in_stream"):
        provider.fail(name, after_chunks=after)
        got = await ask(provider, chat(stream=True))
        said = [chunk for chunk in got.chunks if chunk.get("choices") and not chunk["choices"][0]["finish_reason"]]
        if name == "broken_chunk":
            assert got.events.index(b'{"id":"chatcmpl-0","choices":[{"del') == min(after, WORDS)
        else:
            assert len(said) == min(after, WORDS) == provider.calls[-1].chunks_sent
            assert not got.finish_reasons


@pytest.mark.parametrize("streamed", [False, True])
async def test_mechanisms_without_a_case(provider: MisbehavingProvider, streamed: bool) -> None:
    provider.then(Behaviour(fault=Fault.ABSURD_USAGE), Behaviour(fault=Fault.NOT_JSON))
    absurd = usage_of(await ask(provider, chat(streamed)), streamed)
    assert absurd == {"prompt_tokens": -5, "completion_tokens": 10**15, "total_tokens": 0}
    assert PROOFS["broken_chunk"](await ask(provider, chat(streamed)), streamed)
    assert provider.record.reported.total.answers == int(streamed), "the chunk that is none does not spoil usage"


async def test_a_slow_body_comes_in_drops(provider: MisbehavingProvider) -> None:
    provider.then(Behaviour(drip_bytes=3, text="ä€" * 50))
    async with connected(provider) as wire:
        wire.send(chat(), provider.base_url + "/chat/completions")
        first = await wire.reader.readuntil(b"\r\n\r\n")
        assert b"200 OK" in first
        drops: list[int] = []
        while sum(drops) < 300:
            drops.append(len(await wire.reader.read(65536)))
    assert max(drops) < 200, "it did not come at once"


@pytest.mark.parametrize("fault", ["stall", "cut", "cut_reset", "head_only", "gzip", "oversized", "wrong_content_type"])
async def test_embeddings_break_too(provider: MisbehavingProvider, fault: str) -> None:
    provider.fail(fault)
    async with connected(provider) as wire:
        wire.send({"model": MODEL, "input": "some words"}, provider.base_url + "/embeddings")
        got = await wire.receive(hangs=FAULTS[fault].hangs)
    expected = {"stall": "hangs", "cut": "eof", "cut_reset": "reset", "head_only": "hangs"}
    assert got.end == expected.get(fault, "complete")
    assert provider.calls[0].path == "/v1/embeddings"

"""The closed loop: an answer counts once, when it is whole and good, and only then is the next request sent."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import mock
from bench.closed_loop import Caller, Job, Tally, nearest_rank, request, run

STREAMED_BODY = '{"stream":true}'


def job(**changes: Any) -> Job:
    settings: dict[str, Any] = {
        "port": 1,
        "path": "/v1/chat/completions",
        "headers": {"authorization": "Bearer key"},
        "body": "{}",
        "streamed": False,
        "content": mock.CONTENT,
    }
    return Job(**(settings | changes))


class Transport:
    """Counts what was written."""

    def __init__(self) -> None:
        self.writes = 0

    def write(self, data: bytes) -> None:
        self.writes += 1

    def is_closing(self) -> bool:
        return False


class Clock:
    """Each look is a second later."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


def caller(wanted: Job) -> tuple[Caller, Tally, Transport]:
    tally = Tally(wanted, Clock())
    made = Caller(tally, b"request", lambda: None)
    transport: Any = Transport()
    made.connection_made(transport)
    made.pause = lambda: None  # type: ignore[method-assign]  # there is no loop here
    return made, tally, transport


@given(streamed=st.booleans(), cuts=st.lists(st.integers(min_value=1, max_value=3000), max_size=20))
def test_an_answer_counts_once_however_it_is_cut(streamed: bool, cuts: list[int]) -> None:
    made, tally, transport = caller(job(streamed=streamed))
    data = mock.STREAM if streamed else mock.WHOLE
    for cut in cuts:
        if len(data) > cut:
            made.data_received(data[:cut])
            data = data[cut:]
            assert tally.in_all == 0
    made.data_received(data)
    assert (tally.in_all, len(tally.latencies), tally.errors, transport.writes) == (1, 1, {}, 2)
    made.data_received(mock.STREAM if streamed else mock.WHOLE)
    assert (tally.in_all, transport.writes) == (2, 3)


def answer(status: str, body: bytes) -> bytes:
    return b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (status.encode(), len(body), body)


@pytest.mark.parametrize(
    ("changes", "data", "kind"),
    [
        ({}, answer("429 Too Many Requests", b"{}"), "status 429"),
        ({}, answer("200 OK", b"{}"), "wrong answer"),
        ({"content": "another"}, mock.WHOLE, "wrong answer"),
        ({"streamed": True}, mock.STREAM.replace(b"[DONE]", b"[GONE]"), "no [DONE]"),
        ({"head_line": "x-promptmesh-cache: hit"}, mock.WHOLE, "no x-promptmesh-cache: hit"),
    ],
)
def test_what_is_not_good_is_an_error_and_not_in_the_rate(changes: dict[str, Any], data: bytes, kind: str) -> None:
    made, tally, transport = caller(job(**changes))
    made.data_received(data)
    found = tally.result()
    assert found.errors == {kind: 1}
    assert found.first_error.startswith(kind)
    assert (found.good, found.answers_in_all, transport.writes) == (0, 0, 1)


def test_the_line_that_the_head_must_have_is_found_in_any_case() -> None:
    made, tally, _ = caller(job(head_line="x-cache: hit"))
    made.data_received(mock.WHOLE.replace(b"content-type", b"X-Cache: hit\r\ncontent-type"))
    assert (tally.in_all, tally.errors) == (1, {})


def test_a_lost_connection_is_an_error_and_is_told() -> None:
    lost: list[int] = []
    tally = Tally(job(), Clock())
    made = Caller(tally, b"", lambda: lost.append(1))
    made.connection_lost(None)
    assert tally.errors == {"connection lost": 1}
    assert lost == [1]


def test_the_warm_up_does_not_count_but_its_errors_do() -> None:
    made, tally, _ = caller(job())
    made.data_received(mock.WHOLE)
    made.data_received(answer("500 Internal Server Error", b""))
    tally.begin()
    made.data_received(mock.WHOLE)
    found = tally.result()
    assert (found.good, found.answers_in_all, found.errors) == (1, 2, {"status 500": 1})
    made.data_received(mock.WHOLE)  # after the end
    assert tally.in_all == 2


def test_percentiles_are_of_the_nearest_rank() -> None:
    ordered = [float(n) for n in range(1, 101)]
    assert (nearest_rank(ordered, 0.5), nearest_rank(ordered, 0.99), nearest_rank([7.0], 0.99)) == (50.0, 99.0, 7.0)
    assert math.isnan(nearest_rank([], 0.5))


@pytest.mark.parametrize("streamed", [False, True])
async def test_against_the_mock_on_a_socket(streamed: bool) -> None:
    server = await asyncio.get_running_loop().create_server(mock.Connection, "127.0.0.1", 0)
    async with server:
        found = await run(
            job(
                port=server.sockets[0].getsockname()[1],
                body=STREAMED_BODY if streamed else "{}",
                streamed=streamed,
                connections=4,
                warm_up_s=0.05,
                seconds=0.2,
                ack_at_once=True,
            )
        )
    assert found.good > 0
    assert found.checked > 0
    assert found.errors == {}


async def test_a_server_that_is_not_there_ends_in_time_with_errors() -> None:
    server = await asyncio.get_running_loop().create_server(mock.Connection, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    found = await run(job(port=port, connections=2, warm_up_s=0.0, seconds=0.1))
    assert found.good == 0
    assert found.errors["no connection"] >= 2


def test_a_request_carries_the_headers_and_the_length_of_its_body() -> None:
    data = request(job(body='{"text":"é"}'))
    head, body = data.split(b"\r\n\r\n", 1)
    assert head.startswith(b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:1\r\nauthorization: Bearer key")
    assert f"content-length: {len(body)}".encode() in head

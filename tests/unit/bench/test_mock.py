"""The mock provider: every request is answered once, however its bytes arrive."""

from __future__ import annotations

from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from bench import mock
from bench.answers import wrong


class Transport:
    """Keeps what was written."""

    def __init__(self) -> None:
        self.written: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.written.append(data)


def connection() -> tuple[Any, Transport]:
    made: Any = mock.Connection()
    transport = Transport()
    made.connection_made(transport)
    return made, transport


def request(body: bytes, chunked: bool = False) -> bytes:
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n"
    if chunked:
        return head + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    return head + b"Content-Length: %d\r\n\r\n%s" % (len(body), body)


STREAMED = b'{"model":"mock","stream":true}'
SPACED = b'{"model": "mock", "stream": true}'
WHOLE = b'{"model":"mock","stream":false}'


@given(
    bodies=st.lists(st.tuples(st.sampled_from([STREAMED, SPACED, WHOLE]), st.booleans()), min_size=1, max_size=5),
    cuts=st.lists(st.integers(min_value=1, max_value=60), max_size=40),
)
def test_each_request_is_answered_in_order_however_it_is_cut(bodies: list[tuple[bytes, bool]], cuts: list[int]) -> None:
    data = b"".join(request(body, chunked) for body, chunked in bodies)
    made, transport = connection()
    for cut in cuts:
        made.data_received(data[:cut])
        data = data[cut:]
    made.data_received(data)
    assert transport.written == [mock.WHOLE if body == WHOLE else mock.STREAM for body, _ in bodies]


def test_nothing_is_answered_before_the_whole_body_has_come() -> None:
    made, transport = connection()
    whole = request(WHOLE)
    made.data_received(whole[:-1])
    assert transport.written == []
    made.data_received(whole[-1:])
    assert transport.written == [mock.WHOLE]


def test_the_answers_are_what_a_client_expects_of_a_chat_completion() -> None:
    body = mock.WHOLE.split(b"\r\n\r\n", 1)[1]
    assert wrong(body, False, False, mock.CONTENT) == ""
    assert orjson.loads(body)["usage"]["completion_tokens"] == mock.TOKENS
    stream = mock.STREAM.split(b"\r\n\r\n", 1)[1]
    assert wrong(stream, True, True, mock.CONTENT) == ""
    assert stream.count(b'"content":"token "') == mock.TOKENS
    assert b'"usage":{"prompt_tokens":20' in stream

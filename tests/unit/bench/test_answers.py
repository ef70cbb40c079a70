"""What counts as a good answer."""

from __future__ import annotations

import pytest

from bench.answers import unchunked, wrong

DELTA = b'data: {"choices":[{"delta":{"content":"hi"},"finish_reason":null}]}\n\n'
STOP = b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\n'
DONE = b"data: [DONE]\n\n"


def test_a_good_stream_is_not_wrong_whatever_its_chunks() -> None:
    assert wrong(DELTA + STOP + DONE, False, True, "hi") == ""
    body = DELTA + STOP + DONE
    parts = [body[at : at + 7] for at in range(0, len(body), 7)]
    chunks = b"".join(b"%x;extension\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
    assert unchunked(chunks) == body
    assert wrong(chunks, True, True, "hi") == ""


@pytest.mark.parametrize(
    "body",
    [
        DELTA + STOP,  # no end
        DELTA + DONE,  # no finish reason
        STOP + DONE,  # no content
        DELTA + DELTA + STOP + DONE,  # too much
        DONE + DELTA + STOP,  # goes on after its end
        b'data: {"error":{"message":"no"}}\n\n' + DONE,
        b"data: {broken\n\n" + STOP + DONE,
        b"",
    ],
)
def test_streams_that_are_wrong(body: bytes) -> None:
    assert wrong(body, False, True, "hi") != ""


@pytest.mark.parametrize(
    "body",
    [
        b'{"object":"chat.completion","choices":[{"message":{"content":"ho"}}]}',
        b'{"object":"error","choices":[{"message":{"content":"hi"}}]}',
        b'{"object":"chat.completion","choices":[]}',
        b'{"error":{}}',
        b"[]",
        b"not JSON",
    ],
)
def test_bodies_that_are_wrong(body: bytes) -> None:
    assert wrong(body, False, False, "hi") != ""


def test_a_good_body_is_not_wrong() -> None:
    assert wrong(b'{"object":"chat.completion","choices":[{"message":{"content":"hi"}}]}', False, False, "hi") == ""


def test_a_chunked_body_that_is_cut_is_wrong() -> None:
    assert wrong(b"5\r\nhello\r\n", True, False, "hello") != ""

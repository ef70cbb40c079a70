"""A provider that costs as little as can be: what gateways are compared in front of.

`python -m bench.mock` listens on a free port of the loopback, which is the first line that it prints. Every POST is
answered at once, with the same chat completion of 50 tokens: one JSON body, or, where the body asks for a stream, one
event for each token, each an HTTP chunk of its own, all in one write. Usage comes with every answer, and a stream ends
with `data: [DONE]`. No answer depends on the request, so all of them are made before the first.

A bare protocol on uvloop: about 105,000 answers and 90,000 streams a second with the load on the other of two cores,
which is more than a direct response of Envoy or a server with a parser gives. `bench.provider` has latency instead.
"""

from __future__ import annotations

import asyncio
import signal
from typing import cast

import orjson
import uvloop

TOKENS = 50
PROMPT_TOKENS = 20
TOKEN = "token "
CONTENT = TOKEN * TOKENS
MODEL = "mock"

_USAGE = {"prompt_tokens": PROMPT_TOKENS, "completion_tokens": TOKENS, "total_tokens": PROMPT_TOKENS + TOKENS}
_COMMON = {"id": "chatcmpl-1", "created": 1_700_000_000, "model": MODEL}


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def _event(choices: list[object], **more: object) -> bytes:
    body = {**_COMMON, "object": "chat.completion.chunk", "choices": choices, **more}
    return _chunk(b"data: " + orjson.dumps(body) + b"\n\n")


def _delta(delta: dict[str, str], finish_reason: str | None = None) -> bytes:
    return _event([{"index": 0, "delta": delta, "finish_reason": finish_reason}])


def _whole() -> bytes:
    message = {"role": "assistant", "content": CONTENT}
    choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
    body = orjson.dumps({**_COMMON, "object": "chat.completion", "choices": choices, "usage": _USAGE})
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)


def _stream() -> bytes:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    first = _delta({"role": "assistant", "content": TOKEN})
    rest = _delta({"content": TOKEN}) * (TOKENS - 1)
    end = _delta({}, "stop") + _event([], usage=_USAGE) + _chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"
    return head + first + rest + end


WHOLE = _whole()
STREAM = _stream()


class Connection(asyncio.Protocol):
    """One client's connection; requests on it are answered in order."""

    def __init__(self) -> None:
        self.waiting = b""
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's are not of its type

    def data_received(self, data: bytes) -> None:
        if self.waiting:
            data = self.waiting + data
        while (head_end := data.find(b"\r\n\r\n")) >= 0:
            body_at = head_end + 4
            end = _request_end(data, body_at)
            if end < 0:
                break
            streamed = data.find(b'"stream":true', body_at, end) >= 0 or data.find(b'"stream": true', body_at, end) >= 0
            self.transport.write(STREAM if streamed else WHOLE)
            data = data[end:]
        self.waiting = data


def _request_end(data: bytes, body_at: int) -> int:
    """Where the request that begins `data` ends; -1 while it has not all come."""
    head = data[:body_at].lower()
    at = head.find(b"content-length:")
    if at >= 0:
        end = body_at + int(head[at + 15 : head.index(b"\r\n", at)])
        return end if end <= len(data) else -1
    if b"transfer-encoding:" in head:
        last = data.find(b"0\r\n\r\n", body_at)
        return last + 5 if last >= 0 else -1
    return body_at


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Connection, "127.0.0.1", 0)
    ended = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    print(server.sockets[0].getsockname()[1], flush=True)
    await ended.wait()


if __name__ == "__main__":
    uvloop.run(_serve())

"""A provider to measure against: OpenAI's chat completions over HTTP/1.1, as cheap as a process can be.

`python -m bench.provider PORT LATENCY_S TOKENS` answers every POST after LATENCY_S with TOKENS chunks (streamed) or one
body, and prints `ready` once it listens. It parses no more of HTTP than our own client sends: it exists to be measured
against, not to be tested with.
"""

from __future__ import annotations

import asyncio
import sys
from typing import cast

import uvloop

CHUNK = (
    b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"mock",'
    b'"choices":[{"index":0,"delta":{"content":"token "},"finish_reason":null}]}\n\n'
)
LAST = (
    b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"mock",'
    b'"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
    b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"mock","choices":[],'
    b'"usage":{"prompt_tokens":20,"completion_tokens":%d,"total_tokens":%d}}\n\ndata: [DONE]\n\n'
)
STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def chunked(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


class Connection(asyncio.Protocol):
    """One client's connection; requests on it are answered in order."""

    def __init__(self, latency_s: float, tokens: int) -> None:
        self.latency_s = latency_s
        self.buffer = b""
        self.transport: asyncio.Transport
        self.stream = STREAM_HEAD + chunked(CHUNK * tokens + LAST % (tokens, tokens + 20)) + b"0\r\n\r\n"
        body = (
            b'{"id":"c","object":"chat.completion","created":1,"model":"mock","choices":[{"index":0,"message":'
            b'{"role":"assistant","content":"%s"},"finish_reason":"stop"}],"usage":{"prompt_tokens":20,'
            b'"completion_tokens":%d,"total_tokens":%d}}'
        ) % (b"token " * tokens, tokens, tokens + 20)
        self.unary = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (
            len(body),
            body,
        )

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's are not of its type

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head = self.buffer[:end].lower()
            at = head.find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self.buffer) < end + 4 + length:
                return
            body = self.buffer[end + 4 : end + 4 + length]
            self.buffer = self.buffer[end + 4 + length :]
            streamed = b'"stream":true' in body or b'"stream": true' in body
            asyncio.get_running_loop().call_later(self.latency_s, self.answer, self.stream if streamed else self.unary)

    def answer(self, data: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(data)


async def serve(port: int, latency_s: float, tokens: int) -> None:
    server = await asyncio.get_running_loop().create_server(
        lambda: Connection(latency_s, tokens), "127.0.0.1", port, backlog=4096
    )
    print("ready", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])))

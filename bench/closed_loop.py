"""A closed-loop load generator for HTTP/1.1: so many callers, each sending its next request when it has its answer.

Runs as a process of its own (`python -m bench.closed_loop`, job as JSON on stdin, result as JSON on stdout), so that
its work is not the work of what it measures. `bench.load` is the open loop; this one finds the rate that a server can
do.

An answer counts if it is whole: status 200, its length or its last chunk reached, and, if streamed, `data: [DONE]` in
it. One in `CHECK_EVERY` is read as a client would and compared with what the provider said. Everything else is an error
of a named kind and is not in the rate. About 10 µs of CPU an answer; latency is from the write to the last byte.
"""

from __future__ import annotations

import asyncio
import math
import sys
import time
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

import orjson
import uvloop

from bench.answers import wrong

CHECK_EVERY = 50
#: A server that answers at once with an error, or closes, would otherwise be asked as fast as it can refuse.
PAUSE_AFTER_ERROR_S = 0.02
ERROR_EXCERPT = 500
#: From linux/tcp.h; Python has no name for it on every platform.
TCP_LEVEL, TCP_QUICKACK = 6, 12


@dataclass
class Job:
    """What to send, for how long, and what must come back. Seconds."""

    port: int
    path: str
    headers: dict[str, str]
    body: str
    streamed: bool
    content: str
    connections: int = 32
    warm_up_s: float = 2.0
    seconds: float = 8.0
    #: A line that the head of every good answer has, in lower case; empty: none.
    head_line: str = ""
    #: Acknowledge every segment at once instead of after up to 40 ms, as Linux may: shows what of a server's pace is
    #: Nagle's algorithm waiting for us.
    ack_at_once: bool = False


@dataclass
class Result:
    """What came back after the warm-up; `answers_in_all` has those of the warm-up too. Latencies in seconds."""

    good: int = 0
    elapsed_s: float = 0.0
    p50_s: float = math.nan
    p99_s: float = math.nan
    answers_in_all: int = 0
    checked: int = 0
    #: Of the load generator itself.
    cpu_s: float = 0.0
    errors: dict[str, int] = field(default_factory=dict)
    first_error: str = ""

    @property
    def per_second(self) -> float:
        return self.good / self.elapsed_s if self.elapsed_s else 0.0


class Tally:
    """What the callers of a job have seen so far."""

    def __init__(self, job: Job, clock: Callable[[], float] = time.perf_counter) -> None:
        self.job = job
        self.clock = clock
        self.latencies = array("d")
        self.errors: dict[str, int] = {}
        self.first_error = ""
        self.in_all = 0
        self.checked = 0
        self.began = clock()
        self.ended = False

    def begin(self) -> None:
        """The warm-up is over: what follows counts. Its errors stay."""
        self.latencies = array("d")
        self.began = self.clock()

    def error(self, kind: str, detail: bytes | str) -> None:
        if self.ended:
            return
        self.errors[kind] = self.errors.get(kind, 0) + 1
        if not self.first_error:
            text = detail if isinstance(detail, str) else detail.decode(errors="replace")
            self.first_error = f"{kind}: {text[:ERROR_EXCERPT]}"

    def result(self) -> Result:
        self.ended = True
        ordered = sorted(self.latencies)
        return Result(
            good=len(ordered),
            elapsed_s=self.clock() - self.began,
            p50_s=nearest_rank(ordered, 0.50),
            p99_s=nearest_rank(ordered, 0.99),
            answers_in_all=self.in_all,
            checked=self.checked,
            errors=self.errors,
            first_error=self.first_error,
        )


def nearest_rank(ordered: list[float], share: float) -> float:
    """The value that `share` of all are at or below; NaN for none."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else math.nan


class Caller(asyncio.Protocol):
    """One caller on one kept-alive connection. `on_lost` is told, once, when it has none any more."""

    def __init__(self, tally: Tally, request: bytes, on_lost: Callable[[], object]) -> None:
        self.tally = tally
        self.request = request
        self.on_lost = on_lost
        self.streamed = tally.job.streamed
        self.ack_at_once = tally.job.ack_at_once
        self.head_line = tally.job.head_line.encode()
        self.buffer = bytearray()
        self.body_at = 0
        #: Of the body; -1: it comes in chunks.
        self.length = 0
        self.sent_at = 0.0
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's are not of its type
        self.send()

    def send(self) -> None:
        self.sent_at = self.tally.clock()
        self.transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        if self.ack_at_once:  # the kernel forgets it again
            self.transport.get_extra_info("socket").setsockopt(TCP_LEVEL, TCP_QUICKACK, 1)
        whole: bytes | bytearray = data
        if self.buffer:
            self.buffer += data
            whole = self.buffer
        if not self.body_at:
            end = whole.find(b"\r\n\r\n")
            if end < 0:
                self.keep(whole)
                return
            self.body_at = end + 4
            self.length = body_length(bytes(whole[:end]).lower())
        if self.length >= 0:
            missing = self.body_at + self.length - len(whole)
            done = missing <= 0
        else:
            done = whole.endswith(b"\r\n0\r\n\r\n")
        if not done:
            self.keep(whole)
            return
        body_at, self.body_at = self.body_at, 0
        if self.buffer:
            self.buffer = bytearray()
        self.answered(whole, body_at)

    def keep(self, whole: bytes | bytearray) -> None:
        if whole is not self.buffer:
            self.buffer += whole

    def answered(self, whole: bytes | bytearray, body_at: int) -> None:
        tally = self.tally
        if tally.ended:
            return
        latency_s = tally.clock() - self.sent_at
        if not whole.startswith(b"HTTP/1.1 200"):
            tally.error(f"status {bytes(whole[9:12]).decode(errors='replace')}", bytes(whole[body_at:]))
            self.pause()
            return
        if self.streamed and whole.find(b"data: [DONE]", body_at) < 0:
            tally.error("no [DONE]", bytes(whole[-ERROR_EXCERPT:]))
            self.pause()
            return
        if self.head_line and self.head_line not in bytes(whole[:body_at]).lower():
            tally.error("no " + tally.job.head_line, bytes(whole[:body_at]))
            self.pause()
            return
        if tally.in_all % CHECK_EVERY == 0:
            tally.checked += 1
            if fault := wrong(bytes(whole[body_at:]), self.length < 0, self.streamed, tally.job.content):
                tally.error("wrong answer", fault)
                self.pause()
                return
        tally.in_all += 1
        tally.latencies.append(latency_s)
        self.send()

    def pause(self) -> None:
        asyncio.get_running_loop().call_later(PAUSE_AFTER_ERROR_S, self.resume)

    def resume(self) -> None:
        if not self.transport.is_closing():
            self.send()

    def connection_lost(self, exc: Exception | None) -> None:
        self.tally.error("connection lost", str(exc or "closed by the server"))
        self.on_lost()


def body_length(head: bytes) -> int:
    """What a lower-case head says of its body: bytes, or -1 for chunks."""
    at = head.find(b"content-length:")
    if at < 0:
        return -1
    return int(head[at + 15 :].split(b"\r\n", 1)[0])


def request(job: Job) -> bytes:
    """The one request that every caller of a job sends."""
    body = job.body.encode()
    head = f"POST {job.path} HTTP/1.1\r\nhost: 127.0.0.1:{job.port}\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in job.headers.items())
    head += f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def run(job: Job) -> Result:
    """Opens the callers, warms up, counts, and leaves what is under way. Takes `warm_up_s` + `seconds`."""
    tally = Tally(job)
    once = request(job)
    transports: set[asyncio.BaseTransport] = set()
    tasks: set[asyncio.Task[None]] = set()
    loop = asyncio.get_running_loop()

    def open_one(pause_s: float = 0.0) -> None:
        if not tally.ended:
            tasks.add(task := loop.create_task(connect(pause_s)))
            task.add_done_callback(tasks.discard)

    async def connect(pause_s: float) -> None:
        await asyncio.sleep(pause_s)
        try:
            transport, _ = await loop.create_connection(
                lambda: Caller(tally, once, lambda: open_one(PAUSE_AFTER_ERROR_S)), "127.0.0.1", job.port
            )
        except OSError as error:
            tally.error("no connection", str(error))
            open_one(PAUSE_AFTER_ERROR_S)
        else:
            transports.add(transport)

    for _ in range(job.connections):
        open_one()
    await asyncio.sleep(job.warm_up_s)
    tally.begin()
    await asyncio.sleep(job.seconds)
    result = tally.result()
    for task in tasks:
        task.cancel()
    for transport in transports:
        cast(asyncio.Transport, transport).abort()
    return result


if __name__ == "__main__":
    found = uvloop.run(run(Job(**orjson.loads(sys.stdin.buffer.read()))))
    found.cpu_s = time.process_time()
    sys.stdout.buffer.write(orjson.dumps(found))

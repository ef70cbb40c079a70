"""An open-loop load generator for HTTP/1.1: requests leave when they are due, answered or not.

Runs as a process of its own (`python -m bench.load`, job as JSON on stdin, result as JSON on stdout), so that its work
is not the work of what it measures. Latency counts from when a request was *due*, not from when it could be
sent: a stall of the server is in the figures (no coordinated omission).
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import deque
from dataclasses import dataclass, field
from typing import cast

import orjson
import uvloop


@dataclass
class Job:
    """What to send. `bodies` are sent in turn, each once; a GET has none and is sent `count` times."""

    port: int
    method: str
    path: str
    headers: dict[str, str]
    rate_per_second: float
    count: int
    bodies: list[str] = field(default_factory=list)
    connections_max: int = 512
    drain_s: float = 30.0


@dataclass
class Result:
    """What came back: seconds from due to answered for each 2xx, and how many of every status."""

    latencies_s: list[float]
    statuses: dict[str, int]
    elapsed_s: float
    first_error: str = ""


class Connection(asyncio.Protocol):
    """One kept-alive connection with one request at a time on it."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.due = 0.0
        self.head: bytes | None = None
        self.buffer = bytearray()
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's are not of its type

    def send(self, due: float, data: bytes) -> None:
        self.due = due
        self.transport.write(data)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = bytes(self.buffer[:end]).lower()
        at = head.find(b"content-length:")
        if at >= 0:
            length = int(head[at + 15 :].split(b"\r\n", 1)[0])
            if len(self.buffer) < end + 4 + length:
                return
        elif not self.buffer.endswith(b"0\r\n\r\n"):
            return
        status = head[9:12].decode()
        body = bytes(self.buffer[end + 4 :])
        self.buffer.clear()
        self.run.answered(self, status, body)

    def connection_lost(self, exc: Exception | None) -> None:
        self.run.lost(self)


class Run:
    """One job under way."""

    def __init__(self, job: Job) -> None:
        self.job = job
        head = f"{job.method} {job.path} HTTP/1.1\r\nhost: 127.0.0.1:{job.port}\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in job.headers.items())
        self.head = head.encode()
        self.idle: list[Connection] = []
        self.busy: set[Connection] = set()
        self.waiting: deque[tuple[float, bytes]] = deque()
        self.opening = 0
        self.latencies: list[float] = []
        self.statuses: dict[str, int] = {}
        self.first_error = ""
        self.done = asyncio.Event()
        self.sent = 0
        self.openings: set[asyncio.Future[None]] = set()
        self.failure: BaseException | None = None

    def request(self, index: int) -> bytes:
        if not self.job.bodies:
            return self.head + b"\r\n"
        body = self.job.bodies[index].encode()
        return self.head + b"content-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body) + body

    async def open(self) -> None:
        try:
            _, connection = await asyncio.get_running_loop().create_connection(
                lambda: Connection(self), "127.0.0.1", self.job.port
            )
        except OSError as error:
            self.count("connect", str(error))
            return
        finally:
            self.opening -= 1
        self.free(connection)

    def opened(self, task: asyncio.Future[None]) -> None:
        self.openings.discard(task)
        if not task.cancelled() and (error := task.exception()):
            self.failure = self.failure or error
            self.done.set()

    def free(self, connection: Connection) -> None:
        self.busy.discard(connection)
        if self.waiting:
            due, data = self.waiting.popleft()
            self.busy.add(connection)
            connection.send(due, data)
        else:
            self.idle.append(connection)

    def offer(self, due: float, data: bytes) -> None:
        if self.idle:
            connection = self.idle.pop()
            self.busy.add(connection)
            connection.send(due, data)
            return
        self.waiting.append((due, data))
        if len(self.busy) + self.opening < self.job.connections_max:
            self.opening += 1
            self.openings.add(task := asyncio.ensure_future(self.open()))
            task.add_done_callback(self.opened)

    def count(self, status: str, body: str = "") -> None:
        self.statuses[status] = self.statuses.get(status, 0) + 1
        if not status.startswith("2") and not self.first_error:
            self.first_error = f"{status}: {body[:500]}"
        if sum(self.statuses.values()) >= self.job.count:
            self.done.set()

    def answered(self, connection: Connection, status: str, body: bytes) -> None:
        if status.startswith("2"):
            self.latencies.append(time.perf_counter() - connection.due)
        self.count(status, body.decode(errors="replace") if not status.startswith("2") else "")
        self.free(connection)

    def lost(self, connection: Connection) -> None:
        if connection in self.busy:
            self.busy.discard(connection)
            self.count("lost")
        elif connection in self.idle:
            self.idle.remove(connection)

    async def run(self) -> Result:
        start = time.perf_counter()
        interval_s = 1 / self.job.rate_per_second
        while self.sent < self.job.count and not self.failure:
            now = time.perf_counter()
            while self.sent < self.job.count and (due := start + self.sent * interval_s) <= now:
                self.offer(due, self.request(self.sent))
                self.sent += 1
            if self.sent < self.job.count:
                await asyncio.sleep(max(0.0, start + self.sent * interval_s - time.perf_counter()))
        try:
            await asyncio.wait_for(self.done.wait(), self.job.drain_s)
        except TimeoutError:
            self.count("unanswered")
        if self.failure:
            raise self.failure
        return Result(self.latencies, self.statuses, time.perf_counter() - start, self.first_error)


if __name__ == "__main__":
    result = uvloop.run(Run(Job(**orjson.loads(sys.stdin.buffer.read()))).run())
    sys.stdout.buffer.write(orjson.dumps(result))

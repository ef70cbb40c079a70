"""Plain HTTP on a real socket: requests as they may arrive, answers as they must leave, and every way a call ends."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from google.api.httpbody_pb2 import HttpBody
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.inference.openai.errors import render
from services.mesh.errors import MeshError
from services.mesh.http import HttpFront, HttpOptions
from services.mesh.http import front as front_module
from services.mesh.http.exchange import STATUS_KEY, Exchange, timeout_s

JSON, SSE = "application/json", "text/event-stream"
WAIT_S = 10
REQUEST = b"POST /v1/x HTTP/1.1\r\nhost: a\r\nContent-Type: application/json\r\ncontent-length: 4\r\n\r\nbody"


@dataclass
class Handler:
    """What the test wants of the one method that is served."""

    parts: list[tuple[str, bytes]] = field(default_factory=lambda: [(JSON, b"{}")])
    metadata: tuple[tuple[str, str], ...] = ()
    hang: bool = False
    requests: list[tuple[HttpBody, dict[str, str]]] = field(default_factory=list)
    written: int = 0
    began: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    go: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self, message: HttpBody, exchange: Exchange) -> None:
        self.requests.append((message, dict(exchange.invocation_metadata())))
        exchange.set_trailing_metadata((("x-request-id", "r"),))
        self.began.set()
        try:
            if self.metadata:
                await exchange.send_initial_metadata(self.metadata)
            for kind, data in self.parts:
                await exchange.write(HttpBody(content_type=kind, data=data))
                self.written += 1
            if self.hang:
                await self.go.wait()
        finally:
            self.ended.set()


@dataclass
class World:
    """A front with its one handler."""

    front: HttpFront
    handler: Handler
    up: list[bool]

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.front.port)
        try:
            yield reader, writer
        finally:
            writer.close()

    async def ask(self, *pieces: bytes) -> bytes:
        """All that comes until the front closes the connection."""
        async with self.connection() as (reader, writer):
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
            return await asyncio.wait_for(reader.read(), WAIT_S)


def rendered(error: MeshError, metadata: Mapping[str, str]) -> tuple[HttpBody, tuple[tuple[str, str], ...]]:
    """As a service renders its errors."""
    said = render(error, metadata.get("x-request-id", "none"), started=False)
    return said.message, said.metadata


@asynccontextmanager
async def running(**options: Any) -> AsyncIterator[World]:
    handler, up = Handler(), [True]
    front = HttpFront({"/v1/x": handler.serve}, HttpOptions(**options), lambda: up[0], {"/v1/x": rendered})
    await front.start()
    try:
        yield World(front, handler, up)
    finally:
        await front.drain(0)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with running(body_bytes_max=1000, head_bytes_max=500) as started:
        yield started


def closing(request: bytes = REQUEST) -> bytes:
    return request.replace(b"host: a\r\n", b"host: a\r\nconnection: close\r\n")


async def answer(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Head and body of one answer with a length."""
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), WAIT_S)
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    return head, await asyncio.wait_for(reader.readexactly(length), WAIT_S)


# What comes in


async def test_a_connection_serves_one_request_after_the_other(world: World) -> None:
    async with world.connection() as (reader, writer):
        for _ in range(3):
            writer.write(REQUEST)
            head, body = await answer(reader)
            assert head.startswith(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-request-id: r\r\n")
            assert body == b"{}"
    assert [(message.data, message.content_type) for message, _ in world.handler.requests] == [(b"body", JSON)] * 3
    assert world.handler.requests[0][1]["host"] == "a"


@given(cuts=st.lists(st.integers(1, len(REQUEST) - 1), max_size=6))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_a_request_may_come_in_any_pieces(cuts: list[int]) -> None:
    request = closing()
    edges = [0, *sorted(set(cuts)), len(request)]
    async with running() as world:
        said = await world.ask(*(request[start:end] for start, end in itertools.pairwise(edges)))
    assert said.startswith(b"HTTP/1.1 200 OK")
    assert [message.data for message, _ in world.handler.requests] == [b"body"]


async def test_a_body_in_chunks_is_one_body(world: World) -> None:
    head = b"POST /v1/x HTTP/1.1\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n"
    said = await world.ask(head, b"3\r\nabc\r\n", b"2\r\nde\r\n0\r\n\r\n")
    assert said.endswith(b"\r\n\r\n{}")
    assert world.handler.requests[0][0].data == b"abcde"


async def test_who_wants_to_be_told_to_go_on_is_told(world: World) -> None:
    head = REQUEST.replace(b"host: a\r\n", b"host: a\r\nconnection: close\r\nexpect: 100-continue\r\n")
    said = await world.ask(head)
    assert said.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n")


@pytest.mark.parametrize(
    ("request_", "status", "words"),
    [
        (b"POST /v1/x HTTP/1.1\r\ncontent-length: 1001\r\n\r\n", 413, b"more than 1000 bytes"),
        (
            b"POST /v1/x HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n3e9\r\n" + b"x" * 1001 + b"\r\n",
            413,
            b"more than 1000 bytes",
        ),
        (b"POST /v1/x HTTP/1.1\r\na: " + b"x" * 501 + b"\r\ncontent-length: 0\r\n\r\n", 431, b"more than 500 bytes"),
        (b"POST /" + b"x" * 501 + b" HTTP/1.1\r\ncontent-length: 0\r\n\r\n", 431, b"more than 500 bytes"),
        (b"POST /v1/y HTTP/1.1\r\ncontent-length: 0\r\n\r\n", 404, b"Served are POST /v1/x."),
        (b"GET /v1/x HTTP/1.1\r\n\r\n", 404, b"Served are POST /v1/x."),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, b"no HTTP/1.1 request"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, b""),
        (b"POST /v1/x HTTP/1.1\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", 400, b""),
        (b"POST /v1/x HTTP/1.1\r\ncontent-length: 4\r\ncontent-length: 5\r\n\r\nbody", 400, b""),
        (b"GET /v1/x HTTP/1.1\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n", 404, b""),
    ],
)
async def test_what_is_refused_is_told_why_and_the_connection_ends(
    world: World, request_: bytes, status: int, words: bytes
) -> None:
    said = await world.ask(request_)
    assert said.startswith(b"HTTP/1.1 %d " % status)
    assert b"connection: close\r\n" in said
    assert words in said
    assert world.handler.requests == []


def openai_error(said: bytes) -> tuple[bytes, dict[str, Any]]:
    """Head of an answer, and its error, which is all that its body has."""
    head, _, body = said.partition(b"\r\n\r\n")
    assert b"content-type: application/json\r\n" in head
    assert b"content-length: %d\r\n" % len(body) in head + b"\r\n"
    (error,) = json.loads(body).values()
    assert error.keys() == {"message", "type", "param", "code"}
    return head, error


HALF = b"POST /v1/x HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n258\r\n" + b"x" * 600
REST = b"\r\n0\r\n\r\n"


async def test_bodies_of_all_connections_have_one_limit() -> None:
    async with running(body_bytes_max=1000, held_bytes_max=1500) as world, world.connection() as (_, first):
        async with world.connection() as (_, second):
            for writer in (first, second):
                writer.write(HALF)
                await _until(lambda: world.front.held_bytes in (600, 1200))
            await _until(lambda: world.front.held_bytes == 1200)
            # By what it announces, and by what comes.
            for request in (
                b"POST /v1/x HTTP/1.1\r\nx-request-id: r7\r\nexpect: 100-continue\r\ncontent-length: 301\r\n\r\n",
                HALF.replace(b" HTTP/1.1\r\n", b"?q HTTP/1.1\r\nx-request-id: r7\r\n"),
            ):
                head, error = openai_error(await world.ask(request))
                assert head.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
                assert b"retry-after: 1\r\n" in head
                assert b"connection: close" in head
                assert b"x-request-id: r7\r\n" in head
                assert error["code"] == "overloaded"
                assert "1500 bytes" in error["message"]
            assert world.front.held_bytes == 1200
            # What fits is served still.
            assert (await world.ask(closing())).startswith(b"HTTP/1.1 200 OK\r\n")
        # Who leaves makes room, and so does who is served.
        await _until(lambda: world.front.held_bytes == 600)
        first.write(REST)
        await _until(lambda: world.front.held_bytes == 0)
        await asyncio.wait_for(world.handler.ended.wait(), WAIT_S)
    assert world.front.held_bytes == 0


async def test_a_refused_body_makes_room() -> None:
    async with running(body_bytes_max=500, held_bytes_max=900) as world:
        for _ in range(3):
            head, error = openai_error(await world.ask(HALF))
            assert head.startswith(b"HTTP/1.1 413 ")
            assert error["code"] == "request_too_large"
            await _until(lambda: world.front.held_bytes == 0)


async def test_the_largest_body_always_fits_when_it_is_alone() -> None:
    async with running(body_bytes_max=1000, held_bytes_max=10) as world:
        body = closing(REQUEST).replace(b"content-length: 4\r\n\r\nbody", b"content-length: 1000\r\n\r\n" + b"x" * 1000)
        assert (await world.ask(body)).startswith(b"HTTP/1.1 200 OK\r\n")


async def _until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not holds():
            await asyncio.sleep(0)


async def test_who_asks_before_they_were_answered_gets_nothing_more(world: World) -> None:
    world.handler.hang = True
    async with world.connection() as (reader, writer):
        writer.write(REQUEST)
        await world.handler.began.wait()
        writer.write(REQUEST)
        assert await asyncio.wait_for(reader.read(), WAIT_S) == b""
    await asyncio.wait_for(world.handler.ended.wait(), WAIT_S)
    assert len(world.handler.requests) == 1


async def test_a_call_that_is_dropped_before_it_began_leaves_nothing(world: World) -> None:
    assert await world.ask(REQUEST + REQUEST) == b""
    assert world.handler.requests == []
    assert not world.front.tasks


@pytest.mark.parametrize("up", [True, False])
async def test_a_probe_is_told_what_health_says(world: World, up: bool) -> None:
    world.up[0] = up
    async with world.connection() as (reader, writer):
        for _ in range(2):
            writer.write(b"GET /healthz HTTP/1.1\r\n\r\n")
            head, body = await answer(reader)
            assert (head[9:12], body) == ((b"200", b"SERVING\n") if up else (b"503", b"NOT_SERVING\n"))


async def test_a_request_that_does_not_come_whole_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(front_module, "SWEEP_S", 0.02)
    async with running(receive_s=0.05) as world:
        assert await world.ask(REQUEST[:-1]) == b""


async def test_a_connection_without_requests_ends_but_not_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(front_module, "SWEEP_S", 0.02)
    async with running(idle_s=0.05, receive_s=0.05) as world:
        world.handler.hang = True
        async with world.connection() as (reader, writer):
            writer.write(REQUEST)
            await world.handler.began.wait()
            assert await world.ask() == b""  # another one, idle
            world.handler.go.set()
            assert (await answer(reader))[1] == b"{}"
            assert await asyncio.wait_for(reader.read(), WAIT_S) == b""  # and then it is idle too


# What goes out


async def test_several_parts_leave_in_chunks(world: World) -> None:
    world.handler.parts = [(JSON, b"abc"), (JSON, b"de"), (JSON, b"f")]
    head, _, body = (await world.ask(closing())).partition(b"\r\n\r\n")
    assert b"transfer-encoding: chunked" in head
    assert b"content-length" not in head
    assert body == b"3\r\nabc\r\n2\r\nde\r\n1\r\nf\r\n0\r\n\r\n"


async def test_an_event_leaves_when_it_is_written(world: World) -> None:
    world.handler.parts, world.handler.hang = [(SSE, b"data: 1\n\n")], True
    async with world.connection() as (reader, writer):
        writer.write(REQUEST)
        first = await asyncio.wait_for(reader.readuntil(b"data: 1\n\n\r\n"), WAIT_S)
        assert b"content-type: text/event-stream\r\n" in first
        assert b"transfer-encoding: chunked\r\n" in first
        world.handler.go.set()
        assert await asyncio.wait_for(reader.readexactly(5), WAIT_S) == b"0\r\n\r\n"
        writer.write(REQUEST)  # the connection goes on
        await asyncio.wait_for(reader.readuntil(b"0\r\n\r\n"), WAIT_S)


async def test_headers_in_the_content_type_become_headers(world: World) -> None:
    world.handler.parts = [(f'{JSON}; promptmesh="x-a=1|x-b=gpt=4|x-c="', b"{}")]
    head, _, _ = (await world.ask(closing())).partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    assert {b"content-type: application/json", b"x-a: 1", b"x-b: gpt=4", b"x-c: "} <= set(lines)


async def test_what_follows_a_body_is_no_header(world: World) -> None:
    head = b"POST /v1/x HTTP/1.1\r\nconnection: close\r\nauthorization: mine\r\ntransfer-encoding: chunked\r\n\r\n"
    await world.ask(head + b"1\r\na\r\n0\r\nauthorization: another's\r\n\r\n")
    assert world.handler.requests[0][1]["authorization"] == "mine"


async def test_a_header_without_an_end_is_refused(world: World) -> None:
    said = await world.ask(b"POST /v1/x HTTP/1.1\r\na: ", *[b"x" * 100] * 6)
    assert said.startswith(b"HTTP/1.1 431 ")


async def test_a_name_with_a_line_break_makes_no_header(world: World) -> None:
    world.handler.parts = [(f'{JSON}; promptmesh="x-a=1|x-b\r\nset-cookie: a=b"', b"{}")]
    head, _, _ = (await world.ask(closing())).partition(b"\r\n\r\n")
    assert b"x-a: 1" in head.split(b"\r\n")
    assert b"set-cookie" not in head


async def test_a_line_break_in_a_value_makes_no_header(world: World) -> None:
    world.handler.parts = [(f'{JSON}; promptmesh="x-a=1\r\nset-cookie: a=b"', b"{}")]
    head, _, _ = (await world.ask(closing())).partition(b"\r\n\r\n")
    assert b"x-a: 1set-cookie: a=b" in head.split(b"\r\n")


@pytest.mark.parametrize(
    ("status", "line"),
    [("401", b"401 Unauthorized"), ("404", b"404 Not Found"), ("299", b"200 OK"), ("499", b"499 ")],
)
async def test_an_error_leaves_with_its_status_and_headers(world: World, status: str, line: bytes) -> None:
    world.handler.metadata = ((STATUS_KEY, status), ("retry-after", "3"))
    head, _, body = (await world.ask(closing())).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 " + line + b"\r\n")
    assert b"retry-after: 3" in head
    assert (b"www-authenticate: Bearer" in head) == (status == "401")
    assert STATUS_KEY.encode() not in head
    assert body == b"{}"


async def test_nothing_written_is_an_empty_answer(world: World) -> None:
    world.handler.parts = []
    assert (await world.ask(closing())).endswith(b"content-length: 0\r\nconnection: close\r\n\r\n")


async def test_who_does_not_read_holds_the_handler_back(world: World) -> None:
    world.handler.parts = [(SSE, b"x" * 100_000)] * 1000
    async with world.connection() as (reader, writer):
        writer.write(REQUEST)
        await world.handler.began.wait()
        seen = -1
        while seen != world.handler.written:  # until it stands still: the sockets' buffers are full
            seen = world.handler.written
            await asyncio.sleep(0.05)
        assert seen < 1000
        size = 0
        while not world.handler.ended.is_set():
            size += len(await asyncio.wait_for(reader.read(1 << 20), WAIT_S))
    assert world.handler.written == 1000


# How calls end


@pytest.mark.parametrize("parts", [[], [(SSE, b"data: 1\n\n")]])
async def test_who_leaves_ends_their_call(world: World, parts: list[tuple[str, bytes]]) -> None:
    world.handler.parts, world.handler.hang = parts, True
    async with world.connection() as (_, writer):
        writer.write(REQUEST)
        await world.handler.began.wait()
        assert not world.handler.ended.is_set()
    await asyncio.wait_for(world.handler.ended.wait(), WAIT_S)


async def test_a_deadline_that_passes_ends_the_call(world: World) -> None:
    world.handler.parts, world.handler.hang = [], True
    said = await world.ask(REQUEST.replace(b"host: a\r\n", b"grpc-timeout: 50m\r\n"))
    head, error = openai_error(said)
    assert head.startswith(b"HTTP/1.1 504 Gateway Timeout\r\n")
    assert error["code"] == "deadline_too_short"
    assert "deadline has passed" in error["message"]
    assert world.handler.ended.is_set()


async def test_an_answer_that_breaks_off_has_no_last_chunk(world: World) -> None:
    world.handler.parts, world.handler.hang = [(SSE, b"data: 1\n\n")], True
    said = await world.ask(REQUEST.replace(b"host: a\r\n", b"grpc-timeout: 50m\r\n"))
    assert said.endswith(b"data: 1\n\n\r\n")


async def test_a_handler_that_fails_is_cut_off(world: World) -> None:
    world.handler.metadata = ((STATUS_KEY, "not a number"),)
    world.handler.parts = [(JSON, b"a")]
    world.front.methods = {"/v1/x": _fail}
    assert await world.ask(REQUEST) == b""


async def _fail(message: HttpBody, exchange: Exchange) -> None:
    raise RuntimeError("no pipeline stands before it")


async def test_a_drain_lets_calls_end_and_takes_no_more() -> None:
    async with running() as world:
        world.handler.hang = True
        async with world.connection() as (reader, writer), world.connection() as (idle_reader, _):
            writer.write(REQUEST)
            await world.handler.began.wait()
            drain = asyncio.create_task(world.front.drain(WAIT_S))
            assert await asyncio.wait_for(idle_reader.read(), WAIT_S) == b""
            with pytest.raises(OSError, match=r"refused|Connect"):
                await asyncio.open_connection("127.0.0.1", world.front.port)
            world.handler.go.set()
            head, body = await answer(reader)
            assert b"connection: close\r\n" in head
            assert body == b"{}"
            assert await asyncio.wait_for(reader.read(), WAIT_S) == b""
            await asyncio.wait_for(drain, WAIT_S)


async def test_a_drain_that_takes_too_long_cuts_calls_off() -> None:
    async with running() as world:
        world.handler.hang = True
        async with world.connection() as (reader, writer):
            writer.write(REQUEST)
            await world.handler.began.wait()
            await world.front.drain(0.01)
            assert await asyncio.wait_for(reader.read(), WAIT_S) == b""
        await asyncio.wait_for(world.handler.ended.wait(), WAIT_S)


async def test_a_drain_ends_a_call_whose_caller_does_not_read() -> None:
    async with running() as world:
        world.handler.parts = [(SSE, b"x" * 100_000)] * 1000
        async with world.connection() as (_, writer):
            writer.write(REQUEST)
            await world.handler.began.wait()
            await world.front.drain(0.05)
            assert world.handler.ended.is_set()
            assert world.handler.written < 1000
            assert not world.front.tasks


async def test_an_address_that_is_taken_is_named(world: World) -> None:
    other = HttpFront({}, HttpOptions(listen=f"127.0.0.1:{world.front.port}"), lambda: True)
    with pytest.raises(OSError, match=f"PROMPTMESH_HTTP_LISTEN=127.0.0.1:{world.front.port} cannot be listened on"):
        await other.start()


@pytest.mark.parametrize(
    ("said", "seconds"),
    [("250m", 0.25), ("9S", 9.0), ("1H", 3600.0), ("7u", 7e-6), ("", None), ("m", None), ("12", None), ("-1S", None),
     ("123456789S", None), ("٣S", None)],
)  # fmt: skip
def test_a_timeout_is_read_as_grpc_writes_it(said: str, seconds: float | None) -> None:
    assert timeout_s(said) == seconds

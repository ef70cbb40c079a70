"""One connection without a network: what its timer does, and what it makes of a loop that stood still."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from services.inference.providers.connection import STALL_GRACE_S, Connection
from services.inference.providers.endpoint import Origin, Timeouts
from services.mesh.errors import MeshError
from tests.unit.inference.providers.raw_server import STREAM_HEAD, event, framed, whole

TIMEOUTS = Timeouts(connect_s=1, first_token_s=10, idle_s=5, total_s=100)


class Transport:
    """Takes what is written, and remembers what was asked of it."""

    def __init__(self) -> None:
        self.written = b""
        self.aborted = self.paused = False
        self.pending = 0

    def write(self, data: bytes) -> None:
        self.written += data

    def abort(self) -> None:
        self.aborted = True

    def is_closing(self) -> bool:
        return self.aborted

    def get_write_buffer_size(self) -> int:
        return self.pending

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False


class Timers:
    """A loop whose clock is turned by hand."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.now = 1000.0
        self.armed: list[tuple[float, Any]] = []
        self._loop = loop

    def time(self) -> float:
        return self.now

    def create_future(self) -> asyncio.Future[None]:
        return self._loop.create_future()

    def call_at(self, when: float, callback: Any) -> Any:
        entry = (when, callback)
        self.armed.append(entry)
        timers = self

        class Handle:
            def cancel(self) -> None:
                if entry in timers.armed:
                    timers.armed.remove(entry)

        return Handle()

    def advance(self, seconds: float) -> None:
        """Fires what is due, as late as it is."""
        self.now += seconds
        for entry in [one for one in self.armed if one[0] <= self.now]:
            if entry in self.armed:
                self.armed.remove(entry)
                entry[1]()


class World:
    def __init__(self) -> None:
        self.freed: list[Connection] = []
        self.gone: list[Connection] = []
        self.timers = Timers(asyncio.get_running_loop())
        self.transport = Transport()
        self.connection = Connection(Origin("h", 1, False), self.freed.append, self.gone.append)
        self.connection._loop = cast(Any, self.timers)
        self.connection.connection_made(cast(Any, self.transport))

    def send(self, *, whole: bool, body: bytes = b"{}") -> None:
        self.connection.send(b"HEAD", body, "mock", TIMEOUTS, self.timers.now, whole=whole, retry_stale=True)

    async def error(self) -> MeshError:
        with pytest.raises(MeshError) as caught:
            await self.connection.answered()
        return caught.value


@pytest.fixture
async def world() -> World:
    return World()


async def test_a_timer_that_fires_late_looks_first_at_what_has_arrived(world: World) -> None:
    world.send(whole=False)
    world.timers.advance(500)  # the loop stood still: the timer is run before what was read
    assert not world.transport.aborted
    world.connection.data_received(STREAM_HEAD + framed(event("x")))
    await world.connection.answered()
    assert b"x" in await world.connection.read()


async def test_silence_is_found_out_after_the_grace(world: World) -> None:
    world.send(whole=False)
    world.timers.advance(10)
    assert not world.transport.aborted
    world.timers.advance(STALL_GRACE_S)
    assert world.transport.aborted
    assert (await world.error()).reason == "PROVIDER_TIMEOUT"
    assert world.gone == [world.connection]
    assert not world.timers.armed


async def test_grace_is_not_given_for_ever(world: World) -> None:
    """An answer that trickles may not outlive its total time a grace at a time."""
    world.send(whole=False)
    world.connection.data_received(STREAM_HEAD)
    world.connection.begun()
    for _ in range(300):
        if world.transport.aborted:
            break
        world.connection.data_received(framed(event("x")))
        world.connection.take()
        world.timers.advance(1)
    assert world.transport.aborted
    assert 100 <= world.timers.now - 1000 <= 102


async def test_what_lies_unread_stops_the_time_between_two_reads(world: World) -> None:
    world.send(whole=False)
    world.connection.data_received(STREAM_HEAD + framed(event("one")))
    await world.connection.read()
    world.connection.begun()
    reading = asyncio.ensure_future(world.connection.read())
    await asyncio.sleep(0)
    world.connection.data_received(framed(event("two")))
    await reading
    world.connection.data_received(framed(event("three")))
    for _ in range(5):
        world.timers.advance(5)  # the time between two reads, each
        world.timers.advance(STALL_GRACE_S)
    assert not world.transport.aborted
    assert b"three" in await world.connection.read()
    reading = asyncio.ensure_future(world.connection.read())
    await asyncio.sleep(0)
    world.timers.advance(5)
    world.timers.advance(STALL_GRACE_S)
    with pytest.raises(MeshError, match="nothing came for 5 s"):
        await reading


async def test_one_timer_serves_many_calls(world: World) -> None:
    for _ in range(5):
        world.send(whole=True)
        assert len(world.timers.armed) == 1
        world.connection.data_received(whole())
        await world.connection.answered()
        assert world.connection.take()
        world.connection.finish()
        world.timers.advance(1)
    assert len(world.freed) == 5
    world.timers.advance(200)  # it fires for nobody
    assert not world.transport.aborted
    assert not world.timers.armed


async def test_a_timer_of_an_earlier_call_does_not_end_a_later_one(world: World) -> None:
    world.send(whole=True)
    world.connection.data_received(whole())
    world.connection.take()
    world.connection.finish()
    world.timers.advance(60)
    world.send(whole=True)
    world.timers.advance(41)  # the first call's total time, of the second one 41 s
    world.timers.advance(STALL_GRACE_S)
    assert not world.transport.aborted
    world.timers.advance(59)
    world.timers.advance(STALL_GRACE_S)
    assert world.transport.aborted


async def test_an_answer_before_the_request_was_taken_costs_the_connection(world: World) -> None:
    world.transport.pending = 1000
    world.send(whole=True, body=b"x" * 200_000)
    world.connection.data_received(whole())
    await world.connection.answered()
    world.connection.finish()
    assert world.transport.aborted
    assert not world.freed


async def test_a_large_body_goes_out_whole(world: World) -> None:
    world.send(whole=True, body=b"x" * 200_000)
    assert world.transport.written == b"HEAD" + b"x" * 200_000


async def test_a_place_is_given_back_once(world: World) -> None:
    world.send(whole=True)
    world.connection.abort()
    world.connection.connection_lost(ConnectionResetError())
    world.connection.abort()
    assert world.gone == [world.connection]


async def test_made_after_it_was_given_up() -> None:
    world = World()
    late, transport = world.connection, Transport()
    late.abort()
    late.connection_made(cast(Any, transport))
    assert transport.aborted

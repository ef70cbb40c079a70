"""One HTTP/1.1 connection to a provider: a call at a time, parsed as it arrives, with one timer.

A call ends in one of three ways: its answer is complete, and the connection may be used again; it failed, and the
connection is gone; or whoever called has left, and the connection is aborted at once, which tells a provider to stop.
What arrived before a failure is still read: tokens that were made are billed.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Callable
from typing import cast

from services.inference.providers import faults
from services.inference.providers.endpoint import Origin, Timeouts
from services.inference.providers.parsing import ArrivingAnswer
from services.mesh.errors import MeshError

# A timer of ours that fires may only show that our own loop stood still: what arrived meanwhile is looked at first.
STALL_GRACE_S = 0.05
# After `[DONE]` a provider closes its answer at once; one that does not loses the connection, not our patience.
END_GRACE_S = 0.25
# The body of an answer that is an error is worth no longer wait: the status says enough.
ERROR_BODY_S = 5.0
# A server closes an idle connection just when we use it: that shows at once. Later, it has worked on the request.
KEEP_ALIVE_RACE_S = 1.0
IDLE_EXPIRY_S = 30.0
READ_BUFFER_BYTES = 64 * 1024  # that a caller has not read; beyond it nothing more is read from the socket
JOINED_WRITE_BYTES = 64 * 1024


class State(enum.Enum):
    """Of a connection."""

    IDLE = 0
    BUSY = 1
    TAIL = 2  # its caller has all it needs; the end of the body is waited for, for a moment
    CLOSED = 3


class StaleConnectionError(Exception):
    """A connection that was kept alive went away just as it was used: nothing of an answer came."""


class Connection(ArrivingAnswer, asyncio.Protocol):
    """`on_free`: it can carry the next call. `on_closed`: its place is free; called once, at the moment of an abort."""

    def __init__(
        self, origin: Origin, on_free: Callable[[Connection], None], on_closed: Callable[[Connection], None]
    ) -> None:
        super().__init__()
        self.origin = origin
        self.expiry_time = 0.0  # while idle
        self._loop = asyncio.get_running_loop()
        self._on_free = on_free
        self._on_closed = on_closed
        self._transport: asyncio.Transport | None = None
        self._state = State.IDLE
        self._waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_time = 0.0
        self._graced = 0.0  # the limit that has passed, and for which what arrived is looked at once more
        self._used = self._may_be_stale = self._token_seen = self._paused = False
        self._buffered_bytes = 0
        self._error: Exception | None = None
        # Of the call under way
        self._provider = ""
        self._timeouts = Timeouts()
        self._sent_time = self._progress_time = self._first_token_time = self._end_time = 0.0

    # What the pool and the client do

    @property
    def closed(self) -> bool:
        """Whether it is of no use any more."""
        return self._state is State.CLOSED or self._transport is None or self._transport.is_closing()

    def send(
        self,
        head: bytes,
        body: bytes,
        provider: str,
        timeouts: Timeouts,
        begin_time: float,
        *,
        whole: bool,
        retry_stale: bool,
    ) -> None:
        """Begins a call, whose time counts from `begin_time`."""
        transport = self._transport
        assert transport is not None
        assert self._state is State.IDLE
        self.begin(whole=whole)
        self._state = State.BUSY
        self._may_be_stale = retry_stale and self._used
        self._used = True
        self._token_seen = self._paused = False
        self._buffered_bytes = 0
        self._graced = 0.0
        self._provider = provider
        self._timeouts = timeouts
        self._sent_time = self._loop.time() if self._may_be_stale else begin_time
        self._progress_time = begin_time
        # An answer that is not streamed begins when it is whole: the first byte may take as long as all of it.
        self._end_time = begin_time + timeouts.total_s
        self._first_token_time = self._end_time if whole else begin_time + timeouts.first_token_s
        if len(body) <= JOINED_WRITE_BYTES:
            transport.write(head + body)
        else:
            transport.write(head)
            transport.write(body)
        self._arm()

    async def answered(self) -> None:
        """Waits for the whole answer, or, of a stream with status 200, for its first bytes. StaleConnectionError."""
        while not self._ready():
            if self._error is not None:
                raise self._error
            await self._wait()

    async def read(self) -> bytes:
        """What came of the body since the last read; empty at its end."""
        while not self.parts:
            if self.complete:
                return b""
            if self._error is not None:
                raise self._error
            self._arm()
            await self._wait()
        return self.take()

    def take(self) -> bytes:
        """What has come and was not read."""
        parts = self.parts
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        parts.clear()
        self._buffered_bytes = 0
        # While a caller did not read, the provider was not silent.
        self._progress_time = self._loop.time()
        if self._paused:
            self._resume()
        return data

    def begun(self) -> None:
        """A token has come: from now on the time between two reads is limited, not the time to the first token."""
        self._token_seen = True

    def finish(self) -> None:
        """The caller has all it needs: the rest of the body, if any, is waited for and thrown away."""
        if self.complete:
            self._release()
        elif self._state is State.BUSY and self._error is None:
            self._state = State.TAIL
            self.parts.clear()
            self._end_time = self._loop.time() + END_GRACE_S
            if self._paused:
                self._resume()
            self._arm()

    def abort(self) -> None:
        """Lets go at once."""
        self._close()
        if self._transport is not None:
            self._transport.abort()

    # What the transport does

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        self._transport = cast(asyncio.Transport, transport)
        if self._state is State.CLOSED:  # given up while it was being made
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        if self._state is State.IDLE or self._state is State.CLOSED:
            self.abort()  # nobody asked for it
            return
        head_done = self.head_done
        body = self.take_in(data)
        if self._state is State.TAIL:
            self.parts.clear()
            if self.complete:
                self._release()
            return
        self._progress_time = self._loop.time()
        if self.objection:
            self._fail(faults.broken(self._provider, self.objection))
            return
        if body:
            self._buffered_bytes += len(data)
        if self.complete:
            self._wake()
            return
        if self.head_done and not head_done:
            if self.status != 200:
                patience_s = min(self._timeouts.idle_s, ERROR_BODY_S)
                self._end_time = self._first_token_time = min(self._end_time, self._progress_time + patience_s)
            self._arm()
        if self._waiter is not None:
            if self._ready():
                self._wake()
        elif self._buffered_bytes > READ_BUFFER_BYTES and not self.whole and not self._paused:
            self._paused = True
            assert self._transport is not None
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        """See asyncio.Protocol."""
        self.connection_lost(None)
        return False  # close

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        if self._state is State.BUSY and not self.complete:
            self._lost(exc)
        self._close()

    # How a call ends

    def _lost(self, exc: Exception | None) -> None:
        if self.head_done:
            if self.status != 200 or (exc is None and not self.framed):
                self.end_early()
                self._wake()
                return
            how = type(exc).__name__ if exc else "it closed"
            self._fail(faults.broken(self._provider, f"the connection was lost in the middle ({how})"))
        elif self._may_be_stale and not self.received_bytes and self._loop.time() - self._sent_time < KEEP_ALIVE_RACE_S:
            self._fail(StaleConnectionError())
        else:
            self._fail(faults.unavailable(self._provider, "it closed the connection before it answered"))

    def _fail(self, error: Exception) -> None:
        if self._error is None:
            self._error = error
        self.abort()

    def _release(self) -> None:
        transport = self._transport
        if (
            self.reusable
            and self._state is not State.CLOSED
            and transport is not None
            and not transport.is_closing()
            and not transport.get_write_buffer_size()  # answered before it had read the request
        ):
            if self._paused:
                self._resume()
            self._state = State.IDLE
            self.expiry_time = self._loop.time() + self._keep_alive_s()
            self._on_free(self)
        else:
            self.abort()

    def _keep_alive_s(self) -> float:
        """How long it may wait for the next call: shorter than the server says that it keeps it."""
        said = self.headers.get(b"keep-alive")
        if said:
            _, found, number = said.partition(b"timeout=")
            digits = number.split(b",")[0].strip()
            if found and digits.isdigit() and len(digits) < 6:
                return min(IDLE_EXPIRY_S, max(0.0, int(digits) - 1.0))
        return IDLE_EXPIRY_S

    def _close(self) -> None:
        if self._state is State.CLOSED:
            return
        if self._state is State.BUSY and not self.complete and self._error is None:
            self._error = faults.unavailable(self._provider, "its connection was closed by us")
        self._state = State.CLOSED
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.forget_parser()
        self._on_closed(self)
        self._wake()

    def _resume(self) -> None:
        self._paused = False
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    # Waiting

    async def _wait(self) -> None:
        waiter = self._waiter = self._loop.create_future()
        try:
            await waiter
        finally:
            self._waiter = None

    def _ready(self) -> bool:
        """Whether there is what `answered` or `read` waits for."""
        return self.complete or (bool(self.parts) and not self.whole and self.status == 200)

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _limit(self) -> float:
        """When the call fails if nothing more comes."""
        if self._state is State.TAIL:
            return self._end_time
        if self.parts and not self.whole:
            return self._end_time  # it is the caller who takes time
        if not (self.body_begun if self.whole else self._token_seen):
            return min(self._first_token_time, self._end_time)
        return min(self._progress_time + self._timeouts.idle_s, self._end_time)

    def _arm(self) -> None:
        # The timer of an earlier call, or of an earlier limit, serves for a later one: it looks again when it fires.
        limit = self._limit()
        if self._timer is not None:
            if self._timer_time <= limit:
                return
            self._timer.cancel()
        self._timer_time = limit
        self._timer = self._loop.call_at(limit, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        if self._state is State.IDLE or self._state is State.CLOSED or (self.complete and self._state is State.BUSY):
            return
        limit, now = self._limit(), self._loop.time()
        if now < limit:
            self._arm()
        elif self._state is State.TAIL:
            self.abort()
        elif self._graced != limit:
            self._graced = limit
            self._timer_time = now + STALL_GRACE_S
            self._timer = self._loop.call_at(self._timer_time, self._on_timer)
        elif self.head_done and self.status != 200:
            self.end_early()
            self._wake()
        else:
            self._fail(self._timed_out(limit))

    def _timed_out(self, limit: float) -> MeshError:
        timeouts = self._timeouts
        if limit >= self._end_time and (self.body_begun or not self.whole):
            return faults.timeout(self._provider, f"the answer took more than {timeouts.total_s:g} s in all")
        if self.body_begun if self.whole else self._token_seen:
            what = f"nothing came for {timeouts.idle_s:g} s in the middle of the answer"
        elif self.head_done:
            what = "no token of the answer came in time"
        else:
            waited = timeouts.total_s if self.whole else min(timeouts.first_token_s, timeouts.total_s)
            what = f"it did not begin to answer within {waited:g} s"
        return faults.timeout(self._provider, what)

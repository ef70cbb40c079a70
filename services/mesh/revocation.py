"""Work for a caller that ends when their credential is revoked: what costs money must not outlive a revoked key.

    with UntilRevoked(access, call.caller) as until:
        async with aclosing(until.each(source)) as items:
            async for item in items: …          # MeshError CREDENTIAL_REVOKED once it is revoked
        answer = await until.answer(coroutine)  # the same

Only a revocation ends the work: an access token lives for minutes and is renewed by its holder, who did nothing wrong
and could not renew it for a call under way. How long that goes on is bounded by the work's own limits. A watch, which
has none and can be resumed, ends with either (`streams.py`).

No task and no timer a call: being told is a callback.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from types import TracebackType
from typing import Any, TypeVar

from services.mesh.access.control import AccessControl
from services.mesh.call import Caller
from services.mesh.errors import MeshError

T = TypeVar("T")


class UntilRevoked:
    """See the module. Of one task, which makes it: that of the call."""

    __slots__ = (
        "_access",
        "_caller",
        "_cancelled",
        "_close",
        "_closing",
        "_error",
        "_off",
        "_source",
        "_task",
        "_waiting",
    )

    def __init__(self, access: AccessControl, caller: Caller) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._access, self._caller = access, caller
        self._error: MeshError | None = None
        self._waiting = False  # the task waits for work, and not for whoever takes what came of it
        self._cancelled = False  # by us, and not taken back yet
        self._source: AsyncGenerator[Any, None] | None = None
        self._closing: asyncio.Task[None] | None = None
        self._off = access.on_revoked(caller, self._told)

    def __enter__(self) -> UntilRevoked:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._off()

    async def answer(self, work: Coroutine[Any, Any, T]) -> T:
        """What the work gives. It is cancelled, and MeshError raised, when the credential is revoked."""
        if self._error is not None:
            work.close()
            raise self._error
        self._waiting = True
        try:
            return await work
        except (asyncio.CancelledError, Exception):
            # Of two cancellations the caller's own, which has another reason, goes on.
            if not self._take_back() or self._error is None:
                raise
            raise self._error from None
        finally:
            self._waiting = False
            self._take_back()

    async def each(self, source: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
        """The items of a source, which is closed at the end, and at once when the credential is revoked."""
        if self._error is not None:
            raise self._error
        self._source = source
        self._waiting = True
        try:
            async for item in source:
                self._waiting = False
                yield item
                if self._error is not None:
                    raise self._error
                self._waiting = True
        except (asyncio.CancelledError, Exception):
            if not self._take_back() or self._error is None:
                raise
            raise self._error from None
        finally:
            self._waiting = False
            self._source = None
            self._take_back()
            if self._closing is not None:
                await asyncio.wait([self._closing])
                if not self._closing.cancelled():
                    self._closing.exception()  # seen
            await source.aclose()

    def _told(self) -> None:
        if self._error is not None:
            return
        self._error = self._access.why_ended(self._caller)
        if self._waiting:
            self._cancelled = True
            self._task.cancel()
        elif self._source is not None:
            # Whoever takes the items may take none for long; the source need not wait for that.
            self._closing = asyncio.get_running_loop().create_task(_close(self._source), name="close a revoked call")

    def _take_back(self) -> bool:
        """Takes our cancellation back; True if it was the only one."""
        if not self._cancelled:
            return False
        self._cancelled = False
        return self._task.uncancel() == 0


async def _close(source: AsyncGenerator[Any, None]) -> None:
    await source.aclose()

"""What is to happen once the current transaction has committed: for example, waking the relay of the outbox."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_callbacks: ContextVar[dict[Callable[[], None], None] | None] = ContextVar("after_commit", default=None)


def after_commit(callback: Callable[[], None]) -> None:
    """Runs `callback` after the commit of the `Database.transaction()` around; each callback once.

    Nothing runs if the transaction rolls back. Outside of one, for example on a bare connection, nothing runs either:
    what is waited for this way must also be found by polling.
    """
    waiting = _callbacks.get()
    if waiting is not None:
        waiting[callback] = None


@contextmanager
def collecting() -> Iterator[dict[Callable[[], None], None]]:
    """Collects the callbacks of the transaction inside; `Database.transaction()` runs them."""
    waiting: dict[Callable[[], None], None] = {}
    token = _callbacks.set(waiting)
    try:
        yield waiting
    finally:
        _callbacks.reset(token)

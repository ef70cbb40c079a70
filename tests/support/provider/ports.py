"""Ports of 127.0.0.1 where no provider is."""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Iterator


@contextlib.contextmanager
def dead_port() -> Iterator[int]:
    """A port that refuses connections, and that nobody else gets meanwhile: it is bound, and does not listen."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


@contextlib.contextmanager
def full_port() -> Iterator[int]:
    """A port where a connection is neither made nor refused: its queue of connections is full (Linux drops the SYN)."""
    with contextlib.ExitStack() as stack:
        listening = stack.enter_context(socket.socket())
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        for _ in range(8):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            if filler.connect_ex(listening.getsockname()) not in {0, errno.EINPROGRESS}:
                raise RuntimeError("the queue of connections could not be filled")
        yield listening.getsockname()[1]


@contextlib.contextmanager
def mute_port() -> Iterator[int]:
    """A port where connections are made and nobody ever reads: a process that hangs."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(128)
        yield listening.getsockname()[1]

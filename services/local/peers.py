"""Whether those who call a process have a connection to the one that takes its place."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Mapping

import psutil

POLL_S = 0.1


async def not_connected(
    pids: Mapping[str, int],
    old: int,
    new: int,
    at_most_s: float,
    connected_to: Callable[[int], Collection[int]] | None = None,
) -> list[str]:
    """Waits until each of these processes that has a connection to the port `old` has one to `new` as well; answers the
    names of those that have none after `at_most_s`. connected_to: process → ports it has connections to.

    Who has none to `old` does not call it: a channel connects with its first call.
    """
    ports_of = connected_to or ports_connected_to
    begun = time.monotonic()
    while True:
        found = {name: await asyncio.to_thread(ports_of, pid) for name, pid in pids.items()}
        waiting = [name for name, ports in found.items() if old in ports and new not in ports]
        if not waiting or time.monotonic() - begun >= at_most_s:
            return waiting
        await asyncio.sleep(POLL_S)


def ports_connected_to(pid: int) -> frozenset[int]:
    """The TCP ports that a process has connections to; none of one that is gone or may not be looked at."""
    try:
        connections = psutil.Process(pid).net_connections(kind="tcp")  # gRPC has IPv4 in sockets of IPv6
    except (psutil.Error, OSError):
        return frozenset()
    return frozenset(one.raddr.port for one in connections if one.raddr and one.status == psutil.CONN_ESTABLISHED)

"""Ports kept from everybody: bound by a socket that nobody can reach.

Processes of a mesh try each other's spare ports again and again, and call whoever answers there. So while no process of
the mesh listens on one, nobody else may.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable

from services.local.ports import LOOPBACK


class HeldPorts:
    """The ports that are held now. Who connects to one is refused at once, as where nobody listens."""

    def __init__(self) -> None:
        self._sockets: dict[int, socket.socket] = {}

    def hold(self, ports: Iterable[int]) -> list[int]:
        """Holds these from now on, too; answers those that another program has."""
        taken = []
        for port in ports:
            if port in self._sockets:
                continue
            try:
                self._sockets[port] = _bound(port)
            except OSError:
                taken.append(port)
        return taken

    def release(self, ports: Iterable[int]) -> None:
        """Lets others listen on these."""
        for port in ports:
            if port in self._sockets:
                self._sockets.pop(port).close()

    def release_all(self) -> None:
        """Lets others listen on all of them."""
        self.release(list(self._sockets))


def _bound(port: int) -> socket.socket:
    one = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        # To bind: connections of who listened before may be closing still. Not to hold: then others could bind it too.
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        one.bind((LOOPBACK, port))
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
    except OSError:
        one.close()
        raise
    return one

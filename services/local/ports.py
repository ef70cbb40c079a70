"""Free TCP ports of this machine."""

from __future__ import annotations

import random
import socket

from services.local.errors import PlainError

LOOPBACK = "127.0.0.1"
LOOPBACK_6 = "::1"
# What people and their browsers call this machine. Passkeys belong to a name, never to an address, and a browser keeps
# sessions of two names apart: so this one is said everywhere.
LOCALHOST = "localhost"

# Below 32768, where Linux takes the ports of outgoing connections from: a kept port is not lost to one of those.
_FIRST_PORT, _LAST_PORT = 20_000, 32_000
_ATTEMPTS_PER_PORT = 200
_random = random.SystemRandom()  # its own: tests seed the shared one


class NoFreePortError(PlainError):
    """No free port was found; the message says where we looked."""


def free_ports(count: int, host: str = LOOPBACK, avoid: frozenset[int] = frozenset()) -> list[int]:
    """`count` different ports that nothing listens on now, none in `avoid`. Another process may take one before use."""
    found: list[int] = []
    for _ in range(count * _ATTEMPTS_PER_PORT):
        if len(found) == count:
            return found
        port = _random.randrange(_FIRST_PORT, _LAST_PORT)
        if port not in avoid and port not in found and is_free(port, host):
            found.append(port)
    if len(found) == count:
        return found
    raise NoFreePortError(f"No {count} free ports on {host} between {_FIRST_PORT} and {_LAST_PORT}: what holds them?")


def has_ipv6() -> bool:
    """Whether this machine has IPv6's loopback address, to which `localhost` may lead."""
    try:
        return is_free(0, LOOPBACK_6)
    except OSError:
        return False  # not even sockets of that kind


def is_free(port: int, host: str = LOOPBACK) -> bool:
    """Whether a server could listen on the port now. host: an address of IPv4 or IPv6."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do: connections of the last run that are still closing do not hold the port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)  # Linux lets two sockets with SO_REUSEADDR bind one port; only one may listen
        except OSError:
            return False
    return True

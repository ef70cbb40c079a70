"""Envoy's administration, at the name of the kernel's that gateway/edge.yaml.j2 gives it.

What is done while an edge goes is asked here: the listener that stands before it (`admin_port`) shows little of it, and
goes with the other listeners.
"""

from __future__ import annotations

import http.client
import socket

ASK_TIMEOUT_S = 5.0


def ask(admin_port: int, verb: str, path: str) -> str:
    """The answer's text. Raises OSError where nobody answers in time."""
    connection = _Connection(admin_port)
    try:
        connection.request(verb, path)
        return connection.getresponse().read().decode()
    except http.client.HTTPException as error:
        raise OSError(f"the edge's administration broke off: {error!r}") from error
    finally:
        connection.close()


def answers(admin_port: int) -> bool:
    """Whether an Envoy has this administration: another one with it would not start."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as one:
        one.settimeout(ASK_TIMEOUT_S)
        try:
            one.connect(_name(admin_port))
        except ConnectionRefusedError:
            return False
    return True


def _name(admin_port: int) -> str:
    return f"\0promptmesh-edge-{admin_port}"


class _Connection(http.client.HTTPConnection):
    def __init__(self, admin_port: int) -> None:
        super().__init__("localhost", timeout=ASK_TIMEOUT_S)
        self._admin_port = admin_port

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(_name(self._admin_port))

"""An embedded Redis server: configured by a file of ours (a password in it does not show in `ps`), no persistence.

PostgreSQL is the truth and Redis only carries (DESIGN.md), so nothing is written to disk: after a restart the streams
have a new epoch and consumers ask producers to replay.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from services.local.child_setup import child_setup
from services.local.embedded.binaries import redis_server
from services.local.embedded.postgres import POLL_INTERVAL_S, START_TIMEOUT_S, stop_process
from services.local.errors import PlainError
from services.local.ports import LOOPBACK, free_ports

Eviction = Literal["noeviction", "allkeys-lru"]
PROBE_TIMEOUT_S = 1.0


class RedisError(PlainError):
    """Redis could not be started; the message holds what it said."""


@dataclass(frozen=True)
class RedisServer:
    """One server on 127.0.0.1: `folder` holds its configuration; `memory_mb` is what it may hold."""

    folder: Path
    name: str
    port: int
    password: str = field(repr=False)
    eviction: Eviction = "noeviction"
    memory_mb: int = 256

    def url(self, database: int = 0) -> str:
        """Its address with the password in it."""
        return f"redis://:{quote(self.password, safe='')}@{LOOPBACK}:{self.port}/{database}"

    @property
    def configuration_file(self) -> Path:
        """Where `write_configuration` puts what `command` reads."""
        return self.folder / f"{self.name}.conf"

    def write_configuration(self) -> None:
        """Writes the configuration, readable by the owner only since it holds the password."""
        self.folder.mkdir(parents=True, exist_ok=True)
        lines = [
            f"bind {LOOPBACK}",
            f"port {self.port}",
            "protected-mode yes",
            f"requirepass {self.password}",
            "daemonize no",
            'save ""',
            "appendonly no",
            f"dir {_quoted(self.folder)}",
            f"maxmemory {self.memory_mb}mb",
            f"maxmemory-policy {self.eviction}",
            "stream-node-max-entries 100",
            "activerehashing yes",
            "hz 10",
            "tcp-backlog 128",
            "timeout 0",
            "always-show-logo no",
            "",
        ]
        descriptor = os.open(self.configuration_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write("\n".join(lines))

    def command(self) -> list[str]:
        """The server's command line."""
        return [str(redis_server()), str(self.configuration_file)]

    def environment(self) -> dict[str, str]:
        """All that the server gets from the environment."""
        return {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}

    def is_ready(self) -> bool:
        """Whether it answers PING to one who knows its password (another server on this port does not)."""
        try:
            with socket.create_connection((LOOPBACK, self.port), timeout=PROBE_TIMEOUT_S) as connection:
                return ping(connection, self.password)
        except OSError:
            return False


def ping(connection: socket.socket, password: str) -> bool:
    """AUTH and PING on a fresh connection; false unless both are accepted."""
    secret = password.encode()
    connection.sendall(b"*2\r\n$4\r\nAUTH\r\n$%d\r\n%s\r\n*1\r\n$4\r\nPING\r\n" % (len(secret), secret))
    answer = b""
    while answer.count(b"\r\n") < 2:
        received = connection.recv(256)
        if not received:
            break
        answer += received
    return answer == b"+OK\r\n+PONG\r\n"


def _quoted(path: Path) -> str:
    escaped = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


@contextmanager
def running_redis(server: RedisServer) -> Iterator[int]:
    """Runs the server for the time of the block; yields its pid. What it prints goes to `<folder>/<name>.log`."""
    server.write_configuration()
    log = server.folder / f"{server.name}.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            server.command(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=server.environment(),
            preexec_fn=child_setup(signal.SIGKILL),  # noqa: PLW1509 -- fork, then exec
        )
    try:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not server.is_ready():
            if process.poll() is not None or time.monotonic() > deadline:
                said = log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:]
                raise RedisError("Redis did not start. It said:\n" + "\n".join(said))
            time.sleep(POLL_INTERVAL_S)
        yield process.pid
    finally:
        stop_process(process, signal.SIGTERM)


def temporary_redis(folder: Path, password: str = "redis", eviction: Eviction = "noeviction") -> RedisServer:  # noqa: S107
    """A server for tests, on a random port."""
    return RedisServer(folder, "redis", free_ports(1)[0], password, eviction)

"""A service whose imports are done once: each process of it is a fork of one that has done them.

Two thirds of the processor time of a start are imports, and tests of a service start it a hundred times. What a fork
runs is what an operator runs, `__main__` of `services.<name>` with an environment and arguments of its own, in a
process of its own that is killed, drained and waited for as any other; only the modules are there already. That the
service starts without that is seen by the tests that start a whole mesh.

    python -m tests.integration.support.prepared_service auth <fd of a socket>

The preparer reads nothing of the environment, starts no thread and no event loop: it imports, and forks when asked.
"""

from __future__ import annotations

import atexit
import functools
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from services.mesh.lean import lean_imports

REPOSITORY = Path(__file__).resolve().parents[3]
REQUEST_BYTES_MAX = 1 << 20
ANSWER_TIMEOUT_S = 60.0
_POLL_S = 0.01

#: What `__main__` of a service imports, by what it was asked for.
MODULES = {
    "auth": (
        "services.auth.main",
        "services.auth.settings",
        "services.auth.mail.settings",
        "services.auth.mail.worker",
        "services.auth.audit.command",
        "services.auth.commands",
        "services.mesh.run",
    )
}


class ForkedProcess:
    """A process that the preparer forked: as much of `subprocess.Popen` as tests use. `ended` tells its exit status."""

    def __init__(self, pid: int, ended: socket.socket) -> None:
        self.pid = pid
        self._ended = ended
        self._returncode: int | None = None

    def poll(self) -> int | None:
        """The exit status, negative for a signal; None while it runs."""
        if self._returncode is None and select.select([self._ended], [], [], 0.0)[0]:
            said = self._ended.recv(64)
            # Nothing: the preparer itself was killed, and with it all that anybody knows.
            self._returncode = int(said) if said else -signal.SIGKILL
            self._ended.close()
        return self._returncode

    def wait(self, timeout: float | None = None) -> int:
        """The exit status, once it has ended. Raises subprocess.TimeoutExpired."""
        end = None if timeout is None else time.monotonic() + timeout
        while (status := self.poll()) is None:
            if end is not None and time.monotonic() > end:
                raise subprocess.TimeoutExpired(str(self.pid), timeout or 0.0)
            time.sleep(_POLL_S)
        return status

    def send_signal(self, number: int) -> None:
        """Sends it, if the process still runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)


class Preparer:
    """The process that has a service's modules, and forks it. Safe for several threads."""

    def __init__(self, service: str) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__, service, str(theirs.fileno())],
                cwd=REPOSITORY,
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )
        ours.settimeout(ANSWER_TIMEOUT_S)
        self._asks = ours
        self._lock = threading.Lock()

    def start(self, arguments: tuple[str, ...], environment: Mapping[str, str], out: int, error: int) -> ForkedProcess:
        """`python -m services.<name> <arguments>` with that environment, and files for what it prints."""
        request = json.dumps({"arguments": arguments, "environment": dict(environment)}).encode()
        assert len(request) <= REQUEST_BYTES_MAX, "more than the preparer reads at once"
        ended, told = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            with told, self._lock:
                socket.send_fds(self._asks, [request], [told.fileno(), out, error])
                pid = int(self._asks.recv(64))
        except BaseException:
            ended.close()
            raise
        return ForkedProcess(pid, ended)

    def close(self) -> None:
        """Ends it. What it forked was ended by who asked for it."""
        self._asks.close()  # and it reads the end
        self._process.wait(ANSWER_TIMEOUT_S)


@functools.cache
def preparer_of(service: str) -> Preparer:
    """The one of this test process; it ends with the tests."""
    made = Preparer(service)
    atexit.register(made.close)
    return made


def prepare(service: str, asks: socket.socket) -> tuple[str, ...] | None:
    """Forks whenever asked. Returns the arguments in a fork, and None where nobody is left to ask."""
    with lean_imports():
        for module in MODULES[service]:
            importlib.import_module(module)
    woken, wakes = os.pipe()
    os.set_blocking(wakes, False)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who asks decides when it ends
    signal.signal(signal.SIGCHLD, lambda *_: None)  # so that the descriptor below is written to
    signal.set_wakeup_fd(wakes)
    running: dict[int, socket.socket] = {}
    while True:
        ready, _, _ = select.select([asks.fileno(), woken], [], [])
        if woken in ready:
            os.read(woken, 4096)
            _tell_who_ended(running)
        if asks.fileno() not in ready:
            continue
        request, descriptors, _, _ = socket.recv_fds(asks, REQUEST_BYTES_MAX, 3)
        if not request:
            return None
        told, out, error = descriptors
        if (pid := os.fork()) == 0:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            for file in (asks, *running.values()):
                file.close()
            for descriptor in (told, woken, wakes):
                os.close(descriptor)
            return _become(json.loads(request), out, error)
        running[pid] = socket.socket(fileno=told)
        os.close(out)
        os.close(error)
        asks.send(str(pid).encode())


def _tell_who_ended(running: dict[int, socket.socket]) -> None:
    while running:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        with running.pop(pid) as told:
            try:
                told.send(str(os.waitstatus_to_exitcode(status)).encode())
            except OSError:
                continue  # nobody waits for it any more


def _become(request: Mapping[str, object], out: int, error: int) -> tuple[str, ...]:
    """Files and environment as the request says. Its arguments."""
    for descriptor, standard in ((out, 1), (error, 2)):
        os.dup2(descriptor, standard)
    for descriptor in {out, error}:
        os.close(descriptor)
    os.environ.clear()
    os.environ.update(request["environment"])  # type: ignore[call-overload] # as `start` made it
    return tuple(request["arguments"])  # type: ignore[arg-type] # likewise


def _main() -> None:
    service, descriptor = sys.argv[1:]
    arguments = prepare(service, socket.socket(fileno=int(descriptor)))
    if arguments is None:
        return
    sys.argv = [f"services.{service}", *arguments]
    runpy.run_module(f"services.{service}", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    _main()

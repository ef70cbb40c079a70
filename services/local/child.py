"""One child process: started, watched until it serves, started again when it dies, ended."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from services.local.child_setup import Identity, child_setup
from services.local.data_folder import DataFolder
from services.local.errors import PlainError
from services.local.logs import open_log, size_of, tail
from services.local.specs import ProcessSpec, TaskSpec
from services.local.state import ProcessState

POLL_INTERVAL_S = 0.03
# Of a machine that does much else: a first start reads everything from disk. What ends is reported at once.
READY_TIMEOUT_S = 180.0
BACKOFF_FIRST_S = 0.1
BACKOFF_MAX_S = 5.0
# Having served this long, a process that dies again is new trouble, not the same.
STEADY_S = 30.0
KILL_WAIT_S = 5.0


class ChildError(PlainError):
    """A process did not start; the message holds the end of its log and what to do."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name


class Child:
    """A process of the plan. `changed` is called after each change of `state`, `report` with a line for a person."""

    def __init__(
        self, spec: ProcessSpec, data: DataFolder, changed: Callable[[], None], report: Callable[[str], None]
    ) -> None:
        self.spec = spec
        self.state = ProcessState(spec.name, spec.port, spec.probe.kind, dict(spec.more_ports))
        self._log = data.log(spec.name)
        self._log_start = 0
        self._folder = data.path
        self._changed = changed
        self._report = report
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        """Starts the process and waits until it serves; raises ChildError if it ends before, or takes too long."""
        await self.begin()
        await self.until_it_serves()

    async def begin(self) -> None:
        """Starts the process."""
        self._log_start = size_of(self._log)
        await self._spawn()

    async def until_it_serves(self) -> None:
        """Waits until the process that was begun serves; raises ChildError if it ends before, or takes too long."""
        ended = await self._wait_ready()
        if ended is None:
            return
        said = tail(self._log, since=self._log_start)
        raise ChildError(
            self.spec.name,
            f"{self.spec.name} did not start: it {ended}.\n"
            + ("The last that it said:\n" + "\n".join(f"  | {line}" for line in said) if said else "It said nothing.")
            + f"\nIts whole log: {self._log}",
        )

    async def keep(self) -> None:
        """Starts the process again whenever it dies, until it is cancelled. Call after `start`."""
        backoff_s = BACKOFF_FIRST_S
        while True:
            assert self._process is not None
            ready_since = time.monotonic()
            trouble = _describe(await _exit_of(self._process))
            if time.monotonic() - ready_since > STEADY_S:
                backoff_s = BACKOFF_FIRST_S
            again: str | None = trouble
            while again is not None:
                self.state.pid, self.state.ready, self.state.last_exit = 0, False, again
                self._changed()
                self._report(f"{self.spec.name} {again}; starting it again in {backoff_s:.1f} s (log: {self._log})")
                await asyncio.sleep(backoff_s)
                backoff_s = min(backoff_s * 2, BACKOFF_MAX_S)
                self.state.restarts += 1
                again = await self._start_again()
            self._report(f"{self.spec.name} serves again (process {self.state.pid})")

    async def stop(self, grace_s: float | None = None) -> bool:
        """Asks the process to end and waits; kills it when its grace (the plan's) is over, and says whether it ended
        by itself."""
        grace_s = self.spec.stop_grace_s if grace_s is None else grace_s
        process = self._process
        if process is None or process.poll() is not None:
            return True
        process.send_signal(self.spec.stop_signal)
        by_itself = True
        try:
            async with asyncio.timeout(grace_s):
                await _exit_of(process)
        except TimeoutError:
            self._report(f"{self.spec.name} did not end within {grace_s:.0f} s; killing it")
            process.kill()
            await _exit_of(process)
            by_itself = False
        self.state.pid, self.state.ready = 0, False
        self._changed()
        return by_itself

    @property
    def gone(self) -> bool:
        """Whether the process has ended."""
        return self._process is None or self._process.poll() is not None

    def signal(self, number: signal.Signals) -> None:
        """Tells the process something, if it runs."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    def kill(self) -> None:
        """Kills the process at once."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()

    async def _start_again(self) -> str | None:
        """None once it serves; otherwise what went wrong."""
        try:
            await self._spawn()
        except (OSError, RuntimeError) as error:
            return f"could not be started ({error})"
        return await self._wait_ready()

    async def _spawn(self) -> None:
        await asyncio.to_thread(self.spec.prepare)
        self._process = _popen(
            self.spec.command,
            self.spec.environment,
            self._folder,
            self._log,
            death_signal=self.spec.death_signal,
            identity=self.spec.identity(),
        )
        self.state.pid, self.state.started_at, self.state.ready = self._process.pid, time.time(), False
        self._changed()

    async def _wait_ready(self) -> str | None:
        """None once it serves; otherwise how it ended."""
        assert self._process is not None
        process = self._process
        deadline = time.monotonic() + READY_TIMEOUT_S
        while True:
            if process.poll() is not None:
                return _describe(process.returncode)
            if await self.spec.probe.is_ready(process.pid):
                self.state.ready = True
                self._changed()
                return None
            if time.monotonic() > deadline:
                process.kill()
                await _exit_of(process)
                return f"did not serve on port {self.spec.port} within {READY_TIMEOUT_S:.0f} s"
            await asyncio.sleep(POLL_INTERVAL_S)


async def run_task(spec: TaskSpec, data: DataFolder) -> str:
    """Runs a program of the plan to its end; returns what it printed. Its stderr goes to its log.

    Raises ChildError if it fails or takes too long.
    """
    log_path = data.log(spec.name)
    log_start = size_of(log_path)
    await asyncio.to_thread(spec.prepare)
    output_path = data.run / f"{spec.name}.{os.getpid()}.out"
    try:
        output_path.unlink(missing_ok=True)
        process = _popen(spec.command, spec.environment, data.path, log_path, output=output_path)
        try:
            async with asyncio.timeout(spec.timeout_s):
                how = _describe(await _exit_of(process))
        except TimeoutError:
            how = f"took longer than {spec.timeout_s:.0f} s"
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        printed = output_path.read_text(encoding="utf-8", errors="replace")
    finally:
        output_path.unlink(missing_ok=True)
    if process.returncode != 0:
        said = [*printed.splitlines(), *tail(log_path, since=log_start)]
        raise ChildError(
            spec.name,
            f"{spec.title}: the program that does it ({' '.join(spec.command[3:])}) {how}.\n"
            + "\n".join(f"  | {line}" for line in said)
            + f"\nIts whole log: {log_path}",
        )
    return printed


def _popen(
    command: Sequence[str],
    environment: Mapping[str, str],
    folder: Path,
    log: Path,
    *,
    output: Path | None = None,
    death_signal: signal.Signals = signal.SIGKILL,
    identity: Identity | None = None,
) -> subprocess.Popen[bytes]:
    """Starts a program in a process group of its own: Ctrl-C is for the supervisor alone, which ends all in order.

    Call from the loop's thread, not a pool's: the death signal comes when the thread that forked ends.
    """
    with contextlib.ExitStack() as open_files:
        stderr = open_log(log)
        open_files.callback(os.close, stderr)
        stdout = stderr
        if output is not None:
            stdout = open_log(output)
            open_files.callback(os.close, stdout)
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            env=dict(environment),
            cwd=folder,
            process_group=0,
            # The set-up takes no lock that a thread of ours could hold: it makes system calls only.
            preexec_fn=child_setup(death_signal, identity),  # noqa: PLW1509
        )


async def _exit_of(process: subprocess.Popen[bytes]) -> int:
    """Waits until the process has ended; returns its exit status (negative: minus the signal)."""
    try:
        descriptor = os.pidfd_open(process.pid)
    except (AttributeError, ProcessLookupError, OSError):  # not Linux, or already gone
        while process.poll() is None:  # noqa: ASYNC110 -- there is nothing to wait on
            await asyncio.sleep(POLL_INTERVAL_S)
        return process.wait()
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(descriptor, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
    return process.wait()


def _describe(status: int) -> str:
    if status >= 0:
        return f"ended with status {status}"
    try:
        return f"was ended by {signal.Signals(-status).name}"
    except ValueError:
        return f"was ended by signal {-status}"

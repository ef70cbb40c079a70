"""Processes that a benchmark starts: ended by their ids, whatever happens; their CPU time; the ends of their logs."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from services.local.child_setup import child_setup

START_TIMEOUT_S = 120.0
END_TIMEOUT_S = 15.0
LOG_TAIL = 2000
#: Peers see nothing of this machine's environment (proxies, providers' keys) but this.
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "NO_PROXY": "127.0.0.1"}


class StartError(Exception):
    """A system does not run, or does not answer as it should. What leaves `process` has the end of the log."""


@contextmanager
def process(command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> Iterator[int]:
    """A process and whatever it starts, ended afterwards; its id. Its output is in `folder`/log."""
    with (folder / "log").open("wb") as log:
        one = subprocess.Popen(
            command,
            cwd=folder,
            env={**ENVIRONMENT, "HOME": str(folder), **environment},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            preexec_fn=child_setup(signal.SIGTERM),  # noqa: PLW1509 - there is one thread
        )
    try:
        yield one.pid
        if one.poll() is not None:
            raise StartError(f"it ended by itself, with {one.returncode}")
    except StartError as error:
        log_end = (folder / "log").read_text(errors="replace")[-LOG_TAIL:]
        raise StartError(f"{error}; its log ends:\n{log_end}") from None
    finally:
        _end(one)


def _end(one: subprocess.Popen[bytes]) -> None:
    family: list[psutil.Process] = []
    if one.poll() is None:
        family = psutil.Process(one.pid).children(recursive=True)
        one.terminate()
        try:
            one.wait(END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            one.kill()
            one.wait(END_TIMEOUT_S)
    for left in psutil.wait_procs(family, timeout=END_TIMEOUT_S)[1]:
        left.kill()  # psutil compares the time of its start: no other process that got its id


def alive(pid: int) -> bool:
    """Whether a process still runs; one that has ended and is not yet collected does not."""
    try:
        return str(psutil.Process(pid).status()) != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def until(condition: Callable[[], bool], what: str) -> None:
    """Polls; StartError names what did not come true in time."""
    end = time.monotonic() + START_TIMEOUT_S
    while not condition():
        if time.monotonic() > end:
            raise StartError(f"not within {START_TIMEOUT_S:.0f} s: {what}")
        time.sleep(0.05)


def cpu_s(processes: Mapping[str, int]) -> dict[str, float]:
    """CPU time so far of each of these processes (name to id) with its descendants, less those that stand here
    themselves."""
    trees: dict[str, dict[int, psutil.Process]] = {}
    for name, pid in processes.items():
        with suppress(psutil.NoSuchProcess):
            root = psutil.Process(pid)
            trees[name] = {one.pid: one for one in (root, *root.children(recursive=True))}
    found, counted = dict.fromkeys(processes, 0.0), set[int]()
    for name, tree in sorted(trees.items(), key=lambda one: len(one[1])):  # what is inside of another comes before it
        for pid in tree.keys() - counted:
            with suppress(psutil.NoSuchProcess):
                times = tree[pid].cpu_times()
                found[name] += times.user + times.system
        counted |= tree.keys()
    return found


def machine_busy_s(cores: Sequence[int]) -> float:
    """CPU time so far that these cores were not idle, whoever used or took it."""
    each = psutil.cpu_times(percpu=True)
    return float(sum(sum(each[core][:8]) - each[core].idle - each[core].iowait for core in cores))

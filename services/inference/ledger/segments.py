"""Files of a journal, and the thread that brings them to the disk and takes them away."""

from __future__ import annotations

import collections
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from services.inference.ledger.metrics import JOURNAL_SYNC

SUFFIX = ".journal"

_log = structlog.get_logger(__name__)


@dataclass(slots=True, eq=False)
class Segment:
    """One file. It is needed while calls that began in it are open, or records that ended in it are not stored."""

    number: int
    path: Path
    fd: int = field(repr=False)
    size: int = 0
    open: int = 0
    unflushed: int = 0

    @property
    def idle(self) -> bool:
        """Whether nothing needs it."""
        return self.open == 0 and self.unflushed == 0


def create(folder: Path, number: int) -> Segment:
    """A new, empty file. Raises OSError."""
    path = folder / f"{number:08d}{SUFFIX}"
    # Records name people and keys: for this user only.
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
    return Segment(number, path, fd)


def found(folder: Path) -> list[tuple[int, Path]]:
    """(number, path) of the files in a folder, in order."""
    return sorted((int(path.stem), path) for path in folder.glob(f"*{SUFFIX}") if path.stem.isdigit())


class Syncer:
    """Brings what was written to the disk `sync_s` after the first line of a group, in a thread of its own, so that the
    event loop never waits for a disk. 0: there is no thread, and each write is on the disk before it returns.

    Without anything to do the thread sleeps.
    """

    def __init__(self, folder: Path, sync_s: float, on_error: Callable[[OSError], None]) -> None:
        self._folder = folder
        self._sync_s = sync_s
        self._on_error = on_error
        self._current = -1
        self._retired: collections.deque[int] = collections.deque()
        self._unneeded: collections.deque[Path] = collections.deque()
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self.inline = sync_s == 0
        if not self.inline:
            self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
            self._thread.start()

    def use(self, fd: int) -> None:
        """Writes go to `fd` from now on; the file before is brought to the disk and closed."""
        if self._current != -1:
            self._retired.append(self._current)
        self._current = fd
        self._told()

    def written(self) -> None:
        """Something was written. Raises OSError where each write is brought to the disk at once."""
        if self.inline:
            os.fdatasync(self._current)
        elif not self._wake.is_set():
            self._wake.set()

    def remove(self, path: Path) -> None:
        """Takes a file away, after what was written before."""
        self._unneeded.append(path)
        self._told()

    def close(self) -> None:
        """Brings everything to the disk and ends."""
        self._retired.append(self._current)
        self._current = -1
        if self._thread is None:
            self._work()
            return
        self._closing.set()
        self._wake.set()
        self._thread.join()

    def _told(self) -> None:
        if self.inline:
            self._work()
        else:
            self._wake.set()

    def _run(self) -> None:
        while not self._closing.is_set():
            self._wake.wait()
            self._closing.wait(self._sync_s)
            # Cleared first: what is written from here on wakes it again.
            self._wake.clear()
            self._work()
        self._work()

    def _work(self) -> None:
        began = time.perf_counter()
        try:
            rotated = bool(self._retired)
            while self._retired:
                fd = self._retired.popleft()
                try:
                    os.fdatasync(fd)
                finally:
                    os.close(fd)
            if self._current != -1:
                os.fdatasync(self._current)
            if rotated:
                self._sync_folder()
        except OSError as error:
            self._on_error(error)
        JOURNAL_SYNC.observe(time.perf_counter() - began)
        while self._unneeded:
            try:
                self._unneeded.popleft().unlink(missing_ok=True)
            except OSError as error:
                _log.warning("a file of the journal could not be removed", error=str(error))

    def _sync_folder(self) -> None:
        """So that the new file is found after a power cut."""
        fd = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

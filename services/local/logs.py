"""The log files of the processes: written by the processes themselves, rotated and read here.

A process holds its own log open to append, rather than a pipe to the supervisor: a slow reader would stall its event
loop, and every line would cost a turn of the supervisor's.
"""

from __future__ import annotations

import os
import shutil
from collections import deque
from pathlib import Path

ROTATE_BYTES = 16 * 1024 * 1024
KEPT_OLDER = 3
TAIL_LINES = 20
_TAIL_BYTES = 64 * 1024


def open_log(path: Path) -> int:
    """A descriptor that appends to the log, for a child's stdout and stderr. The caller closes it."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)


def rotate(path: Path, limit_bytes: int = ROTATE_BYTES) -> bool:
    """Moves a log that has grown past the limit aside, as `.1`; says whether it did.

    It is copied and then cut, since its writer keeps it open: what is written between the two (microseconds) is lost.

    Raises OSError, on a full disk for one: the log and those kept are then what they were.
    """
    try:
        if path.stat().st_size < limit_bytes:
            return False
    except FileNotFoundError:
        return False
    copy = Path(f"{path}.0")
    try:
        # Of one that was killed meanwhile there may be a part left.
        os.close(os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600))
        # By the kernel: a buffer of ours stays with each thread that ever did this.
        shutil.copyfile(path, copy)
    except OSError:
        copy.unlink(missing_ok=True)
        raise
    for number in range(KEPT_OLDER - 1, -1, -1):
        older = Path(f"{path}.{number}")
        if older.exists():
            older.replace(f"{path}.{number + 1}")
    os.truncate(path, 0)
    return True


class Rotation:
    """Rotates the logs of a folder."""

    def __init__(self, folder: Path, limit_bytes: int = ROTATE_BYTES) -> None:
        self._folder = folder
        self._limit_bytes = limit_bytes
        self._told: set[str] = set()  # names of those that cannot be rotated

    def look(self) -> list[str]:
        """Rotates those that have grown long; answers what is to be said of those that cannot be, once for each until
        it can be again."""
        said = []
        for path in self._folder.glob("*.log"):
            try:
                rotate(path, self._limit_bytes)
            except OSError as error:
                if path.name not in self._told:
                    said.append(f"{path.name} has grown long and cannot be put aside: {error.strerror}")
                self._told.add(path.name)
            else:
                self._told.discard(path.name)
        return said


def tail(path: Path, lines: int = TAIL_LINES, *, since: int = 0) -> list[str]:
    """The last lines of a log, without what stood before byte `since`."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(since if since <= size else 0, size - _TAIL_BYTES))
            text = file.read().decode("utf-8", errors="replace")
    except FileNotFoundError:
        return []
    return list(deque(text.splitlines(), maxlen=lines))


def size_of(path: Path) -> int:
    """Bytes in the log; 0 if there is none."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


class Follower:
    """Reads what is appended to a log, also after it was cut."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._partial = b""

    def skip_to_tail(self, lines: int) -> list[str]:
        """The last lines so far; `new_lines` goes on after them."""
        last = tail(self._path, lines)
        self._offset = size_of(self._path)
        return last

    def new_lines(self) -> list[str]:
        """Whole lines that came since the last call."""
        size = size_of(self._path)
        if size < self._offset:
            self._offset, self._partial = 0, b""
        if size == self._offset:
            return []
        with self._path.open("rb") as file:
            file.seek(self._offset)
            data = file.read()
        self._offset += len(data)
        *whole, self._partial = (self._partial + data).split(b"\n")
        return [line.decode("utf-8", errors="replace") for line in whole]

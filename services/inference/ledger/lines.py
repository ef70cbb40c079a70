"""Lines of a journal: `<CRC-32 in 8 hex digits> <JSON array>\\n`.

A process may die, and a disk fill up, in the middle of a line. What has no right sum is no line: it is skipped, and
what comes after its newline is read again.

    ["j", 1, …]       head of a segment: version of the format, the worker
    ["b", …]          a call begins
    ["f", …], ["r", …]  a call ended; "r": written late, after the disk had been full
    ["e", id]         a call ended, and its record is in PostgreSQL already
    ["w", number, offset]  everything that ended before that place is in PostgreSQL
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

FORMAT = 1
_SUM_CHARS = 9  # with the space
_READ_BYTES = 1024 * 1024


def line_of(fields: Any) -> bytes:
    """The line of an array. Raises orjson.JSONEncodeError where a text is no Unicode, or a number is too large."""
    body = orjson.dumps(fields)
    return b"%08x %b\n" % (zlib.crc32(body), body)


def fields_of(line: bytes) -> list[Any] | None:
    """The array of a line; None if it is damaged."""
    if len(line) < _SUM_CHARS + 3 or line[-1] != 10 or line[8] != 32:
        return None
    body = line[_SUM_CHARS:-1]
    try:
        if int(line[:8], 16) != zlib.crc32(body):
            return None
        fields = orjson.loads(body)
    except ValueError:
        return None
    return fields if isinstance(fields, list) and fields else None


def read_lines(path: Path, start: int = 0, end: int | None = None) -> Iterator[tuple[list[Any] | None, int]]:
    """(array, or None for a damaged line; where the line ends) of each line between two byte offsets of a file.

    A last line without its newline counts as damaged.
    """
    with path.open("rb", buffering=_READ_BYTES) as file:
        file.seek(start)
        offset = start
        for line in file:
            offset += len(line)
            if end is not None and offset > end:
                return
            if line != b"\n":
                yield fields_of(line), offset

"""An answer as it is kept, in memory and in Redis.

In Redis: one byte (1: plain, 2: zlib), then

    length of the header, 4 bytes, big-endian | header, JSON | parts

where each part is its length in 4 bytes, big-endian, and its data; the highest bit of the length says that the answer
began anew with this part (flights only; such answers are not stored).
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from services.inference.providers.base import Part, TokenUsage

# Of CPython 3.11, rounded up: a bytes object takes 33 bytes and its length, a place in a tuple 8.
PART_OVERHEAD_BYTES = 48
# The entry, its tuple, usage and finish reasons, its key (65 bytes) and its place in the map.
ENTRY_OVERHEAD_BYTES = 1024
PLAIN, ZLIB = 1, 2
_ZLIB_LEVEL = 1  # 100 MB/s and more; higher levels gain little on text this short
_PAYS = 0.8  # of the plain size
_AGAIN = 1 << 31
_EVENT, _DONE = b"data: ", b"data: [DONE]"


@dataclass(frozen=True, slots=True)
class Entry:
    """A whole answer: the parts of a stream as they went out, or one part that is the body."""

    parts: tuple[bytes, ...]
    streamed: bool
    model: str
    provider: str
    usage: TokenUsage | None = None
    finish_reasons: dict[int, str] = field(default_factory=dict)

    @property
    def size_bytes(self) -> int:
        """What it takes in memory."""
        return ENTRY_OVERHEAD_BYTES + sum(map(len, self.parts)) + PART_OVERHEAD_BYTES * len(self.parts)


class ReplayPart(Part):
    """A part of a stream that is parsed only if somebody asks: what is passed on as bytes never is."""

    __slots__ = ()

    def __init__(self, data: bytes) -> None:
        self.data = data

    @property
    def chunks(self) -> list[dict[str, Any]]:  # type: ignore[override]
        """As Part's."""
        return chunks_of(self.data)


def chunks_of(data: bytes) -> list[dict[str, Any]]:
    """The chunks in server-sent events as our providers write them: one line each."""
    return [
        orjson.loads(event[len(_EVENT) :])
        for event in data.split(b"\n\n")
        if event.startswith(_EVENT) and event != _DONE
    ]


def part_of(data: bytes, streamed: bool) -> Part:
    """A part of what was kept."""
    return ReplayPart(data) if streamed else Part(data, [])


def joined(parts: Iterable[bytes], most_bytes: int) -> tuple[bytes, ...]:
    """Neighbours joined into parts of at most `most_bytes`; what is larger alone stays."""
    out: list[bytes] = []
    group: list[bytes] = []
    size = 0
    for part in parts:
        if group and size + len(part) > most_bytes:
            out.append(b"".join(group))
            group, size = [], 0
        group.append(part)
        size += len(part)
    if group:
        out.append(b"".join(group))
    return tuple(out)


def pack(parts: Iterable[tuple[bytes, bool]]) -> bytes:
    """Parts as one value; with each whether the answer begins anew there."""
    out = bytearray()
    for data, again in parts:
        out += (len(data) | _AGAIN if again else len(data)).to_bytes(4, "big")
        out += data
    return bytes(out)


def unpack(packed: bytes) -> Iterator[tuple[bytes, bool]]:
    """What `pack` made; ValueError where it is cut."""
    at = 0
    while at < len(packed):
        length = int.from_bytes(packed[at : at + 4], "big")
        again, length = bool(length & _AGAIN), length & ~_AGAIN
        at += 4 + length
        if at > len(packed):
            raise ValueError("a stored part is cut")
        yield packed[at - length : at], again


def encode(entry: Entry, compress_from_bytes: int) -> bytes:
    """As it goes into Redis; compressed where that pays."""
    header = orjson.dumps(
        [entry.streamed, entry.model, entry.provider, usage_fields(entry.usage), finish_fields(entry.finish_reasons)]
    )
    plain = len(header).to_bytes(4, "big") + header + pack((part, False) for part in entry.parts)
    if len(plain) >= compress_from_bytes:
        small = zlib.compress(plain, _ZLIB_LEVEL)
        if len(small) < _PAYS * len(plain):
            return bytes([ZLIB]) + small
    return bytes([PLAIN]) + plain


def decode(value: bytes) -> Entry:
    """What `encode` made; ValueError: it is none of ours."""
    try:
        plain = zlib.decompress(value[1:]) if value[:1] == bytes([ZLIB]) else value[1:]
        if value[:1] not in (bytes([PLAIN]), bytes([ZLIB])):
            raise ValueError("a stored answer of another format")
        length = int.from_bytes(plain[:4], "big")
        streamed, model, provider, usage, finish = orjson.loads(plain[4 : 4 + length])
        parts = tuple(data for data, _ in unpack(plain[4 + length :]))
        return Entry(parts, bool(streamed), str(model), str(provider), usage_from(usage), finish_from(finish))
    except (zlib.error, TypeError) as error:
        raise ValueError("a stored answer that cannot be read") from error


def usage_fields(usage: TokenUsage | None) -> list[int | bool] | None:
    """As JSON."""
    return None if usage is None else [usage.input_tokens, usage.output_tokens, usage.estimated]


def usage_from(fields: Sequence[Any] | None) -> TokenUsage | None:
    """From JSON; ValueError."""
    if fields is None:
        return None
    input_tokens, output_tokens, estimated = fields
    return TokenUsage(int(input_tokens), int(output_tokens), bool(estimated))


def finish_fields(finish_reasons: dict[int, str]) -> list[tuple[int, str]]:
    """As JSON, whose objects have no numbers for names."""
    return list(finish_reasons.items())


def finish_from(fields: Iterable[Sequence[Any]]) -> dict[int, str]:
    """From JSON; ValueError."""
    return {int(index): str(reason) for index, reason in fields}

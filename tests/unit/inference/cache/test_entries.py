"""An answer as it is kept: what comes out is what went in, byte for byte, and what is not ours is refused."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.inference.cache.entries import (
    PLAIN,
    ZLIB,
    Entry,
    ReplayPart,
    decode,
    encode,
    joined,
    pack,
    part_of,
    unpack,
)
from services.inference.providers.base import Part, TokenUsage
from tests.unit.inference.cache.world import stream_parts

USAGES = st.none() | st.builds(TokenUsage, st.integers(0, 10**9), st.integers(0, 10**9), st.booleans())
ENTRIES = st.builds(
    Entry,
    parts=st.lists(st.binary(max_size=64), max_size=6).map(tuple),
    streamed=st.booleans(),
    model=st.text(max_size=8),
    provider=st.text(max_size=8),
    usage=USAGES,
    finish_reasons=st.dictionaries(st.integers(0, 127), st.sampled_from(["stop", "length"]), max_size=3),
)


@given(ENTRIES, st.sampled_from([0, 50, 10**6]))
def test_what_is_stored_comes_back(entry: Entry, compress_from: int) -> None:
    assert decode(encode(entry, compress_from)) == entry


def test_compressed_only_where_it_pays() -> None:
    repeated = Entry((b"the same words " * 1000,), True, "m", "p")
    noise = Entry((Random(1).randbytes(10_000),), True, "m", "p")
    assert encode(repeated, 4096)[0] == ZLIB
    assert encode(repeated, 10**6)[0] == PLAIN
    assert encode(noise, 4096)[0] == PLAIN
    assert decode(encode(noise, 4096)) == noise


@given(ENTRIES, st.data())
def test_what_is_cut_or_not_ours_is_a_value_error(entry: Entry, data: st.DataObject) -> None:
    value = encode(entry, 10**6)
    cut = value[: data.draw(st.integers(0, len(value) - 1))]
    try:
        decoded = decode(cut)
    except ValueError:
        return
    # A cut between two parts cannot be told: Redis gives a value whole or not at all.
    assert decoded.parts == entry.parts[: len(decoded.parts)]


@pytest.mark.parametrize(
    "value", [b"", b"\x00", b"\x09abc", bytes([ZLIB]) + b"no", bytes([PLAIN]) + b"\x00\x00\x00\x02{}"]
)
def test_other_formats_are_value_errors(value: bytes) -> None:
    with pytest.raises(ValueError):
        decode(value)


@given(st.lists(st.tuples(st.binary(max_size=40), st.booleans()), max_size=8))
def test_packed_parts_come_back(parts: list[tuple[bytes, bool]]) -> None:
    assert list(unpack(pack(parts))) == parts


@given(st.lists(st.binary(min_size=1, max_size=20), max_size=20), st.integers(1, 50))
def test_joined_parts_are_the_same_bytes(parts: list[bytes], most: int) -> None:
    out = joined(parts, most)
    assert b"".join(out) == b"".join(parts)
    assert all(len(part) <= max(most, *map(len, parts)) for part in out)


def test_small_parts_are_joined_and_large_ones_stay() -> None:
    assert joined([b"aa", b"bb", b"cc", b"dddddd", b"e"], 5) == (b"aabb", b"cc", b"dddddd", b"e")


def test_a_replayed_part_says_what_the_original_said() -> None:
    for part in [*stream_parts(3), Part(b": keep-alive\n\n", [])]:
        replayed = part_of(part.data, streamed=True)
        assert isinstance(replayed, ReplayPart)
        assert (replayed.data, replayed.chunks) == (part.data, part.chunks)
    together = part_of(b"".join(part.data for part in stream_parts(3)), streamed=True)
    assert together.chunks == [chunk for part in stream_parts(3) for chunk in part.chunks]


def test_a_body_has_no_chunks() -> None:
    assert part_of(b'data: {"a":1}\n\n', streamed=False) == Part(b'data: {"a":1}\n\n', [])

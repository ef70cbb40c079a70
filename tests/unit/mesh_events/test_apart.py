"""Reads of one partition each."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from redis.exceptions import ConnectionError

from services.mesh.events.apart import ApartReads


class Partitions:
    """What each partition answers next, once it is told."""

    def __init__(self, count: int) -> None:
        self.answers: list[asyncio.Queue[Any]] = [asyncio.Queue() for _ in range(count)]
        self.begun = [0] * count
        self.reads = ApartReads("tests", count, self._read)

    async def _read(self, partition: int, count: int, block_s: float) -> Any:
        self.begun[partition] += 1
        answer = await self.answers[partition].get()
        if isinstance(answer, Exception):
            raise answer
        return answer


async def until_something(partitions: Partitions) -> None:
    """Reads on while nothing comes."""
    while await partitions.reads.next(10, 1.0) == []:
        pass


async def test_what_comes_first_is_answered_and_the_others_wait_on() -> None:
    partitions = Partitions(3)
    partitions.answers[1].put_nowait(["b"])
    assert await partitions.reads.next(10, 1.0) == [(1, ["b"])]
    assert partitions.reads.idle == [1]
    partitions.answers[0].put_nowait(["a"])
    assert await partitions.reads.next(10, 1.0) == [(0, ["a"])]
    assert partitions.begun == [1, 2, 1]
    await partitions.reads.stop()
    assert partitions.reads.idle == [0, 1, 2]


async def test_a_partition_is_not_read_again_before_its_entries_were_fetched() -> None:
    partitions = Partitions(2)
    partitions.answers[0].put_nowait(["a"])
    partitions.answers[1].put_nowait(["b"])
    found = await partitions.reads.next(10, 1.0)
    found += partitions.reads.fetch()
    assert sorted(found) == [(0, ["a"]), (1, ["b"])]
    assert partitions.begun == [1, 1]
    await partitions.reads.stop()


async def test_a_node_that_is_away_does_not_hold_up_the_others() -> None:
    partitions = Partitions(2)
    partitions.answers[0].put_nowait(ConnectionError("away"))
    assert await partitions.reads.next(10, 1.0) == []
    partitions.answers[1].put_nowait(["b"])
    assert await partitions.reads.next(10, 1.0) == [(1, ["b"])]
    partitions.answers[0].put_nowait(["a"])
    assert await partitions.reads.next(10, 1.0) == [(0, ["a"])]
    await partitions.reads.stop()


async def test_where_all_nodes_are_away_the_caller_hears_it() -> None:
    partitions = Partitions(2)
    for answers in partitions.answers:
        answers.put_nowait(ConnectionError("away"))
    with pytest.raises(ConnectionError):
        await until_something(partitions)
    await partitions.reads.stop()


async def test_another_error_is_told_once_nothing_was_brought() -> None:
    partitions = Partitions(2)
    partitions.answers[0].put_nowait(ValueError("no group"))
    partitions.answers[1].put_nowait(["b"])
    assert await partitions.reads.next(10, 1.0) == [(1, ["b"])]
    partitions.answers[0].put_nowait(ValueError("no group"))
    with pytest.raises(ValueError, match="no group"):
        await until_something(partitions)
    await partitions.reads.stop()

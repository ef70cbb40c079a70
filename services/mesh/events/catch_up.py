"""Asking a producer for what Redis forgot, and doing it like anything else."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping

from promptmesh.events.v1.events_pb2 import PartitionPosition, ReplayRequest, ReplayResponse

from services.mesh.events.checkpoints import Checkpoints
from services.mesh.events.group import Entry
from services.mesh.events.metrics import CONSUMER_REPLAYS
from services.mesh.events.processing import Processor

log = logging.getLogger(__name__)

Replay = Callable[[ReplayRequest], AsyncIterator[ReplayResponse]]
"""`EventSourceServiceStub(channel).Replay`, or the same without a network."""

LEASE_S = 15.0
"""A replay is one worker's; another takes it over this long after its last sign."""
MESSAGE_TIMEOUT_S = 30.0
SUSPECT_REPLAYS = 3
"""After so many that brought nothing an event in it may be what kills workers: then the first message's are done one by
one, their starts counted."""


class ReplayCutError(ConnectionError):
    """A replay ended without its `done`: it is to be asked for again."""


class CatchUp:
    """Replays for one consumer."""

    def __init__(
        self,
        replay: Replay,
        checkpoints: Checkpoints,
        processor: Processor,
        *,
        consumer: str,
        batch: int,
    ) -> None:
        self._replay = replay
        self._checkpoints = checkpoints
        self._processor = processor
        self._consumer = consumer
        self._batch = batch

    async def run(self, epochs: Mapping[int, str]) -> set[int]:
        """Replays partitions; returns those done, which now count for their epoch (others: a worker is at it).

        epochs: of the streams, by partition, seen before this call; '' where unknown. Raises what the producer's
        service or PostgreSQL raise: nothing done so far is lost, ask again.
        """
        after, begun = await self._checkpoints.lease(list(epochs), LEASE_S)
        if not after:
            return set()
        log.info("%s: asks for a replay after %s (partition: position)", self._consumer, after)
        try:
            head = await self._run(after, suspect=begun > SUSPECT_REPLAYS)
            await self._checkpoints.complete({one: epochs[one] for one in after}, head)
        except asyncio.CancelledError:
            raise
        except Exception:
            CONSUMER_REPLAYS.labels(self._consumer, "cut").inc()
            raise
        CONSUMER_REPLAYS.labels(self._consumer, "done").inc()
        log.info("%s: replayed up to position %d", self._consumer, head)
        return set(after)

    async def _run(self, after: dict[int, int], suspect: bool) -> int:
        head = await self._ask(after, suspect)
        ahead = [partition for partition, position in after.items() if position > head]
        if ahead:
            log.error(
                "%s: the producer's log ends at position %d, before what was read of it: it was put back to an older "
                "state. Reading partitions %s from the beginning",
                self._consumer,
                head,
                ahead,
            )
            await self._checkpoints.reset(ahead)
            head = await self._ask(dict.fromkeys(ahead, 0), suspect)
        return head

    async def _ask(self, after: Mapping[int, int], suspect: bool) -> int:
        """Does everything after positions, by partition; returns the producer's head. suspect: one by one, at first."""
        request = ReplayRequest(
            consumer=self._consumer,
            after=[PartitionPosition(partition=one, position=position) for one, position in after.items()],
        )
        answers = self._replay(request).__aiter__()
        while True:
            try:
                async with asyncio.timeout(MESSAGE_TIMEOUT_S):
                    answer = await anext(answers)
            except StopAsyncIteration:
                raise ReplayCutError(f"the replay for {self._consumer} ended without its last message") from None
            if answer.WhichOneof("event") == "done":
                return answer.done.head
            entries = [Entry(one.position, one.partition, one.envelope) for one in answer.batch.events]
            for start in range(0, len(entries), self._batch):
                batch = entries[start : start + self._batch]
                if suspect:
                    for entry in batch:
                        await self._processor.process_suspect(entry)
                else:
                    await self._processor.process(batch)
            if entries:
                suspect = False
                await self._checkpoints.replayed(list(after), entries[-1].position, LEASE_S)

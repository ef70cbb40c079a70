"""Up to where everything of a producer's partition is done by a consumer, in PostgreSQL.

A checkpoint counts for an epoch of its stream. It moves with the group's progress in Redis only while the two epochs
are the same: after a loss the group's progress says nothing of what was lost, until a replay has brought it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from services.mesh.database import Database, queries

SQL = queries("services.mesh.events", "sql")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Everything up to `position` is done; the stream of `epoch` holds, or held, everything after it."""

    position: int
    epoch: str


class Checkpoints:
    """The checkpoints of one consumer of one producer, shared by all workers."""

    def __init__(self, database: Database, producer: str, consumer: str, partitions: int, worker: str) -> None:
        self._database = database
        self._key = (producer, consumer)
        self._partitions = partitions
        self._worker = worker

    async def make(self) -> None:
        """Makes those that are missing: at 0, wanting a replay."""
        async with self._database.connection() as connection:
            await connection.execute(SQL["make_checkpoints"], *self._key, self._partitions)

    async def advance(self, seen: Mapping[int, Checkpoint]) -> dict[int, Checkpoint]:
        """Moves checkpoints forward to what was seen in Redis, each only where the epoch is the stored one.

        Returns all of them as they stood before.
        """
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                SQL["advance_checkpoints"],
                *self._key,
                list(seen),
                [one.epoch for one in seen.values()],
                [one.position for one in seen.values()],
            )
        return {row["partition"]: Checkpoint(row["position"], row["epoch"]) for row in rows}

    async def want_replay(self, partitions: Sequence[int] | None = None) -> None:
        """Forgets the epochs, so that checkpoints stay until a replay was done; all partitions by default."""
        wanted = list(range(self._partitions) if partitions is None else partitions)
        async with self._database.connection() as connection:
            await connection.execute(SQL["want_replay"], *self._key, wanted)

    async def lease(self, partitions: Sequence[int], lease_s: float) -> tuple[dict[int, int], int]:
        """Takes the replay of partitions upon this worker, where no other has it.

        Returns position by partition, and how many replays were begun since one brought anything, this one included.
        """
        async with self._database.connection() as connection:
            rows = await connection.fetch(SQL["lease_replay"], *self._key, list(partitions), self._worker, lease_s)
        after = {row["partition"]: row["position"] for row in rows}
        return after, max((row["replays_begun"] for row in rows), default=0)

    async def replayed(self, partitions: Sequence[int], position: int, lease_s: float) -> None:
        """A replay has done everything up to `position` in these partitions; the lease goes on."""
        async with self._database.connection() as connection:
            await connection.execute(SQL["replayed"], *self._key, list(partitions), self._worker, lease_s, position)

    async def complete(self, epochs: Mapping[int, str], head: int) -> None:
        """A replay has done everything up to the producer's head; epochs: the streams' when it was asked for."""
        async with self._database.connection() as connection:
            await connection.execute(
                SQL["replay_complete"], *self._key, list(epochs), self._worker, list(epochs.values()), head
            )

    async def reset(self, partitions: Sequence[int]) -> None:
        """Back to 0: the producer's log is not the one that was read so far."""
        async with self._database.connection() as connection:
            await connection.execute(SQL["reset_checkpoints"], *self._key, list(partitions))

    async def release(self) -> None:
        """Leaves the replays of this worker to others."""
        async with self._database.connection() as connection:
            await connection.execute(SQL["release_replay"], *self._key, self._worker)

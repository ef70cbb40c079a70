"""The table of examples, and this process's place among those who work on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import structlog

from services.inference.examples.job import ExampleJob
from services.mesh.database import Database, queries
from services.mesh.errors import MeshError
from services.mesh.failpoints import Failpoint
from services.mesh.ids import SYSTEM_CLOCK, Clock, uuid7

SQL = queries("services.inference")
AFTER_CLAIM = Failpoint("examples.after_claim")
PURGE_INTERVAL_S = 3600.0
PURGE_BATCH = 1000  # as purge_examples.sql says

_log = structlog.get_logger(__name__)


class ExampleTable:
    """Rows that this process holds, claims and gives back.

    `worker`: the process's stable name. `lease_s`: how long the others wait when it falls silent.
    """

    def __init__(
        self,
        database: Database,
        worker: str,
        *,
        lease_s: float = 10.0,
        retention_days: int = 30,
        new_id: Callable[[], str] = uuid7,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._database = database
        self._worker = worker
        self._lease_s = lease_s
        self._retention_days = retention_days
        self._clock = clock
        self.incarnation = new_id()
        self.entered = False
        self._next_renewal = 0.0
        self._next_purge = clock.monotonic() + PURGE_INTERVAL_S

    async def enter(self) -> None:
        """Takes the name's place; what another incarnation held under it is orphaned."""
        async with self._database.connection() as conn:
            await conn.execute(SQL["enter_worker"], self._worker, self.incarnation, self._lease_s)
        self.entered = True
        self._next_renewal = self._clock.monotonic() + self._lease_s / 3

    async def keep(self) -> None:
        """Renews the lease when a third of it is over, and removes old rows now and then."""
        now = self._clock.monotonic()
        if now >= self._next_renewal:
            async with self._database.connection() as conn:
                ours = await conn.fetchval(SQL["renew_worker"], self._worker, self.incarnation, self._lease_s)
            if self.entered and ours is None:
                _log.error("another process runs under the name of this one")
            self.entered = ours is not None
            self._next_renewal = now + self._lease_s / 3
        if now >= self._next_purge:
            self._next_purge = now + PURGE_INTERVAL_S
            await self.purge()

    async def claim(self, limit: int) -> list[ExampleJob]:
        """Takes up to `limit` rows that wait and whose time has come."""
        return await self._take_over(SQL["claim_examples"], limit)

    async def adopt(self, limit: int) -> list[ExampleJob]:
        """Takes up to `limit` rows whose process is gone."""
        return await self._take_over(SQL["adopt_examples"], limit)

    async def held(self) -> Mapping[str, int]:
        """Posts that this process holds, with their revision."""
        async with self._database.connection() as conn:
            rows = await conn.fetch(SQL["held_examples"], self.incarnation)
        return {row["post_id"]: row["revision"] for row in rows}

    async def take(self, post_ids: Sequence[str]) -> list[ExampleJob]:
        """The jobs of rows that this process holds still."""
        async with self._database.connection() as conn:
            rows = await conn.fetch(SQL["take_examples"], self.incarnation, post_ids)
        return [ExampleJob.of(row) for row in rows]

    async def leave(self) -> None:
        """Gives everything back. With PostgreSQL away the others find it when the lease ends."""
        self.entered = False
        try:
            async with self._database.transaction() as conn:
                await conn.execute(SQL["release_examples"], self.incarnation)
                await conn.execute(SQL["leave_worker"], self._worker, self.incarnation)
        except MeshError as error:
            _log.warning("examples under way could not be given back", error=str(error))

    async def purge(self) -> None:
        """Removes what is long over."""
        removed = PURGE_BATCH
        while removed == PURGE_BATCH:
            async with self._database.connection() as conn:
                removed = len(await conn.fetch(SQL["purge_examples"], self._retention_days))
        async with self._database.connection() as conn:
            await conn.execute(SQL["purge_example_workers"])
            await conn.execute(SQL["purge_reservations"])

    async def _take_over(self, statement: str, limit: int) -> list[ExampleJob]:
        async with self._database.connection() as conn:
            rows = await conn.fetch(statement, self.incarnation, limit)
        if rows:
            AFTER_CLAIM.hit()
        return [ExampleJob.of(row) for row in rows]

"""Erasing what a service keeps of people and organisations that are gone: the consumer of auth's UserDeleted and
OrganisationDeleted.

What names a person may still arrive after they are gone: an event that was under way, a record from a journal, a call
with a token that had a moment to live. So a subject is erased when the event comes, and again for a while after.

A service that uses it has the table `erasures` (of a migration of its own), and an `erase` that may run any number of
times.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from promptmesh.auth.v1 import events_pb2

from services.mesh.database.queries import queries
from services.mesh.events.envelope import Event

if TYPE_CHECKING:
    from services.mesh.database import Connection, Database

SQL = queries("services.mesh.events", "sql")

EVENT_TYPES = (events_pb2.UserDeleted, events_pb2.OrganisationDeleted)
NOBODY = "00000000-0000-0000-0000-000000000000"
"""Stands for a person or organisation that is not told: what is kept without its person names this one."""
AGAIN_EVERY_S = 300.0
AGAIN_FOR_S = 2 * 86_400  # longer than any journal waits and any consumer lags


@dataclass(frozen=True, slots=True)
class Gone:
    """Who is gone. user_id is NOBODY's for an organisation; org_id is the organisation of their own for a person."""

    user_id: str
    org_id: str


Erase = Callable[["Connection", Gone], Awaitable[None]]


class Erasures:
    """Handles the events, each in the transaction that its consumer gives; `again` is a background task."""

    def __init__(
        self,
        database: Database,
        erase: Erase,
        *,
        committed: Callable[[], None] = lambda: None,
        every_s: float = AGAIN_EVERY_S,
        for_s: float = AGAIN_FOR_S,
    ) -> None:
        """committed: called after what was erased is committed; every_s, for_s: how often again, and for how long."""
        self._database, self._erase, self._committed = database, erase, committed
        self._every_s, self._for_s = every_s, for_s

    async def __call__(self, conn: Connection, events: Sequence[Event]) -> None:
        """Erases in the caller's transaction."""
        gone = [_gone(event.payload) for event in events]
        await conn.execute(
            SQL["add_erasures"], [one.user_id for one in gone], [one.org_id for one in gone], self._every_s
        )
        for one in gone:
            await self._erase(conn, one)

    def committed(self, events: Sequence[Event]) -> None:
        """See Handler."""
        self._committed()

    async def again(self) -> None:
        """Erases what came late, for ever."""
        while True:
            await asyncio.sleep(self._every_s)
            while await self.one_again():
                pass
            async with self._database.connection() as conn:
                await conn.execute(SQL["forget_erasures"], self._for_s)

    async def one_again(self) -> bool:
        """Erases one subject that is due again; whether there was one."""
        async with self._database.transaction() as conn:
            row = await conn.fetchrow(SQL["take_erasure"], self._every_s)
            if row is None:
                return False
            await self._erase(conn, Gone(row["user_id"], row["org_id"]))
        self._committed()
        return True


def _gone(payload: object) -> Gone:
    if isinstance(payload, events_pb2.UserDeleted):
        return Gone(payload.user_id, payload.org_id)
    assert isinstance(payload, events_pb2.OrganisationDeleted)
    return Gone(NOBODY, payload.org_id)

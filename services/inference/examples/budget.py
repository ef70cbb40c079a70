"""The daily cap of examples: the largest cost of a call is reserved before it, so the cap cannot be passed.

Reserve → settle. A process that dies in between leaves its reservation in the sum of the day: too much is counted
then, never too little. Models that are known to cost nothing need no reservation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from services.inference.catalog import Catalog
from services.inference.engine.call import ModelCall
from services.inference.engine.money import largest_route_cost_nanos
from services.mesh.database import Connection, Database, queries
from services.mesh.failpoints import Failpoint
from services.mesh.ids import uuid7

SQL = queries("services.inference")
AFTER_RESERVE = Failpoint("examples.after_reserve")


class CapReachedError(Exception):
    """The call could cost more than what is left of the day's cap."""


@dataclass(frozen=True, slots=True)
class Settlement:
    """What a reserved call has cost, in nano-US-dollars."""

    reservation_id: str
    cost_nanos: int


class Budget:
    """Reserves in PostgreSQL, where all processes see the same sum."""

    def __init__(self, database: Database, new_id: Callable[[], str] = uuid7) -> None:
        self._database = database
        self._new_id = new_id

    async def reserve(self, catalog: Catalog, call: ModelCall) -> str | None:
        """Id of the reservation; None where the model costs nothing. Raises CapReachedError; MeshError where
        PostgreSQL is away."""
        most_nanos, cap_nanos = largest_route_cost_nanos(call), catalog.examples_daily_cap_nanos
        if most_nanos == 0:
            return None
        if most_nanos is None or cap_nanos is None:
            # The configuration refuses this; nothing is spent on the strength of a configuration that slipped through.
            raise CapReachedError
        reservation_id = self._new_id()
        async with self._database.connection() as conn:
            # Every attempt of the call may cost as much.
            most_nanos *= call.route.retry.attempts_max
            reserved = await conn.fetchval(SQL["reserve_spend"], reservation_id, most_nanos, cap_nanos)
        if reserved is None:
            raise CapReachedError
        AFTER_RESERVE.hit()
        return reservation_id


async def settle(conn: Connection, settlements: list[Settlement]) -> None:
    """In the caller's transaction. Idempotent."""
    if settlements:
        await conn.execute(
            SQL["settle_spend"],
            [settlement.reservation_id for settlement in settlements],
            [settlement.cost_nanos for settlement in settlements],
        )

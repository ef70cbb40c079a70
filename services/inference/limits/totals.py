"""What subjects have used since a moment, from the ledger's sums by hour in PostgreSQL."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from services.inference.limits.model import Unit
from services.inference.limits.slices import Slice
from services.mesh.database import Database, queries

SQL = queries("services.inference")


class Asked(NamedTuple):
    """Whose use since when is asked: a number of LimitKind, an id, seconds since the epoch (a full hour)."""

    kind: int
    subject_id: str
    since: int


class Total(NamedTuple):
    """Calls, and what they cost in nano-US-dollars."""

    requests: int
    nanos: int


Totals = Callable[[str, Sequence[Asked]], Awaitable[Sequence[Total]]]
"""(org_id, subjects) → their totals, in that order. Raises MeshError DEPENDENCY_UNAVAILABLE."""


def totals_of(database: Database) -> Totals:
    """Totals from PostgreSQL."""

    async def totals(org_id: str, asked: Sequence[Asked]) -> Sequence[Total]:
        async with database.connection() as conn:
            rows = await conn.fetch(
                SQL["limit_totals"],
                org_id,
                [one.kind for one in asked],
                [one.subject_id for one in asked],
                [datetime.fromtimestamp(one.since, UTC) for one in asked],
            )
        return [Total(row["requests"], row["nanos"]) for row in rows]

    return totals


async def seed(totals: Totals, org_id: str, slices: Sequence[Slice]) -> None:
    """Gives each slice what its subject had used in its window. Raises as `totals`."""
    asked = [Asked(one.meter.kind, one.meter.subject_id, one.begin) for one in slices]
    # Two limits of a subject over the same window ask the same.
    distinct = list(dict.fromkeys(asked))
    found = dict(zip(distinct, await totals(org_id, distinct), strict=True))
    for one, question in zip(slices, asked, strict=True):
        total = found[question]
        one.seed = total.nanos if one.unit == Unit.NANOS else total.requests

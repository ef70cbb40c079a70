"""Posts a day: how many a plan allows to a person and an organisation, counted in the transaction that makes one.

Counted is where a limit holds, from when it holds: nobody else waits for a counter. The day is UTC's. A post whose
transaction does not commit does not count.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from math import ceil

from services.mesh.call import Caller
from services.mesh.database import Connection, Database, queries
from services.mesh.errors import MeshError, QuotaViolation
from services.mesh.ids import SYSTEM_CLOCK, Clock
from services.mesh.plans import Plans

SQL = queries("services.prompts")
LIMIT = "posts_per_day"
USER, ORG = 2, 3  # of promptmesh.inference.v1.LimitKind
KEEP_DAYS = 3
PURGE_EVERY_S = 3600.0
_NAMES = {USER: "user", ORG: "org"}


class Take:
    """One post against the limits of its author: `count` in the transaction, then `headers` of the answer."""

    __slots__ = ("_clock", "_limits", "_org_id", "_tightest")

    def __init__(self, org_id: str, limits: Sequence[tuple[int, str, int]], clock: Clock) -> None:
        """limits: kind, id and limit of each subject."""
        self._org_id, self._limits, self._clock = org_id, limits, clock
        self._tightest: tuple[int, int, float] | None = None  # limit, left, seconds until midnight

    async def count(self, conn: Connection) -> None:
        """Counts. Raises MeshError LIMIT_REACHED, upon which the transaction is to be rolled back."""
        now = self._clock.now()
        wait_s = (_midnight_after(now) - now).total_seconds()
        rows = await conn.fetch(
            SQL["count_post"],
            self._org_id,
            now.astimezone(UTC).date(),
            [kind for kind, _, _ in self._limits],
            [subject_id for _, subject_id, _ in self._limits],
        )
        posts = {row["kind"]: row["posts"] for row in rows}
        for kind, subject_id, limit in self._limits:
            if posts[kind] > limit:
                raise _refusal(f"{_NAMES[kind]}:{subject_id}", limit, wait_s)
        limit, left = min(((limit, limit - posts[kind]) for kind, _, limit in self._limits), key=lambda one: one[1])
        self._tightest = limit, left, wait_s

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """What is left, of the limit with the least left; none where nothing was counted."""
        if self._tightest is None:
            return ()
        limit, left, wait_s = self._tightest
        return (
            ("x-ratelimit-limit-posts", str(limit)),
            ("x-ratelimit-remaining-posts", str(left)),
            ("x-ratelimit-reset-posts", f"{ceil(wait_s)}s"),
        )


class PostQuotas:
    """Who may post how often, by the plans in force."""

    def __init__(self, plans: Plans, *, clock: Clock = SYSTEM_CLOCK) -> None:
        self._plans, self._clock = plans, clock

    def of(self, caller: Caller) -> Take | None:
        """For one post of a caller; None: no limit."""
        plan = self._plans.of(caller.plan)
        limits = [
            (kind, subject_id, limit)
            for kind, subject_id, limit in (
                (USER, caller.user_id, plan.user.get(LIMIT)),
                (ORG, caller.org_id, plan.org.get(LIMIT)),
            )
            if limit is not None and subject_id
        ]
        return Take(caller.org_id or caller.user_id, limits, self._clock) if limits else None

    async def purge(self, database: Database) -> None:
        """Removes counts of days that are over; runs until cancelled."""
        while True:
            oldest = self._clock.now().astimezone(UTC).date() - timedelta(days=KEEP_DAYS)
            try:
                async with database.connection() as conn:
                    await conn.execute(SQL["purge_post_counts"], oldest)
            except MeshError as error:
                if error.reason != "DEPENDENCY_UNAVAILABLE":
                    raise
            await asyncio.sleep(PURGE_EVERY_S)


def _midnight_after(now: datetime) -> datetime:
    return datetime.combine(now.astimezone(UTC).date() + timedelta(days=1), datetime.min.time(), UTC)


def _refusal(subject: str, limit: int, wait_s: float) -> MeshError:
    description = f"{LIMIT}: at most {limit} posts and edits a day"
    return MeshError(
        "LIMIT_REACHED",
        f"The limit {LIMIT} of {subject} is {limit} posts and edits a day (UTC), and all of them are used. Retry after "
        "the delay in RetryInfo.",
        metadata={"limit": LIMIT, "subject": subject, "limit_value": str(limit), "remaining": "0", "state": "spent"},
        retry_after_s=wait_s,
        quota=[QuotaViolation(subject, description)],
    )

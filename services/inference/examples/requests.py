"""Requests for examples, and deletions of posts, as the prompts service tells of them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from promptmesh.prompts.v1.events_pb2 import ExampleRequested, PostDeleted

from services.inference.cleaning import clean
from services.inference.examples.job import ExampleJob
from services.inference.examples.runner import ExampleRunner
from services.mesh.database import Connection, queries
from services.mesh.events.context import traceparent_for
from services.mesh.events.envelope import Event
from services.mesh.failpoints import Failpoint

SQL = queries("services.inference")
EVENT_TYPES = (ExampleRequested, PostDeleted)
AFTER_ACCEPT = Failpoint("examples.after_accept")
QUEUED, RUNNING = 1, 2
# Of transactions that were rolled back: their events come again, or become dead letters.
FORGOTTEN_MAX = 10_000


class ExampleRequests:
    """Writes jobs in the consumer's transaction, and starts those of them that this process runs after the commit.

    Groups do not order: the row of a post goes to higher revisions only, and a deletion is the highest.
    """

    def __init__(self, runner: ExampleRunner) -> None:
        self._runner = runner
        self._accepted: OrderedDict[tuple[str, int], ExampleJob] = OrderedDict()

    async def __call__(self, conn: Connection, events: Sequence[Event]) -> None:
        jobs: dict[str, ExampleJob] = {}
        deleted: dict[str, str] = {}
        for event in events:
            payload = event.payload
            if isinstance(payload, PostDeleted):
                deleted[payload.post_id] = event.org_id
            elif isinstance(payload, ExampleRequested):
                known = jobs.get(payload.post_id)
                if known is None or known.revision < payload.revision:
                    jobs[payload.post_id] = _job(event, payload)
        # In order of id, so that two consumers never wait for each other.
        wanted = [jobs[post_id] for post_id in sorted(jobs) if post_id not in deleted]
        if wanted:
            await self._accept(conn, wanted)
        if deleted:
            posts = sorted(deleted)
            await conn.execute(SQL["cancel_examples"], posts, [deleted[post_id] for post_id in posts])

    def committed(self, events: Sequence[Event]) -> None:
        """Starts what was accepted, and stops what was deleted."""
        AFTER_ACCEPT.hit()
        for event in events:
            payload = event.payload
            if isinstance(payload, PostDeleted):
                self._runner.cancel(payload.post_id)
            elif isinstance(payload, ExampleRequested):
                job = self._accepted.pop((payload.post_id, payload.revision), None)
                if job is not None:
                    self._runner.launch(job)
                else:
                    # It waits in the table, or it was nothing new. Said here, after the commit: whoever looked before
                    # it saw nothing waiting.
                    self._runner.cancel(payload.post_id, before_revision=payload.revision)
                    self._runner.expect_queued()
        self._runner.wake()

    async def _accept(self, conn: Connection, jobs: list[ExampleJob]) -> None:
        # What does not fit in waits in the table, where every process finds it.
        room = self._runner.room
        states = [RUNNING if i < room else QUEUED for i in range(len(jobs))]
        rows = await conn.fetch(
            SQL["accept_examples"],
            [job.post_id for job in jobs],
            [job.org_id for job in jobs],
            [job.revision for job in jobs],
            [job.title for job in jobs],
            [job.body for job in jobs],
            states,
            self._runner.incarnation,
            [job.traceparent for job in jobs],
        )
        accepted = {row["post_id"] for row in rows}
        for job, state in zip(jobs, states, strict=True):
            if job.post_id in accepted and state == RUNNING:
                self._accepted[job.post_id, job.revision] = job
        while len(self._accepted) > FORGOTTEN_MAX:
            self._accepted.popitem(last=False)


def _job(event: Event, payload: ExampleRequested) -> ExampleJob:
    return ExampleJob(
        post_id=payload.post_id,
        org_id=event.org_id,
        revision=payload.revision,
        title=clean(payload.title),
        body=clean(payload.body),
        traceparent=traceparent_for(event.aggregate_id),  # below the handling of the event
    )

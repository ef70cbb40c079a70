"""Screens what was submitted: the consumer of the prompts service's events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from promptmesh.moderation.v1 import events_pb2, moderation_pb2
from promptmesh.prompts.v1 import events_pb2 as prompts_events

from services.mesh.database import Connection
from services.mesh.events import Event, NewEvent, Outbox
from services.mesh.ids import uuid7
from services.moderation import store
from services.moderation.policies import Policies
from services.moderation.screening.result import Surface, Text, Verdict
from services.moderation.store import Screened, Submission
from services.moderation.wire import findings_of

EVENT_TYPES = (prompts_events.PostSubmitted, prompts_events.PostDeleted)


class Submitted:
    """Handles batches of PostSubmitted and PostDeleted; one transaction each, given by the consumer."""

    def __init__(self, policies: Policies, outbox: Outbox) -> None:
        self._policies = policies
        self._outbox = outbox

    async def __call__(self, conn: Connection, events: Sequence[Event]) -> None:
        deleted = [
            (event.payload.post_id, event.org_id)
            for event in events
            if isinstance(event.payload, prompts_events.PostDeleted)
        ]
        if deleted:
            await store.forget(conn, deleted)
        submissions = [
            _submission(event.org_id, event.payload)
            for event in events
            if isinstance(event.payload, prompts_events.PostSubmitted)
        ]
        if submissions:
            await self._screen(conn, await store.observe(conn, submissions))

    async def _screen(self, conn: Connection, submissions: Sequence[Submission]) -> None:
        if not submissions:
            return
        results = await self._policies.screen([Text(one.text, Surface.POST) for one in submissions])
        screened = [
            Screened(
                submission=one,
                verdict=result.verdict,
                findings=findings_of(result.findings),
                policy_version=result.policy_version,
                case_id=uuid7() if result.verdict is Verdict.HOLD else "",
            )
            for one, result in zip(submissions, results, strict=True)
        ]
        await store.keep(conn, screened)
        await self._outbox.append(conn, [_event(one) for one in screened])

    def committed(self, events: Sequence[Event]) -> None:
        self._outbox.wake()


def _submission(org_id: str, payload: prompts_events.PostSubmitted) -> Submission:
    return Submission(
        post_id=payload.post_id,
        org_id=org_id,
        revision=payload.revision,
        author_id=payload.author_id,
        title=payload.title,
        body=payload.body,
        tags=tuple(payload.tags),
        author_name=payload.author_name,
    )


def _event(screened: Screened) -> NewEvent:
    submission = screened.submission
    return NewEvent(
        org_id=submission.org_id,
        aggregate_id=submission.post_id,
        aggregate_version=submission.revision,
        payload=events_pb2.PostScreened(
            post_id=submission.post_id,
            revision=submission.revision,
            verdict=cast("moderation_pb2.Verdict.ValueType", screened.verdict),
            findings=screened.findings,
            policy_version=screened.policy_version,
            case_id=screened.case_id,
        ),
    )

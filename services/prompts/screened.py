"""Moderation's decisions: publishes, holds or rejects the very revisions that were screened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from promptmesh.moderation.v1 import events_pb2 as moderation_events_pb2
from promptmesh.moderation.v1 import moderation_pb2
from promptmesh.prompts.v1 import events_pb2, posts_pb2

from services.mesh.database import Connection, queries
from services.mesh.events import Event, NewEvent, Outbox
from services.mesh.ids import SYSTEM_CLOCK, Clock
from services.prompts.changes import changed, example_requested
from services.prompts.metrics import POST_OUTCOMES, PUBLISH
from services.prompts.rounds import rounds
from services.prompts.waits import Waits

SQL = queries("services.prompts")

STATES: Mapping[int, posts_pb2.PostState.ValueType] = {
    moderation_pb2.VERDICT_ALLOW: posts_pb2.POST_STATE_PUBLISHED,
    moderation_pb2.VERDICT_HOLD: posts_pb2.POST_STATE_HELD,
    moderation_pb2.VERDICT_REJECT: posts_pb2.POST_STATE_REJECTED,
}
CHANGES: Mapping[int, events_pb2.PostChange.ValueType] = {
    posts_pb2.POST_STATE_PUBLISHED: events_pb2.POST_CHANGE_PUBLISHED,
    posts_pb2.POST_STATE_HELD: events_pb2.POST_CHANGE_HELD,
    posts_pb2.POST_STATE_REJECTED: events_pb2.POST_CHANGE_REJECTED,
}
# An example as it begins.
WRITING = posts_pb2.Example(state=posts_pb2.EXAMPLE_STATE_WRITING).SerializeToString()
# Told to an author where moderation gave no reason of its own.
REASON_UNSAID = "The policy for what is published does not allow this text as it stands."


class ScreenedHandler:
    """Handles `moderation.v1.PostScreened`.

    A verdict about another revision than the one that waits is ignored, and one that was done is not done again: both
    are conditions of the UPDATE itself.
    """

    def __init__(self, outbox: Outbox, *, clock: Clock = SYSTEM_CLOCK) -> None:
        self._outbox = outbox
        self._clock = clock
        self._waits = Waits()

    async def __call__(self, conn: Connection, events: Sequence[Event]) -> None:
        """Applies verdicts in the caller's transaction."""
        for one_round in rounds(events):
            await self._apply(conn, one_round)

    def committed(self, events: Sequence[Event]) -> None:
        """Sends the changes on at once."""
        self._outbox.wake()
        self._waits.committed(events)

    async def _apply(self, conn: Connection, events: Sequence[Event]) -> None:
        now = self._clock.now()
        verdicts: list[Any] = [event.payload for event in events]
        states = [_state(verdict) for verdict in verdicts]
        rows = await conn.fetch(
            SQL["apply_verdicts"],
            [verdict.post_id for verdict in verdicts],
            [verdict.revision for verdict in verdicts],
            states,
            [_reasons(verdict) for verdict in verdicts],
            now,
            WRITING,
        )
        if not rows:
            return
        changed_ids = [row["post_id"] for row in rows]
        since = {row["post_id"]: row["since"] for row in rows}
        for event, verdict, state in zip(events, verdicts, states, strict=True):
            if verdict.post_id in since:
                series = PUBLISH.labels(POST_OUTCOMES[state], _decided_by(verdict))
                self._waits.made(event, series, since[verdict.post_id], now)
        posts = await conn.fetch(SQL["get_posts"], changed_ids)
        tagged = [
            row["post_id"]
            for row in posts
            if row["state"] == posts_pb2.POST_STATE_PUBLISHED and (row["tags"] or row["revision"] > 1)
        ]
        if tagged:
            await conn.execute(SQL["publish_tags"], tagged)
        new: list[NewEvent] = []
        for row in posts:
            new.append(changed(row, CHANGES[row["state"]]))
            if row["state"] == posts_pb2.POST_STATE_PUBLISHED:
                new.append(example_requested(row))
        await self._outbox.append(conn, new)


def _state(verdict: moderation_events_pb2.PostScreened) -> int:
    state = STATES.get(verdict.verdict)
    if state is None:
        raise ValueError(
            f"PostScreened of post {verdict.post_id} revision {verdict.revision} has verdict {verdict.verdict}; "
            "expected ALLOW, HOLD or REJECT. The post waits. Bring moderation and prompts to one release, then replay "
            "the event."
        )
    return state


def _decided_by(verdict: moderation_events_pb2.PostScreened) -> str:
    """Who decided: the policy opens a case for what it holds, and a person ends it."""
    held = verdict.verdict == moderation_pb2.VERDICT_HOLD
    return "moderator" if verdict.case_id and not held else "policy"


def _reasons(verdict: moderation_events_pb2.PostScreened) -> str | None:
    """What an author may know, as JSON of a list of `{category, message}`; None: it was allowed."""
    if verdict.verdict == moderation_pb2.VERDICT_ALLOW:
        return None
    reasons: dict[tuple[str, str], None] = {}  # an ordered set
    if verdict.public_reason:
        reasons["", verdict.public_reason] = None
    for finding in verdict.findings:
        # A finding whose rule alone would allow the text is no reason against it.
        if finding.verdict != moderation_pb2.VERDICT_ALLOW:
            reasons[category_name(finding.category), finding.message or REASON_UNSAID] = None
    if not reasons:
        reasons["", REASON_UNSAID] = None
    return orjson.dumps([{"category": category, "message": message} for category, message in reasons]).decode()


# Names of OpenAI's moderation API that are not the enum's in lower case.
_NAMES = {
    moderation_pb2.CATEGORY_HARASSMENT_THREATENING: "harassment/threatening",
    moderation_pb2.CATEGORY_HATE_THREATENING: "hate/threatening",
    moderation_pb2.CATEGORY_ILLICIT_VIOLENT: "illicit/violent",
    moderation_pb2.CATEGORY_SELF_HARM: "self-harm",
    moderation_pb2.CATEGORY_SELF_HARM_INTENT: "self-harm/intent",
    moderation_pb2.CATEGORY_SELF_HARM_INSTRUCTIONS: "self-harm/instructions",
    moderation_pb2.CATEGORY_SEXUAL_MINORS: "sexual/minors",
    moderation_pb2.CATEGORY_VIOLENCE_GRAPHIC: "violence/graphic",
}


def category_name(category: moderation_pb2.Category.ValueType) -> str:
    """The name that people and OpenAI's API use: "hate/threatening", "prompt_injection"; "" for none."""
    if category in _NAMES:
        return _NAMES[category]
    if category not in moderation_pb2.Category.values() or category == moderation_pb2.CATEGORY_UNSPECIFIED:
        return ""
    return moderation_pb2.Category.Name(category).removeprefix("CATEGORY_").lower()

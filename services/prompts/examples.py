"""Inference's finished examples: attached to the revision that is published, and to no other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from promptmesh.inference.v1 import events_pb2 as inference_events_pb2
from promptmesh.prompts.v1 import events_pb2, posts_pb2

from services.mesh.database import Connection, queries
from services.mesh.events import Event, Outbox
from services.mesh.ids import SYSTEM_CLOCK, Clock
from services.prompts.changes import changed
from services.prompts.metrics import EXAMPLE, EXAMPLE_OUTCOMES
from services.prompts.rounds import rounds
from services.prompts.waits import Waits

SQL = queries("services.prompts")

STATES: Mapping[int, posts_pb2.ExampleState.ValueType] = {
    inference_events_pb2.EXAMPLE_OUTCOME_READY: posts_pb2.EXAMPLE_STATE_READY,
    inference_events_pb2.EXAMPLE_OUTCOME_FAILED: posts_pb2.EXAMPLE_STATE_FAILED,
    inference_events_pb2.EXAMPLE_OUTCOME_WITHHELD: posts_pb2.EXAMPLE_STATE_WITHHELD,
}


class ExampleHandler:
    """Handles `inference.v1.ExampleFinished`. One for a revision that is not published (any more), or whose example is
    there already, is ignored by the condition of the UPDATE."""

    def __init__(self, outbox: Outbox, *, clock: Clock = SYSTEM_CLOCK) -> None:
        self._outbox = outbox
        self._clock = clock
        self._waits = Waits()

    async def __call__(self, conn: Connection, events: Sequence[Event]) -> None:
        """Attaches examples in the caller's transaction."""
        for one_round in rounds(events):
            await self._attach(conn, one_round)

    def committed(self, events: Sequence[Event]) -> None:
        """Sends the changes on at once."""
        self._outbox.wake()
        self._waits.committed(events)

    async def _attach(self, conn: Connection, events: Sequence[Event]) -> None:
        now = self._clock.now()
        finished: list[inference_events_pb2.ExampleFinished] = [cast(Any, event.payload) for event in events]
        examples = [example_of(one) for one in finished]
        for example in examples:
            example.create_time.FromDatetime(now)
        rows = await conn.fetch(
            SQL["attach_examples"],
            [one.post_id for one in finished],
            [one.revision for one in finished],
            [example.state for example in examples],
            [example.SerializeToString() for example in examples],
            now,
        )
        if rows:
            since = {row["post_id"]: row["since"] for row in rows}
            for event, one, example in zip(events, finished, examples, strict=True):
                if one.post_id in since:
                    series = EXAMPLE.labels(EXAMPLE_OUTCOMES[example.state])
                    self._waits.made(event, series, since[one.post_id], now)
            posts = await conn.fetch(SQL["get_posts"], [row["post_id"] for row in rows])
            await self._outbox.append(conn, [changed(row, events_pb2.POST_CHANGE_EXAMPLE) for row in posts])


def example_of(finished: inference_events_pb2.ExampleFinished) -> posts_pb2.Example:
    """The example that a post carries. Text is taken from a READY one alone: only that was cleared by moderation."""
    state = STATES.get(finished.outcome)
    if state is None:
        raise ValueError(
            f"ExampleFinished of post {finished.post_id} revision {finished.revision} has outcome {finished.outcome}; "
            "expected READY, FAILED or WITHHELD. Bring inference and prompts to one release, then replay the event."
        )
    example = posts_pb2.Example(state=state, model=finished.model)
    if state == posts_pb2.EXAMPLE_STATE_READY:
        example.text = finished.text
    else:
        example.failure = finished.failure
    if finished.HasField("usage"):
        usage = finished.usage
        example.input_tokens, example.output_tokens = usage.input_tokens, usage.output_tokens
        example.usage_estimated = usage.estimated
        if usage.HasField("cost_nanos"):
            example.cost_nanos = usage.cost_nanos
    return example

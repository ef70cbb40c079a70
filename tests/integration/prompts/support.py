"""What tests of the prompts service do again and again: people, verdicts, examples, events of the log."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from google.protobuf.message import Message
from promptmesh.access.v1 import access_pb2
from promptmesh.inference.v1.events_pb2 import EXAMPLE_OUTCOME_READY, ExampleFinished, ExampleOutcome
from promptmesh.inference.v1.inference_pb2 import Usage
from promptmesh.moderation.v1.events_pb2 import PostScreened
from promptmesh.moderation.v1.moderation_pb2 import Verdict
from promptmesh.prompts.v1.posts_pb2 import Post

from services.mesh.call import ANONYMOUS, Caller, CallerKind
from services.mesh.database import Database
from services.mesh.events import Event, Outbox
from services.mesh.events.envelope import Decoder
from services.mesh.ids import uuid7
from services.prompts.content import Content
from services.prompts.examples import ExampleHandler
from services.prompts.screened import ScreenedHandler
from services.prompts.store import FIRST_PAGE, PostStore
from services.prompts.views import view_for

_positions = itertools.count(1)


def person(name: str = "Ann", *roles: int) -> Caller:
    """A person with a session."""
    return Caller(
        CallerKind.SESSION,
        user_id=uuid7(),
        org_id=uuid7(),
        display_name=name,
        roles=frozenset(roles or (access_pb2.ROLE_USER,)),
    )


def event_of(payload: Any) -> Event:
    """An event as a consumer hands it to a handler."""
    return Event(
        uuid7(),
        payload.DESCRIPTOR.full_name,
        uuid7(),
        payload.post_id,
        1,
        datetime.now(UTC),
        "",
        next(_positions),
        0,
        payload,
    )


def screened(post_id: str, revision: int, verdict: Verdict.ValueType, **more: Any) -> Event:
    """A verdict."""
    return event_of(PostScreened(post_id=post_id, revision=revision, verdict=verdict, **more))


def finished(
    post_id: str,
    revision: int,
    text: str = "An answer.",
    outcome: ExampleOutcome.ValueType = EXAMPLE_OUTCOME_READY,
) -> Event:
    """An example's end."""
    usage = Usage(input_tokens=3, output_tokens=4, cost_nanos=5)
    return event_of(
        ExampleFinished(post_id=post_id, revision=revision, outcome=outcome, text=text, model="demo", usage=usage)
    )


@dataclass(frozen=True, slots=True)
class Bench:
    """Store and handlers over one database."""

    database: Database
    outbox: Outbox
    store: PostStore

    async def create(self, author: Caller, title: str = "A title", *tags: str, body: str = "A prompt") -> Post:
        """A new post."""
        return await self.store.create(author, Content(title, body, tags))

    async def screen(self, *events: Event) -> None:
        """Applies verdicts as the consumer does: in one transaction."""
        async with self.database.transaction() as conn:
            await ScreenedHandler(self.outbox)(conn, events)

    async def attach(self, *events: Event) -> None:
        """Attaches examples as the consumer does."""
        async with self.database.transaction() as conn:
            await ExampleHandler(self.outbox)(conn, events)

    async def seen(self, caller: Caller, post_id: str) -> Post | None:
        """The post as the caller may see it."""
        row = await self.store.get(caller, post_id)
        return None if row is None else view_for(caller, row)

    async def public(self, post_id: str) -> Post | None:
        """The post as everyone sees it."""
        return await self.seen(ANONYMOUS, post_id)

    async def listed(self, caller: Caller = ANONYMOUS, *, author_id: str = "", tag: str = "") -> list[str]:
        """Ids of a list."""
        rows = await self.store.list_page(caller, author_id=author_id, tag=tag, after=FIRST_PAGE, limit=100)
        return [row["post_id"] for row in rows]

    async def log(self) -> Sequence[Event]:
        """All events in the outbox, as they were written."""
        decoder = Decoder(None)
        async with self.database.connection() as conn:
            rows = await conn.fetch("SELECT envelope FROM outbox ORDER BY id")
        events = [decoder.decode(row["envelope"], 0, 0) for row in rows]
        return [event for event in events if event is not None]

    async def payloads(self, kind: type[Message]) -> list[Any]:
        """Payloads of one type in the outbox."""
        return [event.payload for event in await self.log() if isinstance(event.payload, kind)]

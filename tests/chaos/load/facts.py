"""What there is after the load: in the database, at the provider, and of what was revoked."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import asyncpg
from promptmesh.events.v1 import events_pb2
from promptmesh.inference.v1 import events_pb2 as inference_events
from promptmesh.inference.v1 import receipt_pb2
from promptmesh.moderation.v1 import moderation_pb2
from promptmesh.prompts.v1 import events_pb2 as prompts_events
from promptmesh.prompts.v1 import posts_pb2

from tests.chaos.world import EXAMPLES, PROVIDERS
from tests.support.provider import RemoteProviders

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]
Revision = tuple[str, int]
_KEY = re.compile(r"\[((?:op|kept) \d+)\]")
OF_EXAMPLES, OF_NOBODY = "examples", "nobody"
PROBE = "ping"  # services/inference/routing/probes.py
SCHEMAS = ("auth", "prompts", "moderation", "inference")


@dataclass(frozen=True)
class PostRow:
    """A post as the database has it. `state`: name without prefix."""

    state: str
    revision: int
    published_revision: int
    like_count: int
    request_id: str
    deleted: bool


@dataclass(frozen=True)
class LedgerRow:
    """A call in the ledger. `key`: of its tags, or OF_EXAMPLES, or OF_NOBODY; `outcome`, `basis`: names without
    prefix."""

    record_id: str
    org_id: str
    key: str
    outcome: str
    basis: str
    cached: bool
    tokens: tuple[int, int]
    cost_nanos: int
    attempts: int


@dataclass(frozen=True)
class ProviderCall:
    """A request that a provider saw. `reported`: tokens, where it told its true usage."""

    provider: str
    key: str
    fault: str
    outcome: str
    reported: tuple[int, int] | None


@dataclass
class Facts:
    """All of it."""

    posts: dict[str, PostRow] = field(default_factory=dict)
    bodies: dict[Revision, str] = field(default_factory=dict)
    likes: set[tuple[str, str]] = field(default_factory=set)
    published: Counter[Revision] = field(default_factory=Counter)  # events
    exampled: Counter[Revision] = field(default_factory=Counter)  # events
    allowed: set[Revision] = field(default_factory=set)  # by the policy, or by a person
    decisions: dict[str, str] = field(default_factory=dict)  # case → verdict's name
    emails: set[str] = field(default_factory=set)
    keys: dict[str, bool] = field(default_factory=dict)  # key's id → whether it is revoked
    sessions: dict[str, bool] = field(default_factory=dict)  # session's id → whether it has ended
    letters: dict[str, int] = field(default_factory=dict)
    unsent: int = 0  # events that no relay has numbered
    rows: list[LedgerRow] = field(default_factory=list)
    hourly: tuple[int, int, int, int] = (0, 0, 0, 0)  # calls, tokens, tokens, nano-dollars
    calls: list[ProviderCall] = field(default_factory=list)
    running: int = 0  # requests under way at the providers
    forgotten: int = 0  # calls that a provider saw and does not hold any more
    #: What was tried with credentials: → "works", or how it was refused.
    tried: dict[str, str] = field(default_factory=dict)

    def shown(self) -> set[Revision]:
        """What everyone sees now."""
        return {
            (post_id, post.published_revision)
            for post_id, post in self.posts.items()
            if post.published_revision and not post.deleted
        }

    def waits(self) -> list[str]:
        """What is still to be done for what was accepted."""
        waiting = []
        if pending := sum(post.state == "PENDING" for post in self.posts.values()):
            waiting.append(f"{pending} posts wait for moderation")
        if missing := self.shown() - set(self.exampled):
            waiting.append(f"{len(missing)} published posts wait for their example")
        if self.unsent:
            waiting.append(f"{self.unsent} events wait to be told")
        if self.running:
            waiting.append(f"{self.running} calls are under way at the providers")
        rows = {row.key for row in self.rows}
        if open_calls := {call.key for call in self.calls if call.key not in (OF_NOBODY, OF_EXAMPLES)} - rows:
            waiting.append(f"{len(open_calls)} calls are not in the ledger: {sorted(open_calls)[:5]}")
        return waiting


async def look(database_url: str, providers: RemoteProviders) -> Facts:
    """Looks at everything. Raises OSError or asyncpg's errors where the database cannot be asked."""
    facts = Facts()
    conn = await asyncpg.connect(database_url, timeout=10)
    try:
        await _posts(conn, facts)
        await _people(conn, facts)
        await _ledger(conn, facts)
    finally:
        await conn.close()
    for name in PROVIDERS:
        record = await providers.record(name)
        facts.running += record["running"]
        facts.forgotten += record["requests"] - len(record["calls"])
        facts.calls += [provider_call(name, call) for call in record["calls"]]
    return facts


def provider_call(provider: str, call: Mapping[str, Any]) -> ProviderCall:
    """A call as a provider's record tells it."""
    found = _KEY.search(call["prompt"])
    probed = call["prompt"] == PROBE  # by a breaker, of whichever provider: nobody's call
    key = OF_EXAMPLES if provider == EXAMPLES and not probed else found.group(1) if found else OF_NOBODY
    reported = call["reported"]
    return ProviderCall(
        provider, key, call["fault"], call["outcome"], None if reported is None else (reported[0], reported[1])
    )


async def _posts(conn: Connection, facts: Facts) -> None:
    for row in await conn.fetch(
        "SELECT post_id::text, state, revision, published_revision, like_count, request_id::text, delete_time"
        " FROM prompts.posts"
    ):
        facts.posts[row["post_id"]] = PostRow(
            posts_pb2.PostState.Name(row["state"]).removeprefix("POST_STATE_"),
            row["revision"],
            row["published_revision"],
            row["like_count"],
            row["request_id"] or "",
            row["delete_time"] is not None,
        )
    for row in await conn.fetch("SELECT post_id::text, revision, body FROM prompts.post_revisions"):
        facts.bodies[row["post_id"], row["revision"]] = row["body"]
    facts.likes = {
        (row[0], row[1]) for row in await conn.fetch("SELECT post_id::text, user_id::text FROM prompts.likes")
    }
    for change in await _events(conn, "prompts", prompts_events.PostChanged):
        if change.change == prompts_events.POST_CHANGE_PUBLISHED:
            facts.published[change.published.post_id, change.published.revision] += 1
    for finished in await _events(conn, "inference", inference_events.ExampleFinished):
        facts.exampled[finished.post_id, finished.revision] += 1
    for row in await conn.fetch(
        "SELECT post_id::text, revision FROM moderation.screenings WHERE verdict = $1"
        " UNION SELECT post_id::text, revision FROM moderation.cases WHERE decision = $1",
        moderation_pb2.VERDICT_ALLOW,
    ):
        facts.allowed.add((row["post_id"], row["revision"]))
    for row in await conn.fetch("SELECT case_id::text, decision FROM moderation.cases WHERE decision <> 0"):
        facts.decisions[row["case_id"]] = moderation_pb2.Verdict.Name(row["decision"])


async def _people(conn: Connection, facts: Facts) -> None:
    facts.emails = {row["email"] for row in await conn.fetch("SELECT email FROM auth.users")}
    for row in await conn.fetch("SELECT api_key_id::text, revoke_time IS NOT NULL AS revoked FROM auth.api_keys"):
        facts.keys[row["api_key_id"]] = row["revoked"]
    for row in await conn.fetch("SELECT session_id::text, end_time IS NOT NULL AS ended FROM auth.sessions"):
        facts.sessions[row["session_id"]] = row["ended"]
    for schema in SCHEMAS:
        letters = await conn.fetchval(f"SELECT count(*) FROM {schema}.dead_letters")
        facts.letters[schema] = letters
        facts.unsent += await conn.fetchval(f"SELECT count(*) FROM {schema}.outbox WHERE position IS NULL")


async def _ledger(conn: Connection, facts: Facts) -> None:
    for row in await conn.fetch(
        "SELECT id::text, org_id::text, surface, outcome, basis, cache, input_tokens, output_tokens, cost_nanos,"
        " attempts, tags FROM inference.requests"
    ):
        key = json.loads(row["tags"]).get("key", OF_NOBODY)
        if row["surface"] == receipt_pb2.SURFACE_EXAMPLE:
            key = OF_EXAMPLES
        facts.rows.append(
            LedgerRow(
                row["id"],
                row["org_id"],
                key,
                receipt_pb2.Outcome.Name(row["outcome"]).removeprefix("OUTCOME_"),
                receipt_pb2.Basis.Name(row["basis"]).removeprefix("BASIS_"),
                row["cache"] in (receipt_pb2.CACHE_DECISION_HIT, receipt_pb2.CACHE_DECISION_JOINED),
                (row["input_tokens"], row["output_tokens"]),
                row["cost_nanos"] or 0,
                len(json.loads(row["attempts"])),
            )
        )
    hourly = await conn.fetchrow(
        "SELECT coalesce(sum(requests), 0)::bigint, coalesce(sum(input_tokens), 0)::bigint,"
        " coalesce(sum(output_tokens), 0)::bigint, coalesce(sum(cost_nanos), 0)::bigint FROM inference.usage_hourly"
    )
    assert hourly is not None
    facts.hourly = (hourly[0], hourly[1], hourly[2], hourly[3])


async def _events(conn: Connection, schema: str, kind: Any) -> list[Any]:
    rows = await conn.fetch(
        f"SELECT envelope FROM {schema}.outbox WHERE type = $1",
        kind.DESCRIPTOR.full_name,
    )
    return [kind.FromString(events_pb2.Envelope.FromString(row["envelope"]).payload) for row in rows]

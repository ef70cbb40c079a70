"""What is left of cases when their author, or who decided them, is gone."""

from __future__ import annotations

from services.mesh.database import Database
from services.mesh.events import Outbox
from services.mesh.events.erasure import NOBODY, Gone
from services.mesh.ids import uuid7
from services.moderation import store
from services.moderation.policies import Policies
from services.moderation.submitted import Submitted
from tests.integration.moderation.test_submitted import DOUBTFUL, ORG, handle, submitted


async def test_cases_name_nobody_who_is_gone(database: Database, policies: Policies, outbox: Outbox) -> None:
    author, resolver, kept = ORG, uuid7(), uuid7()
    await handle(database, Submitted(policies, outbox), submitted(open_id := uuid7(), DOUBTFUL))
    await handle(database, Submitted(policies, outbox), submitted(decided_id := uuid7(), DOUBTFUL))
    await handle(database, Submitted(policies, outbox), submitted(other_id := uuid7(), DOUBTFUL))
    async with database.connection() as conn:
        decide = "UPDATE cases SET resolver_id = $2, state = 2, decision = $3, note = $4, resolve_time = now()"
        await conn.execute(f"{decide}, author_id = $5 WHERE post_id = $1", other_id, resolver, 3, "of Ada", kept)
        await conn.execute(f"{decide} WHERE post_id = $1", decided_id, resolver, 1, "Ada")
    for _ in range(2):
        async with database.transaction() as conn:
            await store.erase(conn, Gone(author, uuid7()))
            await store.erase(conn, Gone(resolver, uuid7()))
        async with database.connection() as conn:
            rows = {row["post_id"]: row for row in await conn.fetch("SELECT * FROM cases")}
        for post_id, state in ((open_id, 3), (decided_id, 2)):
            row = rows[post_id]
            assert (row["state"], row["author_id"], row["body"], row["title"], row["author_name"], row["note"]) == (
                *(state, NOBODY),
                *("", "", "", ""),
            )
        assert rows[decided_id]["resolver_id"] == rows[other_id]["resolver_id"] == NOBODY
        assert (rows[other_id]["author_id"], rows[other_id]["body"], rows[other_id]["note"]) == (
            kept,
            DOUBTFUL,
            "of Ada",
        )


async def test_cases_of_an_organisation_that_is_gone(database: Database, policies: Policies, outbox: Outbox) -> None:
    await handle(database, Submitted(policies, outbox), submitted(uuid7(), DOUBTFUL))
    async with database.transaction() as conn:
        await store.erase(conn, Gone(NOBODY, uuid7()))
    async with database.connection() as conn:
        assert await conn.fetchval("SELECT count(*) FROM cases WHERE body <> ''") == 1
    async with database.transaction() as conn:
        await store.erase(conn, Gone(NOBODY, ORG))
    async with database.connection() as conn:
        assert await conn.fetchval("SELECT count(*) FROM cases WHERE body <> '' OR author_id <> $1", NOBODY) == 0

"""What is left of calls and limits when their person is gone."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from services.inference.erasure import erase
from services.inference.ledger.rows import TagValues
from services.inference.ledger.writer import Writer
from services.mesh.database import Database
from services.mesh.events.erasure import NOBODY, Gone
from services.mesh.ids import uuid7
from tests.integration.inference.ledger.test_usage import record

DAY_NS = 86_400 * 10**9
SUMS = "SELECT sum(requests)::int, sum(cost_nanos)::bigint, sum(input_tokens)::int FROM usage_hourly WHERE org_id = $1"
USER_LIMIT, KEY_LIMIT, ORG_LIMIT = 2, 1, 3


async def rows(database: Database, query: str, *arguments: Any) -> list[Any]:
    async with database.connection() as conn:
        return [tuple(row.values()) for row in await conn.fetch(query, *arguments)]


async def gone(database: Database, user_id: str, org_id: str) -> None:
    async with database.transaction() as conn:
        await erase(conn, Gone(user_id, org_id))


async def test_records_and_sums_stay_without_their_person(database: Database, tmp_path: Path) -> None:
    writer = Writer(database, TagValues(100, 100), tmp_path / "refused.journal")
    ada, own, shared, other, key = uuid7(), uuid7(), uuid7(), uuid7(), uuid7()
    now = time.time_ns()
    calls = [
        record(now - age * DAY_NS, org_id=org, user_id=user, api_key_id=key, tags={"who": "ada"})
        for age in (0, 1, 8)
        for org, user in ((own, ada), (shared, ada), (shared, other))
    ]
    assert await writer.write(calls)
    before = await rows(database, SUMS, shared)
    async with database.connection() as conn:
        for kind, subject in ((USER_LIMIT, ada), (KEY_LIMIT, key), (ORG_LIMIT, own), (USER_LIMIT, other)):
            await conn.execute(
                "INSERT INTO limits (kind, subject_id, org_id, requests_per_day, version) VALUES ($1, $2, $3, 5, 1)",
                *(kind, subject, own),
            )
    for late in range(2):
        await gone(database, ada, own)
        for table in ("requests", "usage_hourly", "usage_tags_hourly"):
            assert not await rows(database, f"SELECT * FROM {table} WHERE user_id = $1", ada), table
        assert await rows(database, SUMS, shared) == before
        told = "SELECT count(*)::int FROM requests WHERE user_id = $1 AND api_key_id = $1 AND tags = '{}'"
        assert await rows(database, told, NOBODY) == [(6 + late,)]
        kept = "SELECT count(*)::int FROM requests WHERE user_id = $1 AND tags ->> 'who' = 'ada'"
        assert await rows(database, kept, other) == [(3,)]
        limits = "SELECT subject_id FROM limits WHERE NOT removed"
        assert await rows(database, limits) == [(other,)]
        # A journal may tell of a call later: again takes it in, and the sums still fit.
        assert await writer.write([record(now, org_id=shared, user_id=ada, tags={"who": "ada"})])
        before = await rows(database, SUMS, shared)
    await gone(database, ada, own)
    assert await rows(database, SUMS, shared) == before
    assert not await rows(database, "SELECT * FROM requests WHERE user_id = $1", ada)


async def test_an_organisation_that_is_gone(database: Database, tmp_path: Path) -> None:
    writer = Writer(database, TagValues(100, 100), tmp_path / "refused.journal")
    ada, org, other = uuid7(), uuid7(), uuid7()
    assert await writer.write([record(org_id=one, user_id=ada, tags={"team": "x"}) for one in (org, other)])
    await gone(database, NOBODY, org)
    query = "SELECT user_id, tags::text FROM requests WHERE org_id = $1"
    assert await rows(database, query, org) == [(NOBODY, "{}")]
    assert await rows(database, query, other) == [(ada, '{"team": "x"}')]

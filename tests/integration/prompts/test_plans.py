"""Lists read their page from an index in its order, and nothing is sorted or read whole."""

from __future__ import annotations

import pytest
from promptmesh.moderation.v1.moderation_pb2 import VERDICT_ALLOW

from services.mesh.ids import uuid7
from services.prompts.store import FIRST_PAGE, SQL
from tests.integration.prompts.support import Bench, person, screened

SOMEONE = uuid7()
LISTS = {
    "list_published": ("posts_published", (FIRST_PAGE, 20, SOMEONE)),
    "list_by_tag": ("published_tags_pkey", (FIRST_PAGE, 20, SOMEONE, "tag")),
    "list_by_author": ("posts_by_author", (FIRST_PAGE, 20, SOMEONE, SOMEONE, None)),
    "list_own": ("posts_by_author", (FIRST_PAGE, 20, SOMEONE, None, SOMEONE, None)),
}


@pytest.mark.parametrize("name", LISTS)
async def test_a_page_is_read_from_its_index(bench: Bench, name: str) -> None:
    posts = [await bench.create(person(), "T", "tag") for _ in range(60)]
    await bench.screen(*(screened(post.post_id, 1, VERDICT_ALLOW) for post in posts[::2]))
    index, arguments = LISTS[name]
    async with bench.database.transaction() as conn:
        await conn.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off")
        rows = await conn.fetch("EXPLAIN " + SQL[name], *arguments)
    plan = "\n".join(row[0] for row in rows)
    assert index in plan
    assert "Sort" not in plan
    assert "Seq Scan" not in plan

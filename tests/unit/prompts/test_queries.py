"""Code and .sql files name each other."""

from __future__ import annotations

from services.mesh.database.queries import misused_queries


def test_every_query_is_used_and_there() -> None:
    assert misused_queries("services.prompts") == (set(), set())

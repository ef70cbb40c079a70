"""Every query is used, and every one that is used is there."""

from services.mesh.database.queries import misused_queries


def test_queries_and_code_fit() -> None:
    assert misused_queries("services.auth") == (set(), set())

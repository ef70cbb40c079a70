"""Every .sql file is used, and every name in the code has its file."""

from services.mesh.database.queries import misused_queries


def test_queries() -> None:
    assert misused_queries("services.inference") == (set(), set())

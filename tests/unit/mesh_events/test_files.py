"""SQL and migrations as files."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.mesh.database.migrate import MigrationError, migrations_of, pending, read_migrations
from services.mesh.database.provision import ProvisionError, credentials_of
from services.mesh.database.queries import Queries, UnknownQueryError, misused_queries, package_folder, queries
from services.mesh.database.setup import SERVICES
from services.mesh.database.versions import KIT_SERVES


def test_queries_by_name(tmp_path: Path) -> None:
    (tmp_path / "get_post.sql").write_text("SELECT 1\n")
    (tmp_path / "put_post.sql").write_text("SELECT 2")
    found = Queries(tmp_path)
    assert dict(found) == {"get_post": "SELECT 1", "put_post": "SELECT 2"}
    with pytest.raises(UnknownQueryError, match=r"No query 'get_posts' in .*; there is: get_post, put_post\."):
        found["get_posts"]


def test_queries_of_a_package() -> None:
    assert "INSERT INTO outbox" in queries("services.mesh.events", "sql")["append"]
    assert queries("services.mesh.events", "sql") is queries("services.mesh.events", "sql")
    with pytest.raises(ModuleNotFoundError, match=r"services\.nowhere"):
        queries("services.nowhere")


def test_names_without_file_and_files_without_use_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "somewhere"
    (package / "queries").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "store.py").write_text("""SQL["used"]\nSQL_OF_IT['missing']\n""")
    for name in ("used", "unused"):
        (package / "queries" / f"{name}.sql").write_text("SELECT 1")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert misused_queries("somewhere") == ({"unused"}, {"missing"})


@pytest.mark.parametrize(
    ("names", "complaint"),
    [
        (["0001_a.sql", "0003_b.sql"], "expected migration 0002, found 0003_b"),
        (["0001_a.sql", "0001_b.sql"], "expected migration 0002, found 0001_b"),
        (["0002_a.sql"], "expected migration 0001"),
        (["1_a.sql"], "named like 0001_posts"),
        (["0001_A.sql"], "named like 0001_posts"),
    ],
)
def test_migrations_are_numbered_without_a_gap(tmp_path: Path, names: list[str], complaint: str) -> None:
    for name in names:
        (tmp_path / name).write_text("SELECT 1")
    with pytest.raises(MigrationError, match=complaint):
        read_migrations("prompts", tmp_path)


def test_what_is_pending(tmp_path: Path) -> None:
    for name in ("0001_a.sql", "0002_b.sql"):
        (tmp_path / name).write_text(name)
    one, two = read_migrations("prompts", tmp_path)
    assert pending([one, two], {}) == [one, two]
    assert pending([one, two], {("prompts", 1): ("a", one.checksum)}) == [two]
    assert pending([one, two], {("prompts", 1): ("a", one.checksum), ("mesh", 1): ("kit", "x")}) == [one, two][1:]
    assert read_migrations("prompts", tmp_path / "nowhere") == []


def test_the_kit_serves_its_own_migrations() -> None:
    folder = package_folder("services.mesh.database") / "migrations"
    assert read_migrations("mesh", folder)[-1].number == KIT_SERVES[1]


@pytest.mark.parametrize("service", SERVICES)
def test_every_service_has_readable_migrations(service: str) -> None:
    assert migrations_of(service)[0].component == "mesh"


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("mysql://promptmesh_auth:x@h/d", "must be like postgresql://promptmesh_auth"),
        ("postgresql://promptmesh_auth:x@h", "must be like"),
        ("postgresql://postgres:x@h/d", "the role of 'auth' is 'promptmesh_auth'"),
        ("postgresql://promptmesh_auth@h/d", "has no password"),
    ],
)
def test_a_dsn_that_is_not_the_services_own(url: str, complaint: str) -> None:
    with pytest.raises(ProvisionError, match=complaint) as caught:
        credentials_of("auth", url, "PROMPTMESH_AUTH_DATABASE_URL")
    assert "PROMPTMESH_AUTH_DATABASE_URL" in str(caught.value)


def test_a_dsn_with_escapes() -> None:
    assert credentials_of("auth", "postgresql://promptmesh_auth:a%2Fb@h:1/d", "X") == ("promptmesh_auth", "a/b")

"""Backup and restore, with the embedded PostgreSQL."""

from __future__ import annotations

import io
import json
import stat
import tarfile
from pathlib import Path

import pytest

from services.local.backup import BackupError, back_up, restore
from services.local.data_folder import AlreadyRunningError, DataFolder
from services.local.embedded.postgres import PostgresCluster, running_postgres
from services.local.files import write_private_json
from services.local.plan import DATABASE, embedded_postgres
from services.local.ports import free_ports
from services.local.secrets import load_or_make_admin, load_or_make_secrets


def cluster_of(data: DataFolder) -> PostgresCluster:
    return embedded_postgres(data, load_or_make_secrets(data), free_ports(1)[0])


@pytest.fixture
def filled(data: DataFolder) -> DataFolder:
    """A folder whose database has a role, a schema of its own, rights and rows, as the services' have."""
    load_or_make_admin(data)
    cluster = cluster_of(data)
    with running_postgres(cluster, data.log("postgres")):
        cluster.run_sql("CREATE ROLE promptmesh_auth LOGIN PASSWORD 'x'")
        cluster.run_sql(f"REVOKE ALL ON DATABASE {DATABASE} FROM PUBLIC")
        cluster.run_sql(f"GRANT CONNECT ON DATABASE {DATABASE} TO promptmesh_auth")
        cluster.run_sql("CREATE SCHEMA auth AUTHORIZATION promptmesh_auth", DATABASE)
        cluster.run_sql("SET ROLE promptmesh_auth; CREATE TABLE auth.users AS SELECT 7 AS id, 'ä' AS name", DATABASE)
    return data


def rows_of(data: DataFolder) -> str:
    cluster = cluster_of(data)
    with running_postgres(cluster, data.log("postgres")):
        owner = cluster.run_sql("SELECT tableowner FROM pg_tables WHERE schemaname = 'auth'", DATABASE).strip()
        rights = cluster.run_sql(f"SELECT has_database_privilege('promptmesh_auth', '{DATABASE}', 'CONNECT')").strip()
        checksums = cluster.run_sql("SHOW data_checksums").strip()
        return f"{cluster.run_sql('SELECT id, name FROM auth.users', DATABASE).strip()} {owner} {rights} {checksums}"


def test_a_backup_restores_elsewhere_with_roles_rights_and_secrets(filled: DataFolder, tmp_path: Path) -> None:
    archive = tmp_path / "mesh.backup"
    assert back_up(filled, archive) == archive.stat().st_size
    assert stat.S_IMODE(archive.stat().st_mode) == 0o600

    elsewhere = DataFolder(tmp_path / "elsewhere")
    assert restore(elsewhere, archive, force=False) is None
    assert rows_of(elsewhere) == "7|ä promptmesh_auth t on"
    for name in ("secrets.json", "auth-signing-key.pem", "admin.json"):
        assert (elsewhere.path / name).read_bytes() == (filled.path / name).read_bytes()
        assert stat.S_IMODE((elsewhere.path / name).stat().st_mode) == 0o600
    assert not (elsewhere.path / "restoring").exists()


def test_a_running_mesh_is_backed_up(filled: DataFolder, tmp_path: Path) -> None:
    cluster = cluster_of(filled)
    write_private_json(filled.ports, {"postgres": cluster.port})
    archive = tmp_path / "mesh.backup"
    with filled.locked(), running_postgres(cluster, filled.log("postgres")):
        back_up(filled, archive)
    elsewhere = DataFolder(tmp_path / "elsewhere")
    restore(elsewhere, archive, force=False)
    assert rows_of(elsewhere).startswith("7|ä")


def test_a_folder_with_a_mesh_is_replaced_only_by_force_and_kept_aside(filled: DataFolder, tmp_path: Path) -> None:
    archive = tmp_path / "mesh.backup"
    back_up(filled, archive)
    before = rows_of(filled)
    with pytest.raises(BackupError, match="holds a mesh already"):
        restore(filled, archive, force=False)
    aside = restore(filled, archive, force=True)
    assert aside is not None
    assert (aside / "postgres" / "PG_VERSION").exists()
    assert rows_of(filled) == before


def test_a_running_mesh_is_not_restored_over(filled: DataFolder, tmp_path: Path) -> None:
    archive = tmp_path / "mesh.backup"
    back_up(filled, archive)
    with filled.locked(), pytest.raises(AlreadyRunningError, match="already runs"):
        restore(filled, archive, force=True)


def test_a_damaged_archive_changes_nothing(filled: DataFolder, tmp_path: Path) -> None:
    archive = tmp_path / "mesh.backup"
    back_up(filled, archive)
    whole = archive.read_bytes()
    at = whole.index(b"CREATE ROLE promptmesh_auth")
    archive.write_bytes(whole[:at] + b"X" + whole[at + 1 :])
    elsewhere = DataFolder(tmp_path / "elsewhere")
    with pytest.raises(BackupError, match=r"damaged: roles\.sql"):
        restore(elsewhere, archive, force=False)
    assert not elsewhere.holds_a_mesh

    archive.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BackupError, match="damaged"):
        restore(elsewhere, archive, force=False)
    archive.write_bytes(b"not a tar")
    with pytest.raises(BackupError, match="no backup of Promptmesh"):
        restore(elsewhere, archive, force=False)
    with pytest.raises(BackupError, match="There is no file"):
        restore(elsewhere, tmp_path / "absent", force=False)
    assert not elsewhere.holds_a_mesh


def test_members_that_lead_elsewhere_are_not_followed(tmp_path: Path) -> None:
    archive = tmp_path / "evil.tar"
    manifest = json.dumps({"format": 1, "version": "0", "sha256": {}}).encode()
    with tarfile.open(archive, "w") as tar:
        for name, content in {"manifest.json": manifest, "../outside": b"x", "/tmp/outside": b"x"}.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    target = DataFolder(tmp_path / "target")
    with pytest.raises(BackupError, match="damaged"):
        restore(target, archive, force=False)
    assert not list(tmp_path.rglob("outside"))


def test_a_backup_of_another_format_names_the_version_that_made_it(tmp_path: Path) -> None:
    archive = tmp_path / "future.tar"
    manifest = json.dumps({"format": 9, "version": "7.0", "sha256": {}}).encode()
    with tarfile.open(archive, "w") as tar:
        info = tarfile.TarInfo("manifest.json")
        info.size = len(manifest)
        tar.addfile(info, io.BytesIO(manifest))
    with pytest.raises(BackupError, match=r"format 9 \(made by version 7\.0\)"):
        restore(DataFolder(tmp_path / "target"), archive, force=False)


def test_an_existing_file_is_not_overwritten(filled: DataFolder, tmp_path: Path) -> None:
    archive = tmp_path / "mesh.backup"
    archive.write_text("precious")
    with pytest.raises(BackupError, match="exists already"):
        back_up(filled, archive)
    assert archive.read_text() == "precious"


def test_without_an_embedded_database_it_says_what_to_do(data: DataFolder, tmp_path: Path) -> None:
    with pytest.raises(BackupError, match="PROMPTMESH_DATABASE_URL"):
        back_up(data, tmp_path / "mesh.backup")

"""Backups: the whole database and what is needed to run on it, in one archive that only its owner can read.

manifest.json           format, version of the program, time, and the SHA-256 of each other member
roles.sql               the database's roles (pg_dumpall)
database.dump           the database (pg_dump, custom format), one consistent snapshot
secrets.json  auth-signing-key.pem  admin.json  and, where there are any, models.yaml  edge.json
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import shutil
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from services.local.data_folder import DataFolder
from services.local.embedded.postgres import SUPERUSER, PostgresCluster, running_postgres
from services.local.errors import PlainError
from services.local.files import BadFileError, read_json
from services.local.plan import DATABASE, embedded_postgres
from services.local.port_names import POSTGRES
from services.local.ports import free_ports
from services.local.secrets import load_or_make_secrets

FORMAT = 1
MANIFEST, ROLES, DUMP = "manifest.json", "roles.sql", "database.dump"
_READ_BYTES = 1024 * 1024


class BackupError(PlainError):
    """A backup could not be made or restored; the message says why and what to do."""


def back_up(data: DataFolder, archive: Path) -> int:
    """Writes the backup of a mesh, running or not; returns its size in bytes. The file must not exist yet."""
    if archive.exists():
        raise BackupError(f"{archive} exists already. Name another file, or remove it first.")
    if not archive.parent.is_dir():
        raise BackupError(f"There is no folder {archive.parent} to write {archive.name} to. Make it first.")
    if not (data.postgres / "PG_VERSION").exists():
        raise BackupError(
            f"There is no embedded database in {data.path}. If this mesh uses an external one "
            f"(PROMPTMESH_DATABASE_URL), back that up with its own tools, and {data.secrets} and {data.signing_key} "
            f"by copying them. Otherwise name the mesh's folder with --data."
        )
    with _database(data) as cluster, _work_folder(data) as folder:
        # Roles do not belong to a database, so pg_dump leaves them out. The superuser comes with any new cluster.
        roles = cluster.run_tool("pg_dumpall", "--roles-only").splitlines()
        kept = [
            line for line in roles if not line.startswith((f"CREATE ROLE {SUPERUSER};", f"ALTER ROLE {SUPERUSER} "))
        ]
        _write_private(folder / ROLES, "\n".join(kept) + "\n")
        cluster.run_tool("pg_dump", "--format", "custom", "--file", str(folder / DUMP), DATABASE)
        members = {ROLES: folder / ROLES, DUMP: folder / DUMP}
        members |= {path.name: path for path in _kept_files(data) if path.exists()}
        manifest = {
            "format": FORMAT,
            "version": importlib.metadata.version("promptmesh-mesh"),
            "made_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "sha256": {name: _sha256(path) for name, path in members.items()},
        }
        _write_private(folder / MANIFEST, json.dumps(manifest, indent=2) + "\n")
        _write_archive(archive, {MANIFEST: folder / MANIFEST} | members)
    return archive.stat().st_size


def restore(data: DataFolder, archive: Path, *, force: bool) -> Path | None:
    """Makes the mesh of a data folder anew from a backup. Refuses a running one.

    Refuses a folder that holds a mesh, unless `force`: what was there is then moved aside, to the folder returned.
    Until all of it is loaded, what was there stays in place.
    """
    with data.locked():
        if data.holds_a_mesh and not force:
            raise BackupError(
                f"{data.path} holds a mesh already. Restore to another folder with --data, or give --force: what is "
                f"there is then moved aside, not removed."
            )
        staging = DataFolder(data.path / "restoring")
        shutil.rmtree(staging.path, ignore_errors=True)
        try:
            staging.make()
            with _work_folder(staging) as folder:
                _read_archive(archive, folder)
                for path in _kept_files(staging):
                    if (folder / path.name).exists():
                        shutil.move(folder / path.name, path)
                _load(staging, folder)
            aside = _move_aside(data)
            for path in (staging.postgres, *_kept_files(staging)):
                if path.exists():
                    path.rename(data.path / path.name)
        finally:
            shutil.rmtree(staging.path, ignore_errors=True)
        return aside


def _kept_files(data: DataFolder) -> list[Path]:
    return [data.secrets, data.signing_key, data.admin, data.models, data.edge]


@contextmanager
def _database(data: DataFolder) -> Iterator[PostgresCluster]:
    """The mesh's database: the running one, or started for this only."""
    secrets = load_or_make_secrets(data)
    if data.running_pid() is not None:
        ports = read_json(data.ports) or {}
        yield embedded_postgres(data, secrets, int(ports[POSTGRES]))
        return
    with data.locked():
        cluster = embedded_postgres(data, secrets, free_ports(1)[0])
        cluster.clear_stale_pid()
        with running_postgres(cluster, data.log(POSTGRES)):
            yield cluster


def _load(data: DataFolder, folder: Path) -> None:
    secrets = load_or_make_secrets(data)
    # The dump brings its database, so the cluster is made without one.
    cluster = PostgresCluster(data.postgres, free_ports(1)[0], secrets.postgres_password)
    with running_postgres(cluster, data.run / "postgres.log"):
        cluster.run_tool("psql", "-Xq", "-v", "ON_ERROR_STOP=1", "-d", "postgres", "-f", str(folder / ROLES))
        cluster.run_tool("pg_restore", "--create", "--exit-on-error", "-d", "postgres", str(folder / DUMP))
        cluster.run_sql("ANALYZE", DATABASE)


def _move_aside(data: DataFolder) -> Path | None:
    if not data.holds_a_mesh:
        return None
    there = [path for path in (data.postgres, data.workers, *_kept_files(data)) if path.exists()]
    aside = data.path / time.strftime("replaced-%Y%m%dT%H%M%SZ", time.gmtime())
    aside.mkdir(mode=0o700)
    for path in there:
        path.rename(aside / path.name)
    data.make()
    return aside


def _write_archive(archive: Path, members: dict[str, Path]) -> None:
    making = archive.with_name(f".{archive.name}.{os.getpid()}")
    descriptor = os.open(making, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
                for name, path in members.items():
                    info = tarfile.TarInfo(name)
                    info.size = path.stat().st_size
                    info.mode = 0o600
                    info.mtime = int(time.time())
                    with path.open("rb") as content:
                        tar.addfile(info, content)
            file.flush()
            os.fsync(file.fileno())
        making.rename(archive)
    except BaseException:
        making.unlink(missing_ok=True)
        raise


def _read_archive(archive: Path, folder: Path) -> None:
    """Takes the members that we know by name, and checks all of them against the manifest."""
    known = {MANIFEST, ROLES, DUMP, *(path.name for path in _kept_files(DataFolder(folder)))}
    try:
        with _open_archive(archive) as tar:
            for member in tar:
                content = tar.extractfile(member) if member.isfile() and member.name in known else None
                if content is not None:
                    (folder / member.name).touch(mode=0o600)
                    with (folder / member.name).open("wb") as copy:
                        shutil.copyfileobj(content, copy, _READ_BYTES)
    except (tarfile.TarError, EOFError) as error:
        raise BackupError(f"{archive} is damaged: it ends too early, or is not what was written.") from error
    except OSError as error:
        raise BackupError(f"{archive} cannot be read: {error.strerror or error}.") from error
    manifest = _manifest(archive, folder / MANIFEST)
    for name in (ROLES, DUMP, *(one for one in manifest["sha256"] if one in known)):
        path = folder / name
        if not path.exists() or _sha256(path) != manifest["sha256"].get(name):
            raise BackupError(f"{archive} is damaged: {name} is missing or not what was written. Nothing was changed.")


def _open_archive(archive: Path) -> tarfile.TarFile:
    try:
        return tarfile.open(archive, mode="r:")
    except FileNotFoundError as error:
        raise BackupError(f"There is no file {archive}.") from error
    except tarfile.TarError as error:
        raise BackupError(
            f"{archive} is no backup of Promptmesh (not a tar archive). Name a file that `promptmesh backup` wrote."
        ) from error


def _manifest(archive: Path, path: Path) -> dict[str, Any]:
    try:
        manifest = read_json(path)
    except BadFileError:
        manifest = None
    if manifest is None or not isinstance(manifest.get("sha256"), dict):
        raise BackupError(f"{archive} is no backup of Promptmesh: it has no {MANIFEST} that can be read.")
    if manifest.get("format") != FORMAT:
        raise BackupError(
            f"{archive} has format {manifest.get('format')} (made by version {manifest.get('version')}); this version "
            f"reads format {FORMAT}. Restore it with the version that made it."
        )
    return manifest


@contextmanager
def _work_folder(data: DataFolder) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="backup-", dir=data.run) as name:  # mode 0700
        yield Path(name)


def _write_private(path: Path, content: str) -> None:
    path.touch(mode=0o600)
    path.write_text(content, encoding="utf-8")


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_READ_BYTES):
            digest.update(piece)
    return digest.hexdigest()

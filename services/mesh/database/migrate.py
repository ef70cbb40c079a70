"""Migrations: numbered .sql files, each applied in a transaction of its own under a lock, never changed after.

`<folder>/0001_<name>.sql`. Several processes may migrate the same schema at once: each migration is applied once.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from services.mesh.database.queries import package_folder
from services.mesh.database.versions import KIT_COMPONENT

if TYPE_CHECKING:
    from services.mesh.database.database import Connection

_FILE_NAME = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")

_CREATE_LOG = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    component  text        NOT NULL,
    number     integer     NOT NULL,
    name       text        NOT NULL,
    checksum   text        NOT NULL,
    apply_time timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (component, number)
)"""
_LOCK = "SELECT pg_advisory_xact_lock(hashtext(current_schema()), hashtext('schema_migrations'))"
_APPLIED = "SELECT component, number, name, checksum FROM schema_migrations ORDER BY component, number"
_RECORD = "INSERT INTO schema_migrations (component, number, name, checksum) VALUES ($1, $2, $3, $4)"


class MigrationError(RuntimeError):
    """The files and the schema do not fit together, or a migration failed; the message says which and what to do."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file. component: `mesh` for the kit's, else the service's name. checksum: SHA-256 of the text, hex."""

    component: str
    number: int
    name: str
    sql: str
    checksum: str

    def __str__(self) -> str:
        return f"{self.component} {self.number:04d}_{self.name}"


def migrations_of(service: str) -> list[Migration]:
    """The kit's migrations, then those of services/<service>/migrations, in the order to apply them."""
    kit = package_folder("services.mesh.database") / "migrations"
    own = package_folder(f"services.{service}") / "migrations"
    return [*read_migrations(KIT_COMPONENT, kit), *read_migrations(service, own)]


def read_migrations(component: str, folder: Path) -> list[Migration]:
    """The files of a folder, numbered from 1 without a gap. A folder that is not there holds none."""
    found = []
    for path in sorted(folder.glob("*.sql")):
        match = _FILE_NAME.fullmatch(path.name)
        if match is None:
            raise MigrationError(f"{path}: a migration is named like 0001_posts.sql (four digits, a-z, 0-9, _).")
        sql = path.read_text(encoding="utf-8")
        checksum = hashlib.sha256(sql.encode()).hexdigest()
        found.append(Migration(component, int(match[1]), match[2], sql, checksum))
    for expected, migration in enumerate(found, start=1):
        if migration.number != expected:
            raise MigrationError(
                f"{folder}: expected migration {expected:04d}, found {migration.number:04d}_{migration.name}. "
                "Numbers run from 0001 without a gap, each once."
            )
    return found


async def migrate(connection: Connection, migrations: Sequence[Migration]) -> list[Migration]:
    """Applies what the schema of `connection` (its search_path) lacks; returns what was applied.

    Raises MigrationError, with nothing of that migration applied, when an applied file was changed, is missing or
    fails. Migrations newer than these files are left alone: services check the range that they serve.
    """
    done: list[Migration] = []
    # Looking without the lock first keeps the common case, nothing to do, at one statement.
    if await connection.fetchval("SELECT to_regclass('schema_migrations')") is not None and not pending(
        migrations, await _applied(connection)
    ):
        return done
    while True:
        async with connection.transaction():
            await connection.execute("SET LOCAL statement_timeout = 0")
            await connection.execute(_LOCK)
            await connection.execute(_CREATE_LOG)
            waiting = pending(migrations, await _applied(connection))
            if not waiting:
                return done
            migration = waiting[0]
            try:
                await connection.execute(migration.sql)
            except Exception as error:
                raise MigrationError(
                    f"Migration {migration} failed and was rolled back: {type(error).__name__}: {error}. "
                    "Those before it stay applied; correct it and run the set-up again."
                ) from error
            await connection.execute(_RECORD, migration.component, migration.number, migration.name, migration.checksum)
            done.append(migration)


def pending(migrations: Iterable[Migration], applied: Mapping[tuple[str, int], tuple[str, str]]) -> list[Migration]:
    """Those of `migrations` not in `applied`, a map (component, number) → (name, checksum).

    Raises MigrationError if an applied one has another text now, or no file though later ones have.
    """
    migrations = list(migrations)
    files = {(m.component, m.number): m for m in migrations}
    for (component, number), (name, checksum) in applied.items():
        last = max((n for c, n in files if c == component), default=0)
        file = files.get((component, number))
        if file is None:
            if number < last:
                raise MigrationError(f"Migration {component} {number:04d}_{name} was applied, but its file is gone.")
            continue
        if file.checksum != checksum:
            raise MigrationError(
                f"Migration {file} was applied with another text (SHA-256 {checksum[:12]}…, the file has "
                f"{file.checksum[:12]}…). An applied migration is never changed: put the file back as it was and "
                f"write the change as a new one, {component} {last + 1:04d}."
            )
    return [m for key, m in files.items() if key not in applied]


async def _applied(connection: Connection) -> dict[tuple[str, int], tuple[str, str]]:
    rows = await connection.fetch(_APPLIED)
    return {(row["component"], row["number"]): (row["name"], row["checksum"]) for row in rows}

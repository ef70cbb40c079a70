"""Migrations: numbered .sql files, each applied in a transaction of its own under a lock, never changed after.

`<folder>/0001_<name>.sql`. Several processes may migrate the same schema at once: each migration is applied once.

A migration expands: code of the release before serves beside it. One that takes away what only older code needed says
so in its first line, with the migration that code has to know at least: `-- Contracts: for code from 0011 on.`
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg

from services.mesh.database.queries import package_folder
from services.mesh.database.versions import KIT_COMPONENT, LEVEL_NAME, LOG_SUFFIX

if TYPE_CHECKING:
    from services.mesh.database.database import Connection

LOCK_TIMEOUT_S = 2.0
"""How long a migration waits for a table: whoever serves waits behind it."""
LOCK_ATTEMPTS_MAX = 30
LOCK_PAUSE_S = 1.0
# A migration that takes several tables may be the one that PostgreSQL picks out of a circle of waiters: it looks for
# those after deadlock_timeout (1 s by default), so before the time above is over.
_IN_USE = (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError)

_FILE_NAME = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")
_CONTRACTS = re.compile(r"-- Contracts: for code from (\d{4}) on\.")

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
_RECORD = """
INSERT INTO schema_migrations (component, number, name, checksum) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING"""
# Services name themselves to PostgreSQL, the set-up does not.
_END_SESSIONS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
 WHERE usename = current_user AND datname = current_database() AND application_name <> '' AND pid <> pg_backend_pid()"""
# A while before the second release every migration was recorded as the first one is: the record of such a database is
# put right here.
_IS_MISPLACED = f"number > 1 AND name <> '{LEVEL_NAME}' AND component NOT LIKE '%{LOG_SUFFIX}'"
_MEND = f"UPDATE schema_migrations SET component = component || '{LOG_SUFFIX}' WHERE {_IS_MISPLACED}"  # noqa: S608
_NEEDS_MENDING = f"SELECT EXISTS (SELECT FROM schema_migrations WHERE {_IS_MISPLACED})"  # noqa: S608


class MigrationError(RuntimeError):
    """The files and the schema do not fit together, or a migration failed; the message says which and what to do."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file. component: `mesh` for the kit's, else the service's name. checksum: SHA-256 of the text, hex.

    level: 0 where it expands; else the migration that code has to know at least to serve beside it.
    """

    component: str
    number: int
    name: str
    sql: str
    checksum: str
    level: int = 0

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
        contracts = _CONTRACTS.match(sql)
        level = int(contracts[1]) if contracts else 0
        found.append(Migration(component, int(match[1]), match[2], sql, checksum, level))
        if match[2] == LEVEL_NAME or level > int(match[1]):
            raise MigrationError(
                f"{path}: a migration is not named {LEVEL_NAME!r}, and contracts for code that exists by then: its own "
                "number is the newest that it can name."
            )
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
    # Looking without the lock first keeps the common case, nothing to do, at few statements.
    if (
        await connection.fetchval("SELECT to_regclass('schema_migrations')") is not None
        and not await connection.fetchval(_NEEDS_MENDING)
        and not pending(migrations, await _applied(connection))
    ):
        return done
    first_upgrade = await _is_of_the_first_release(connection, migrations)
    attempt = 1
    while True:
        try:
            applied = await _apply_next(connection, migrations, whole=first_upgrade)
        except _IN_USE as error:
            if attempt == LOCK_ATTEMPTS_MAX:
                raise MigrationError(
                    f"A migration found a table in use by one long transaction or another in {attempt} attempts of "
                    f"{LOCK_TIMEOUT_S:.0f} s, and gave up, so that nobody who serves waits behind it. "
                    f"{_what_stays(whole=first_upgrade)}; end that transaction (see pg_stat_activity) and run the "
                    "set-up again."
                ) from error
            attempt += 1
            await asyncio.sleep(LOCK_PAUSE_S)
            continue
        if not applied:
            return done
        done += applied


async def _is_of_the_first_release(connection: Connection, migrations: Sequence[Migration]) -> bool:
    """Whether exactly the first migration of each component was applied, which is all that v0.1.0 had."""
    if await connection.fetchval("SELECT to_regclass('schema_migrations')") is None:
        return False
    return (await _applied(connection)).keys() == {(one.component, 1) for one in migrations}


async def _apply_next(connection: Connection, migrations: Sequence[Migration], *, whole: bool) -> list[Migration]:
    """Applies the first one that waits, in a transaction of its own; empty where none does.

    whole: all that wait, in one, and the sessions of whoever serves end with it: code of v0.1.0 fails where a statement
    that it has prepared would answer one more column, and takes a session that ended for a database that was away.

    Raises MigrationError; one of _IN_USE where a table was in use for too long, or by one who waits for us.
    """
    async with connection.transaction():
        await connection.execute("SET LOCAL statement_timeout = 0")
        await connection.execute(_LOCK)
        await connection.execute(_CREATE_LOG)
        await connection.execute(_MEND)
        waiting = pending(migrations, await _applied(connection))
        batch = waiting if whole else waiting[:1]
        await connection.execute(f"SET LOCAL lock_timeout = {int(LOCK_TIMEOUT_S * 1000)}")
        for migration in batch:
            await _apply(connection, migration, whole=whole)
        if whole and batch:
            await connection.execute(_END_SESSIONS)
        return batch


async def _apply(connection: Connection, migration: Migration, *, whole: bool) -> None:
    try:
        await connection.execute(migration.sql)
    except _IN_USE:
        raise
    except Exception as error:
        raise MigrationError(
            f"Migration {migration} failed and was rolled back: {type(error).__name__}: {error}. "
            f"{_what_stays(whole=whole)}; correct it and run the set-up again."
        ) from error
    component = migration.component + (LOG_SUFFIX if migration.number > 1 else "")
    await connection.execute(_RECORD, component, migration.number, migration.name, migration.checksum)
    if migration.level > 1:
        await connection.execute(_RECORD, migration.component, migration.level, LEVEL_NAME, migration.checksum)


def _what_stays(*, whole: bool) -> str:
    if whole:
        return "All that this upgrade brings is applied in one step, so none of it is"
    return "Those before it stay applied"


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
    return {
        (row["component"].removesuffix(LOG_SUFFIX), row["number"]): (row["name"], row["checksum"])
        for row in rows
        if row["name"] != LEVEL_NAME
    }

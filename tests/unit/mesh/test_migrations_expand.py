"""Every migration after the first expands, or says for what code it contracts: code of the release before serves on."""

from __future__ import annotations

import re
from itertools import chain
from pathlib import Path

import pytest

from services.mesh.database.migrate import Migration, MigrationError, migrations_of, read_migrations
from services.mesh.database.setup import SERVICES

#: Statements that would break older code, were it not for what stands beside them.
ALLOWED = {
    ("auth 0007_organisations", "ADD CONSTRAINT api_keys_owner"): "what the release before writes fulfils it",
    ("auth 0007_organisations", "ADD CONSTRAINT api_keys_previous"): "of new columns, null in what it writes",
    ("auth 0007_organisations", "CREATE UNIQUE INDEX organisations_of_request ON organisations"): "new columns",
    ("auth 0007_organisations", "CREATE UNIQUE INDEX api_keys_of_account_request ON api_keys"): "a new column",
    ("auth 0007_organisations", "previous_digest bytea UNIQUE"): "a new column",
}
_NOISE = re.compile(r"--[^\n]*|\$\$.*?\$\$|'(?:[^']|'')*'", re.DOTALL)
_MADE = re.compile(r"CREATE (?:UNLOGGED )?TABLE (?:IF NOT EXISTS )?(\w+)")
#: Whatever the table.
_NEVER = re.compile(
    r"DROP (?!NOT NULL|DEFAULT)\w+ \w+|RENAME [\w ]+|SET NOT NULL|"
    r"SET DATA TYPE|ALTER (?:COLUMN )?\w+ TYPE|(?:^|;) ?TRUNCATE \w+"
)
#: Of a table that an earlier migration made.
_ALTERED = re.compile(r"ALTER TABLE (?:ONLY )?(\w+)([^;]*)")
_TIGHTER = re.compile(r"ADD CONSTRAINT \w+|\w+ \w+(?:\[\])? UNIQUE|ADD (?:CHECK|UNIQUE|PRIMARY KEY|FOREIGN KEY)")
_COLUMN = re.compile(r"ADD COLUMN (?:IF NOT EXISTS )?(\w+ [^,]*)")
_INDEX = re.compile(r"CREATE UNIQUE INDEX (?:CONCURRENTLY )?(?:IF NOT EXISTS )?\w+ ON (\w+)")
_ON_TABLE = re.compile(r"(?:DELETE FROM|CREATE (?:CONSTRAINT )?TRIGGER \w+ [\w ]+? ON|REVOKE [\w, ]+ ON) (\w+)")


def contracting(sql: str) -> list[str]:
    """What in a migration takes something from code that knows none of it."""
    text = re.sub(r"\s+", " ", _NOISE.sub(" ", sql))
    made = _MADE.findall(text)
    own = {*made, *(f"{table}_default" for table in made)}  # the kit makes it with the table
    found = [match[0] for match in _NEVER.finditer(text)]
    found += [match[0] for match in chain(_INDEX.finditer(text), _ON_TABLE.finditer(text)) if match[1] not in own]
    for table, changes in _ALTERED.findall(text):
        if table not in own:
            found += _TIGHTER.findall(changes)
            found += [
                f"ADD COLUMN {one}" for one in _COLUMN.findall(changes) if "NOT NULL" in one and "DEFAULT" not in one
            ]
    return found


LATER = sorted({one for service in SERVICES for one in migrations_of(service) if one.number > 1}, key=str)


@pytest.mark.parametrize("migration", [one for one in LATER if not one.level], ids=str)
def test_it_takes_nothing_from_older_code(migration: Migration) -> None:
    broken = [one for one in contracting(migration.sql) if (str(migration), one.strip()) not in ALLOWED]
    assert not broken, (
        f"{migration} is no expansion: {broken}. Take it apart, or write `-- Contracts: for code from NNNN on.` in its "
        "first line (docs/decisions/0017)."
    )


def test_what_is_allowed_is_there() -> None:
    there = {(str(one), found.strip()) for one in LATER for found in contracting(one.sql)}
    assert set(ALLOWED) <= there


@pytest.mark.parametrize(
    "sql",
    [
        "ALTER TABLE users DROP COLUMN email",
        "DROP TABLE users",
        "DROP INDEX users_by_email;",
        "ALTER TABLE users RENAME COLUMN email TO address",
        "ALTER TABLE users RENAME TO people",
        "ALTER TABLE users ALTER COLUMN plan SET NOT NULL",
        "ALTER TABLE users ALTER COLUMN plan TYPE bigint",
        "ALTER TABLE users ALTER plan SET DATA TYPE bigint",
        "ALTER TABLE users ADD COLUMN plan text NOT NULL",
        "ALTER TABLE users\n  ADD COLUMN one text NOT NULL DEFAULT '',\n  ADD COLUMN two text NOT NULL",
        "ALTER TABLE users ADD CONSTRAINT short CHECK (length(email) < 9)",
        "ALTER TABLE users ADD CHECK (length(email) < 9)",
        "ALTER TABLE users ADD COLUMN code text UNIQUE",
        "CREATE UNIQUE INDEX users_by_name ON users (display_name)",
        "TRUNCATE users",
        "DELETE FROM users WHERE email = ''",
        "CREATE TRIGGER held BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION refuse()",
        "REVOKE UPDATE ON users FROM CURRENT_USER",
    ],
)
def test_what_contracts_is_found(sql: str) -> None:
    assert contracting(sql)


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TABLE one (id int UNIQUE); ALTER TABLE one ADD CHECK (id > 0); CREATE UNIQUE INDEX a ON one (id)",
        "ALTER TABLE users ALTER COLUMN email DROP NOT NULL -- which DROP TABLE is not",
        "ALTER TABLE users ADD COLUMN plan text NOT NULL DEFAULT '', ADD COLUMN other text",
        "CREATE INDEX users_by_plan ON users (plan)",
        "CREATE FUNCTION f() RETURNS void LANGUAGE sql AS $$ DROP TABLE users $$",
    ],
)
def test_what_expands_is_not(sql: str) -> None:
    assert not contracting(sql)


def test_a_contracting_migration_names_code_that_exists_by_then(tmp_path: Path) -> None:
    (tmp_path / "0001_first.sql").write_text("SELECT 1")
    second = tmp_path / "0002_second.sql"
    second.write_text("-- Contracts: for code from 0002 on.\nDROP TABLE one")
    assert [one.level for one in read_migrations("x", tmp_path)] == [0, 2]
    second.write_text("-- Contracts: for code from 0003 on.\nDROP TABLE one")
    with pytest.raises(MigrationError, match="0002_second"):
        read_migrations("x", tmp_path)
    second.rename(tmp_path / "0002_level.sql")
    with pytest.raises(MigrationError, match="'level'"):
        read_migrations("x", tmp_path)

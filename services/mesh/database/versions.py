"""Whether code and schema fit: a service declares the migrations that it needs and knows, and refuses other schemas.

Migrations expand: what older code reads and writes stays as it is, so code of an older release serves beside them, and
starts beside them. One that contracts says from which migration on code serves beside it, and that is recorded as the
schema's level. `schema_migrations` has both, as every release can read it (docs/decisions/0017):

component      number
`auth`         1: the first migration. Above 1: a level, that code has to know the migration of this number at least
`auth.log`     a migration after the first, whichever kind it is

v0.1.0 looks at the highest number of `auth` alone: at the level.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import asyncpg

if TYPE_CHECKING:
    from services.mesh.database.database import Connection

KIT_COMPONENT = "mesh"
KIT_SERVES = (1, 1)
"""Migrations of the kit (services/mesh/database/migrations) that the kit's code can serve: lowest, highest."""

LOG_SUFFIX = ".log"
LEVEL_NAME = "level"
"""Name of the rows that are levels; no migration may have it."""

_STANDS_AT = "SELECT component, max(number) AS number FROM schema_migrations GROUP BY component"
_HOW = "Run `python -m services.mesh.database.setup`"


class SchemaVersionError(RuntimeError):
    """The schema is older or newer than this code can serve; the message says which and what to do."""


async def check_versions(connection: Connection, schema: str, serves: tuple[int, int]) -> None:
    """Raises SchemaVersionError unless the schema has what the code needs, and lacks nothing that the code knows.

    serves: the newest migration that must be there, the newest that the code knows.
    """
    try:
        rows = await connection.fetch(_STANDS_AT)
    except asyncpg.UndefinedTableError:
        raise SchemaVersionError(f"Schema {schema!r} was never set up. {_HOW}, then start again.") from None
    stands_at = {row["component"]: row["number"] for row in rows}
    for component, (lowest, highest) in ((KIT_COMPONENT, KIT_SERVES), (schema, serves)):
        level = stands_at.get(component, 0)
        newest = max(min(level, 1), stands_at.get(component + LOG_SUFFIX, 0))
        if newest < lowest:
            raise SchemaVersionError(
                f"Schema {schema!r} stands at migration {newest} of {component!r}; this code needs {lowest} or later. "
                f"{_HOW}, then start again."
            )
        if level > highest:
            raise SchemaVersionError(
                f"Schema {schema!r} can be served by code that knows migration {level} of {component!r} or later; this "
                f"code knows {highest} at most. It is older than the schema: deploy the release that the schema was "
                "migrated for."
            )

"""Whether code and schema fit: a service declares the migrations that it can serve and refuses others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import asyncpg

if TYPE_CHECKING:
    from services.mesh.database.database import Connection

KIT_COMPONENT = "mesh"
KIT_SERVES = (1, 1)
"""Migrations of the kit (services/mesh/database/migrations) that the kit's code can serve: lowest, highest."""

_STANDS_AT = "SELECT component, max(number) AS number FROM schema_migrations GROUP BY component"
_HOW = "Run `python -m services.mesh.database.setup`"


class SchemaVersionError(RuntimeError):
    """The schema is older or newer than this code can serve; the message says which and what to do."""


async def check_versions(connection: Connection, schema: str, serves: tuple[int, int]) -> None:
    """Raises SchemaVersionError unless the service's and the kit's migrations stand within what the code serves."""
    try:
        rows = await connection.fetch(_STANDS_AT)
    except asyncpg.UndefinedTableError:
        raise SchemaVersionError(f"Schema {schema!r} was never set up. {_HOW}, then start again.") from None
    stands_at = {row["component"]: row["number"] for row in rows}
    for component, (lowest, highest) in ((KIT_COMPONENT, KIT_SERVES), (schema, serves)):
        number = stands_at.get(component, 0)
        if number < lowest:
            raise SchemaVersionError(
                f"Schema {schema!r} stands at migration {number} of {component!r}; this code needs {lowest} or later. "
                f"{_HOW}, then start again."
            )
        if number > highest:
            raise SchemaVersionError(
                f"Schema {schema!r} stands at migration {number} of {component!r}; this code serves at most {highest}. "
                "It is older than the schema: deploy the release that the schema was migrated for."
            )

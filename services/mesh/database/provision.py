"""Roles and schemas: each service has one of its own and can read no other.

Run by an administrator (a superuser, or a role with CREATEROLE that owns the database); idempotent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import asyncpg

from services.mesh.database.planner import PLANNER_SETTINGS

if TYPE_CHECKING:
    from services.mesh.database.database import Connection

ROLE_PREFIX = "promptmesh_"
STATEMENT_TIMEOUT = "10s"
IDLE_IN_TRANSACTION_TIMEOUT = "30s"

# Roles and databases are catalogs of the whole cluster: two sessions that change the same one at once can meet.
_MET_ANOTHER = (asyncpg.InternalServerError, asyncpg.UniqueViolationError, asyncpg.DuplicateObjectError)
_ATTEMPTS = 5

# What `provision` makes, as the service's own role can see it: schema owned, search_path set, public closed to it.
_IS_PROVISIONED = """
SELECT current_user = $1
   AND EXISTS (SELECT FROM pg_namespace WHERE nspname = $2 AND pg_get_userbyid(nspowner) = $1)
   AND current_setting('search_path') = quote_ident($2)
   AND NOT has_schema_privilege('public', 'CREATE')
   AND NOT has_schema_privilege('public', 'USAGE')
   AND NOT has_database_privilege(current_database(), 'CREATE')
"""


class ProvisionError(RuntimeError):
    """A service's DSN does not fit what the kit makes; the message says what was expected."""


def role_of(service: str) -> str:
    """The role of a service: promptmesh_<service>."""
    return ROLE_PREFIX + service


def credentials_of(service: str, url: str, variable: str) -> tuple[str, str]:
    """(role, password) of a service's DSN; ProvisionError, naming `variable`, if it is another role's or has none."""
    parts = urlsplit(url)
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    if parts.scheme not in ("postgresql", "postgres") or not parts.path.strip("/"):
        raise ProvisionError(
            f"{variable} must be like postgresql://{role_of(service)}:<password>@host:5432/<database>."
        )
    if user != role_of(service):
        raise ProvisionError(f"{variable} names the role {user!r}; the role of {service!r} is {role_of(service)!r}.")
    if not password:
        raise ProvisionError(f"{variable} has no password; give the role {user!r} one in it.")
    return user, password


async def is_provisioned(connection: Connection, service: str) -> bool:
    """Whether `connection`, of the service's own role, finds everything as `provision` leaves it."""
    return bool(await connection.fetchval(_IS_PROVISIONED, role_of(service), service))


async def provision(admin: Connection, service: str, password: str) -> None:
    """Makes the service's role with that password, and its schema, owned by it; closes `public` and the database.

    What is there already is brought to the same state. Connections of the role that are open keep their settings.
    """
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            async with admin.transaction():
                await _provision(admin, service, password)
            return
        except _MET_ANOTHER:
            if attempt == _ATTEMPTS:
                raise


async def _provision(admin: Connection, service: str, password: str) -> None:
    await admin.execute("SELECT pg_advisory_xact_lock(hashtext('promptmesh'), hashtext('provision'))")
    role, schema = f'"{role_of(service)}"', f'"{service}"'
    database = await admin.fetchval("SELECT quote_ident(current_database())")
    verb = "ALTER" if await admin.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", role_of(service)) else "CREATE"
    # quote_literal: utility statements take no parameters. PostgreSQL logs statements without their passwords only if
    # log_statement is off, as it is by default.
    secret = await admin.fetchval("SELECT quote_literal($1::text)", password)
    await admin.execute(f"{verb} ROLE {role} LOGIN PASSWORD {secret}")
    if not await admin.fetchval("SELECT pg_has_role(current_user, $1, 'SET')", role_of(service)):
        await admin.execute(f"GRANT {role} TO CURRENT_USER WITH SET TRUE, INHERIT TRUE")
    for name, value in PLANNER_SETTINGS.items():
        await admin.execute(f"ALTER ROLE {role} IN DATABASE {database} SET {name} = {value}")
    await admin.execute(
        f"CREATE SCHEMA IF NOT EXISTS {schema} AUTHORIZATION {role};"
        f"ALTER SCHEMA {schema} OWNER TO {role};"
        f"REVOKE ALL ON SCHEMA {schema} FROM PUBLIC;"
        "REVOKE ALL ON SCHEMA public FROM PUBLIC;"
        f"REVOKE ALL ON DATABASE {database} FROM PUBLIC;"
        f"GRANT CONNECT, TEMPORARY ON DATABASE {database} TO {role};"
        f"ALTER ROLE {role} IN DATABASE {database} SET search_path = {schema};"
        # Also those who come through PgBouncer, which passes no start-up parameters on, are bounded.
        f"ALTER ROLE {role} IN DATABASE {database} SET statement_timeout = '{STATEMENT_TIMEOUT}';"
        f"ALTER ROLE {role} IN DATABASE {database} "
        f"SET idle_in_transaction_session_timeout = '{IDLE_IN_TRANSACTION_TIMEOUT}';"
    )

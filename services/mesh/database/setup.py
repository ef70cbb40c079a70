"""`python -m services.mesh.database.setup`: roles, schemas and migrations of all services, in one quick process.

Environment: PROMPTMESH_ADMIN_DATABASE_URL (who may create roles and schemas; needed only when something is missing) and
PROMPTMESH_<SERVICE>_DATABASE_URL of each service, whose role and password are made as the URL says. To PostgreSQL
itself, not to a PgBouncer in front of it. Idempotent; exit code 78 for wrong settings, 1 for what failed.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass

import asyncpg

from services.mesh.database.migrate import MigrationError, migrate, migrations_of
from services.mesh.database.provision import ProvisionError, credentials_of, is_provisioned, provision, role_of

SERVICES = ("auth", "prompts", "moderation", "inference")
ADMIN_VARIABLE = "PROMPTMESH_ADMIN_DATABASE_URL"
CONNECT_TIMEOUT_S = 5.0
_ROLES = [role_of(service) for service in SERVICES]
EXIT_SETTINGS = 78  # EX_CONFIG of sysexits.h

# The role does not exist, has another password, or may not enter: an administrator can mend each of them.
_NOT_LET_IN = (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InsufficientPrivilegeError)


class SetupError(RuntimeError):
    """The set-up could not be done; the message says which part and what to do."""


@dataclass(frozen=True, slots=True)
class SetupResult:
    """What was done for one service."""

    service: str
    provisioned: bool
    applied: tuple[str, ...]

    def __str__(self) -> str:
        done = ["role and schema made"] if self.provisioned else []
        done += [f"applied {name}" for name in self.applied]
        return f"{self.service}: {', '.join(done) or 'nothing to do'}"


def url_variable(service: str) -> str:
    """PROMPTMESH_<SERVICE>_DATABASE_URL."""
    return f"PROMPTMESH_{service.upper()}_DATABASE_URL"


async def set_up(
    urls: Mapping[str, str], admin_url: str | None, services: tuple[str, ...] = SERVICES
) -> list[SetupResult]:
    """Provisions and migrates; the services at once. urls: service → DSN.

    Raises ProvisionError, MigrationError, SetupError.
    """
    for service in services:
        credentials_of(service, urls[service], url_variable(service))
    missing = await _missing_roles(admin_url) if admin_url else frozenset()
    return list(
        await asyncio.gather(
            *(_set_up_one(service, urls[service], admin_url, new=role_of(service) in missing) for service in services)
        )
    )


async def _missing_roles(admin_url: str) -> frozenset[str]:
    """The services' roles that are not there, so that none of them is tried.

    Each try would be a failed login in PostgreSQL's log, which is alarming to read, and at a first start all fail.
    An administrator who cannot be asked (their password was changed since, say) matters only if something is missing:
    then it is found out without them, and asking them again gives the error.
    """
    try:
        admin = await asyncpg.connect(admin_url, timeout=CONNECT_TIMEOUT_S)
        try:
            there = await admin.fetch("SELECT rolname FROM pg_roles WHERE rolname = ANY ($1)", _ROLES)
        finally:
            await admin.close()
    except (OSError, asyncpg.PostgresError, TimeoutError):
        return frozenset()
    return frozenset(_ROLES) - {row["rolname"] for row in there}


async def _set_up_one(service: str, url: str, admin_url: str | None, *, new: bool) -> SetupResult:
    role, password = credentials_of(service, url, url_variable(service))
    connection = None if new else await _connect_if_ready(service, url)
    provisioned = connection is None
    if connection is None:
        if not admin_url:
            raise SetupError(
                f"The role {role} or the schema {service} is missing or not as it should be: set {ADMIN_VARIABLE} to "
                "the DSN of a superuser (or of a role with CREATEROLE that owns the database)."
            )
        admin = await _connect(admin_url, ADMIN_VARIABLE)
        try:
            await provision(admin, service, password)
        except asyncpg.InsufficientPrivilegeError as error:
            raise SetupError(
                f"The role of {ADMIN_VARIABLE} may not do what is needed ({error}): it must be superuser, or have "
                "CREATEROLE and own the database."
            ) from error
        finally:
            await admin.close()
        connection = await _connect(url, url_variable(service))
    try:
        applied = await migrate(connection, migrations_of(service))
    finally:
        await connection.close()
    return SetupResult(service, provisioned, tuple(str(migration) for migration in applied))


async def _connect_if_ready(service: str, url: str) -> asyncpg.Connection | None:
    try:
        connection = await asyncpg.connect(url, timeout=CONNECT_TIMEOUT_S)
    except _NOT_LET_IN:
        return None
    except (OSError, asyncpg.PostgresError, TimeoutError) as error:
        raise _cannot_connect(url_variable(service), error) from error
    if await is_provisioned(connection, service):
        return connection
    await connection.close()
    return None


async def _connect(url: str, variable: str) -> asyncpg.Connection:
    try:
        return await asyncpg.connect(url, timeout=CONNECT_TIMEOUT_S)
    except (OSError, asyncpg.PostgresError, TimeoutError) as error:
        raise _cannot_connect(variable, error) from error


def _cannot_connect(variable: str, error: BaseException) -> SetupError:
    return SetupError(
        f"Cannot connect with {variable} ({type(error).__name__}: {error}). Is PostgreSQL running there, and are "
        "address, database, role and password right?"
    )


def _settings(environment: Mapping[str, str]) -> tuple[dict[str, str], str | None]:
    missing = [url_variable(service) for service in SERVICES if not environment.get(url_variable(service))]
    if missing:
        raise ProvisionError(
            f"Not set: {', '.join(missing)}. Each is the DSN of a service's own role, for example "
            "postgresql://promptmesh_auth:<password>@127.0.0.1:5432/promptmesh."
        )
    urls = {service: environment[url_variable(service)] for service in SERVICES}
    return urls, environment.get(ADMIN_VARIABLE) or None


def main() -> int:
    """The command."""
    try:
        urls, admin_url = _settings(os.environ)
        results = asyncio.run(set_up(urls, admin_url))
    except ProvisionError as error:
        print(f"database set-up: {error}", file=sys.stderr)  # noqa: T201 -- a command's voice
        return EXIT_SETTINGS
    except (SetupError, MigrationError) as error:
        print(f"database set-up: {error}", file=sys.stderr)  # noqa: T201
        return 1
    for result in results:
        print(result)  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())

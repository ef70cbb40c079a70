"""A service's connection pool: bounded in time, its errors our own, back by itself when PostgreSQL is back.

Behind PgBouncer (transaction pooling) set PROMPTMESH_DATABASE_PGBOUNCER=true. Then, and only then:

- `statement_cache_size=0`: a prepared statement lives in one server connection, and PgBouncer changes it under us;
- every use of the pool is a transaction, since asyncpg parses and executes in two steps that must meet one server;
- no start-up parameters but `application_name`: PgBouncer refuses those it does not track. `search_path`, the time
  limits and the planner's settings then come from the role, where `services.mesh.database.provision` puts them for
  every service.

Nothing in the kit keeps state in a session (advisory locks are of the transaction, nobody LISTENs), so a connection is
given back without asyncpg's reset query, which would cost a round trip for each use.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import asyncpg

from services.mesh.backoff import Backoff
from services.mesh.database.after_commit import collecting
from services.mesh.database.faults import is_away
from services.mesh.database.planner import PLANNER_SETTINGS
from services.mesh.database.starting import START_TIMEOUT_S, Patience, until_done
from services.mesh.database.versions import check_versions
from services.mesh.errors import MeshError

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

    Connection = asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]
    _Pool = asyncpg.Pool[asyncpg.Record]
else:
    Connection = asyncpg.Connection
    _Pool = asyncpg.Pool

log = logging.getLogger(__name__)

RETRY_AFTER_S = 1.0
WARNING_INTERVAL_S = 1.0
FIRST_CONNECT_PAUSE_S = 0.05
MAX_CONNECT_PAUSE_S = 1.0


@dataclass(frozen=True, slots=True)
class DatabaseOptions:
    """How a pool behaves. Every wait on PostgreSQL is bounded by one of these."""

    min_connections: int = 1
    max_connections: int = 10
    connect_timeout_s: float = 2.0
    acquire_timeout_s: float = 2.0
    """Longest wait for a connection, making a new one included; then DEPENDENCY_UNAVAILABLE."""
    statement_timeout_s: float = 10.0
    """PostgreSQL cancels a statement that takes longer."""
    idle_in_transaction_timeout_s: float = 30.0
    """PostgreSQL ends a session whose transaction waits for us longer: it holds locks."""
    idle_connection_s: float = 120.0
    start_timeout_s: float = START_TIMEOUT_S
    """How long `open` waits for PostgreSQL to be there."""
    pgbouncer: bool = False


class _Connection(asyncpg.Connection):
    def get_reset_query(self) -> str:
        return ""


class Database:
    """The pool of one process. `transaction()` and `connection()` are all that stores use."""

    def __init__(self, pool: _Pool, schema: str, options: DatabaseOptions) -> None:
        self._pool = pool
        self._options = options
        self._next_warning = 0.0
        self.schema = schema

    @classmethod
    async def open(
        cls,
        url: str,
        *,
        schema: str,
        application_name: str = "",
        serves: tuple[int, int] | None = None,
        options: DatabaseOptions | None = None,
        patience: Patience | None = None,
    ) -> Database:
        """Connects, waiting for PostgreSQL, and checks the schema's version. patience: of the start that this is part
        of; without one, `start_timeout_s` for both.

        schema: the service's schema, which is its name. serves: lowest and highest number of the service's own
        migrations that this code can serve; SchemaVersionError if the schema stands elsewhere.
        """
        options = options or DatabaseOptions()
        patience = patience or Patience(options.start_timeout_s)
        pool = await _open_pool(url, schema, application_name or schema, options, patience)
        database = cls(pool, schema, options)
        if serves is not None:

            async def check() -> None:
                async with database.connection() as connection:
                    await check_versions(connection, schema, serves)

            try:
                await until_done("the look at the schema's version", check, patience)
            except BaseException:
                await database.close()
                raise
        return database

    async def close(self, timeout_s: float = 5.0) -> None:
        """Waits for connections in use, at most `timeout_s`, then cuts them."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._pool.close()
        except TimeoutError:
            self._pool.terminate()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """A connection, each statement a transaction of its own (behind PgBouncer: all together one).

        Raises MeshError DEPENDENCY_UNAVAILABLE when PostgreSQL is away, is lost inside, or all are in use.
        """
        if self._options.pgbouncer:
            async with self.transaction() as connection:
                yield connection
        else:
            async with self._acquired() as connection:
                yield connection

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """A connection in a transaction: committed at the end of the block, rolled back if it raises.

        An error at the very commit leaves open whether it happened: callers are idempotent (request_id, inbox).
        Raises MeshError DEPENDENCY_UNAVAILABLE as `connection` does.
        """
        with collecting() as callbacks:
            async with self._acquired() as connection, connection.transaction():
                yield connection
        for callback in callbacks:
            callback()

    @asynccontextmanager
    async def _acquired(self) -> AsyncIterator[Connection]:
        try:
            connection = await self._pool.acquire(timeout=self._options.acquire_timeout_s)
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise self._unavailable(error) from error
        try:
            yield connection
        except Exception as error:
            if isinstance(error, asyncpg.InternalClientError):
                connection.terminate()  # whatever state it is in, nobody shall get it
            if is_away(error):
                raise self._unavailable(error) from error
            raise
        finally:
            await self._pool.release(connection)

    def _unavailable(self, error: BaseException) -> MeshError:
        now = time.monotonic()
        if now >= self._next_warning:
            # Every call fails alike while PostgreSQL is away, and says so in its own access line.
            self._next_warning = now + WARNING_INTERVAL_S
            log.warning("PostgreSQL cannot be used: %s: %s", type(error).__name__, error, extra={"schema": self.schema})
        return MeshError("DEPENDENCY_UNAVAILABLE", "The database is away; try again.", retry_after_s=RETRY_AFTER_S)


async def _open_pool(
    url: str, schema: str, application_name: str, options: DatabaseOptions, patience: Patience
) -> _Pool:
    settings = {"application_name": application_name}
    if not options.pgbouncer:
        settings["search_path"] = f'"{schema}"'
        settings |= PLANNER_SETTINGS
        settings["statement_timeout"] = str(int(options.statement_timeout_s * 1000))
        idle_ms = int(options.idle_in_transaction_timeout_s * 1000)
        settings["idle_in_transaction_session_timeout"] = str(idle_ms)
    backoff = Backoff(FIRST_CONNECT_PAUSE_S, MAX_CONNECT_PAUSE_S)
    while True:
        try:
            async with asyncio.timeout(patience.try_s()):
                pool: Any = await asyncpg.create_pool(
                    url,
                    min_size=options.min_connections,
                    max_size=options.max_connections,
                    connection_class=_Connection,
                    init=_set_codecs,
                    timeout=options.connect_timeout_s,
                    # The server cancels first; this catches a server that says nothing at all.
                    command_timeout=options.statement_timeout_s + 2.0,
                    max_inactive_connection_lifetime=options.idle_connection_s,
                    statement_cache_size=0 if options.pgbouncer else 256,
                    max_cached_statement_lifetime=0,  # seconds; 0 keeps a statement as long as its connection
                    server_settings=settings,
                )
            return pool  # type: ignore[no-any-return]
        except (OSError, TimeoutError, asyncpg.PostgresError) as error:
            if not (isinstance(error, OSError | TimeoutError) or is_away(error)):
                raise
            pause_s = backoff.next_s()
            if not patience.lasts(pause_s):
                raise MeshError(
                    "DEPENDENCY_UNAVAILABLE",
                    f"PostgreSQL did not answer in {patience.seconds:g} s ({type(error).__name__}: {error}). "
                    "Is it running, and is PROMPTMESH_DATABASE_URL right?",
                ) from error
            log.info("waiting for PostgreSQL: %s: %s", type(error).__name__, error)
            await asyncio.sleep(pause_s)


async def _set_codecs(connection: Connection) -> None:
    """Ids are `uuid` in PostgreSQL and `str` in Python."""
    await connection.set_type_codec("uuid", schema="pg_catalog", encoder=str, decoder=str, format="text")

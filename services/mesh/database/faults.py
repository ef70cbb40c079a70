"""What went wrong with PostgreSQL: is it away, or may the same transaction simply be run again?"""

from __future__ import annotations

import asyncpg

# The server is away, goes down, comes up, fails over, or has no room: another try later can succeed.
_AWAY: tuple[type[BaseException], ...] = (
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
    asyncpg.InsufficientResourcesError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.QueryCanceledError,  # statement_timeout: the server is too slow to be of use
    asyncpg.IdleInTransactionSessionTimeoutError,
    # A migration of a newer release gave a table another column: the transaction is undone, the next one reads it anew.
    asyncpg.InvalidCachedStatementError,
    asyncpg.OutdatedSchemaCacheError,
)

# The transaction lost against another one; PostgreSQL asks for it to be run again.
_CONFLICT: tuple[type[BaseException], ...] = (
    asyncpg.SerializationError,
    asyncpg.DeadlockDetectedError,
    asyncpg.LockNotAvailableError,
)


def is_away(error: BaseException) -> bool:
    """True for an error that says that PostgreSQL cannot be used now: refused, cut, shutting down, full, too slow."""
    if isinstance(error, (*_AWAY, ConnectionError)):
        return True
    # asyncpg says it only in words when a connection was lost before the call, or is being ended at this moment.
    if isinstance(error, asyncpg.InternalClientError):
        return "another operation" in str(error)
    return isinstance(error, asyncpg.InterfaceError) and "clos" in str(error)


def is_conflict(error: BaseException) -> bool:
    """True for serialization failures, deadlocks and lock timeouts: run the transaction again."""
    return isinstance(error, _CONFLICT)

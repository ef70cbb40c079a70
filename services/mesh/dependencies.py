"""Which exceptions say that a part is away, rather than that the code is wrong."""

from __future__ import annotations

import asyncpg
import grpc
import redis.exceptions

from services.mesh.errors import DEPENDENCY_RETRY_S, MeshError

_DATABASE_AWAY = (
    asyncpg.PostgresConnectionError,
    asyncpg.InsufficientResourcesError,  # too many connections, disk full, out of memory
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.QueryCanceledError,  # the statement timeout
    asyncpg.ReadOnlySQLTransactionError,  # a standby, in the middle of a failover
    asyncpg.SerializationError,
    asyncpg.DeadlockDetectedError,
)
_REDIS_AWAY = (
    redis.exceptions.ConnectionError,
    redis.exceptions.TimeoutError,
    redis.exceptions.ReadOnlyError,
    redis.exceptions.OutOfMemoryError,
)
# OSErrors that are about a file, which is a fault of ours.
_FILE_FAULTS = (FileNotFoundError, FileExistsError, PermissionError, IsADirectoryError, NotADirectoryError)
_AWAY_CODES = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED})


def is_away(error: BaseException) -> bool:
    """Whether the error says that PostgreSQL, Redis or another service did not answer."""
    if isinstance(error, _DATABASE_AWAY + _REDIS_AWAY):
        return True
    if isinstance(error, asyncpg.InterfaceError):
        return "clos" in str(error)  # "connection is closed", "pool is closing"; others are misuse
    if isinstance(error, grpc.aio.AioRpcError):
        return error.code() in _AWAY_CODES
    return isinstance(error, OSError) and not isinstance(error, _FILE_FAULTS)  # TimeoutError is one


def unavailable() -> MeshError:
    """What a caller is told of it: nothing about which part, only to come again."""
    return MeshError(
        "DEPENDENCY_UNAVAILABLE",
        "A part that this call needs does not answer right now. Retry after the delay in RetryInfo.",
        retry_after_s=DEPENDENCY_RETRY_S,
    )

"""Which exceptions say that a part is away, rather than that the code is wrong."""

from __future__ import annotations

import grpc
import redis.exceptions

from services.mesh.database import faults
from services.mesh.errors import DEPENDENCY_RETRY_S, MeshError

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
    """Whether the error says that PostgreSQL, Redis or another service did not answer, or asks to try again."""
    if isinstance(error, _REDIS_AWAY) or faults.is_away(error) or faults.is_conflict(error):
        return True
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

"""What a caller is told where a service's gRPC library answered in place of the service.

Such a status has a code and the library's own words, and no details: a deadline that passed before the service's own
answer, a message beyond the library's size, a process that goes away. The table becomes a part of `lua/responses.lua`,
which gives these answers the shape of all others.
"""

from __future__ import annotations

import json
from dataclasses import replace

from google.rpc import code_pb2

from gateway.local_errors import LOCAL_ERRORS, OTHER_ERROR, LocalError

_SERVER = "api_error"
_BY_REASON = {row.reason: row for row in LOCAL_ERRORS}


def _row(
    code: int, reason: str, message: str, openai_type: str = _SERVER, openai_code: str | None = None
) -> LocalError:
    return LocalError(0, reason, message, code, openai_type, openai_code)


TABLE: tuple[LocalError, ...] = (
    _row(
        code_pb2.INVALID_ARGUMENT,
        "INVALID_FIELD",
        "The request cannot be read as one of this method; GET / says what it takes.",
        "invalid_request_error",
    ),
    _row(
        code_pb2.DEADLINE_EXCEEDED,
        "DEADLINE_TOO_SHORT",
        "The deadline passed before the service had an answer; whether it did the work is not known. Give it more "
        "time.",
        openai_code="deadline_too_short",
    ),
    _row(
        code_pb2.RESOURCE_EXHAUSTED,
        "REQUEST_TOO_LARGE",
        "The request, or the answer to it, is larger than one message may be.",
        "invalid_request_error",
        "request_too_large",
    ),
    _row(
        code_pb2.UNIMPLEMENTED,
        "METHOD_UNKNOWN",
        _BY_REASON["METHOD_UNKNOWN"].message,
        "invalid_request_error",
        "unknown_url",
    ),
    _row(
        code_pb2.UNAVAILABLE,
        "DEPENDENCY_UNAVAILABLE",
        "The service behind this method went away before it had answered; retry with backoff.",
        openai_code="dependency_unavailable",
    ),
)
"""By code of gRPC; any other is told as OTHER, under its own code."""

OTHER = _row(0, OTHER_ERROR.reason, OTHER_ERROR.message, openai_code=OTHER_ERROR.openai_code)


def as_lua() -> str:
    """The table as Lua: code → {reason, message, OpenAI's error as JSON, value of `grpc-status-details-bin`}, of every
    code that there is, since the details say it too; the key 0 is OTHER, for what is none of them."""
    told = {row.grpc_code for row in TABLE}
    others = (replace(OTHER, grpc_code=code) for code in sorted(code_pb2.Code.values()) if code not in told)
    return "\n".join(("{", *(f"  [{row.grpc_code}] = {_lua_row(row)}," for row in (*TABLE, *others)), "}"))


def _lua_row(row: LocalError) -> str:
    # For ASCII without control characters a string of JSON and one of Lua are the same.
    return (
        "{" + ", ".join(map(json.dumps, (row.reason, row.message, json.dumps(row.openai_body), row.grpc_details))) + "}"
    )

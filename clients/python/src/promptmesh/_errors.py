"""What can go wrong.

    PromptmeshError                 code, reason, message, request_id, metadata
    ├── InvalidArgumentError        violations: which fields, what is allowed
    ├── UnauthenticatedError        no credential, a wrong or an ended one
    ├── PermissionDeniedError       not with this credential
    ├── NotFoundError               not there, or not the caller's to see
    ├── AlreadyExistsError
    ├── FailedPreconditionError     not in the present state
    ├── AbortedError                somebody else was first: read again, then repeat
    ├── OutOfRangeError             the position is no longer kept: read afresh
    ├── RateLimitedError            retry_after_s, quota: which limit
    ├── UnavailableError            retry_after_s; a part is away
    ├── DeadlineExceededError       `timeout_s` was over
    ├── CancelledError              the client or the server let go of the call
    ├── UnimplementedError          the server does not know the call
    ├── ServerError                 a fault of the server; `request_id` finds it in its log
    └── StreamCutError              a stream ended without its last event: what came is not all

`reason` is a name of promptmesh.errors.v1.Reason, such as POST_NOT_FOUND, or empty where the answer did not come from
the mesh (a proxy, the network).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

DOMAIN = "promptmesh"
_DETAILS_KEY = "grpc-status-details-bin"
_REQUEST_ID_KEY = "x-request-id"
Metadata = Sequence[tuple[str, str | bytes]]


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """A field of the request that breaks a rule."""

    field: str  # its path in the contract's names: "post.tags[2]"
    description: str  # what is allowed
    reason: str = ""  # the rule: "string.max_len"


@dataclass(frozen=True, slots=True)
class QuotaViolation:
    """A limit that was reached."""

    subject: str
    description: str


class PromptmeshError(Exception):
    """Anything that the mesh, or the way to it, answered instead of a result."""

    def __init__(
        self,
        message: str,
        *,
        code: str = "UNKNOWN",
        reason: str = "",
        request_id: str = "",
        metadata: Mapping[str, str] | None = None,
        violations: Sequence[FieldViolation] = (),
        retry_after_s: float | None = None,
        quota: Sequence[QuotaViolation] = (),
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code  # name of the gRPC status: "NOT_FOUND"
        self.reason = reason
        self.request_id = request_id
        self.metadata = dict(metadata or {})
        self.violations = tuple(violations)
        self.retry_after_s = retry_after_s
        self.quota = tuple(quota)

    def __str__(self) -> str:
        text = f"{self.reason or self.code}: {self.message}"
        for one in self.violations:
            text += f"\n  {one.field}: {one.description}"
        return f"{text} (request {self.request_id})" if self.request_id else text


class InvalidArgumentError(PromptmeshError):
    """The request breaks a rule; `violations` name each place."""


class UnauthenticatedError(PromptmeshError):
    """No credential, a wrong or an ended one."""


class PermissionDeniedError(PromptmeshError):
    """Not with this credential."""


class NotFoundError(PromptmeshError):
    """Not there, or not the caller's to see."""


class AlreadyExistsError(PromptmeshError):
    """It is there already."""


class FailedPreconditionError(PromptmeshError):
    """Not in the present state."""


class AbortedError(PromptmeshError):
    """Somebody else was first."""


class OutOfRangeError(PromptmeshError):
    """The position is no longer kept."""


class RateLimitedError(PromptmeshError):
    """A limit is reached: `quota` says which, `retry_after_s` (may be None) when to come again."""


class UnavailableError(PromptmeshError):
    """A part is away; trying again may help."""


class DeadlineExceededError(PromptmeshError):
    """The time for the call was over."""


class CancelledError(PromptmeshError):
    """The call was let go of."""


class UnimplementedError(PromptmeshError):
    """The server does not know the call."""


class ServerError(PromptmeshError):
    """A fault of the server."""


class StreamCutError(PromptmeshError):
    """A stream ended without its last event."""


_CLASSES: Mapping[str, type[PromptmeshError]] = {
    "INVALID_ARGUMENT": InvalidArgumentError,
    "UNAUTHENTICATED": UnauthenticatedError,
    "PERMISSION_DENIED": PermissionDeniedError,
    "NOT_FOUND": NotFoundError,
    "ALREADY_EXISTS": AlreadyExistsError,
    "FAILED_PRECONDITION": FailedPreconditionError,
    "ABORTED": AbortedError,
    "OUT_OF_RANGE": OutOfRangeError,
    "RESOURCE_EXHAUSTED": RateLimitedError,
    "UNAVAILABLE": UnavailableError,
    "DEADLINE_EXCEEDED": DeadlineExceededError,
    "CANCELLED": CancelledError,
    "UNIMPLEMENTED": UnimplementedError,
    "INTERNAL": ServerError,
    "UNKNOWN": ServerError,
    "DATA_LOSS": ServerError,
}
_NAMES = {code.value[0]: code.name for code in grpc.StatusCode}


def error_of_code(number: int, reason: str, message: str, request_id: str = "") -> PromptmeshError:
    """The error that an event of a stream tells. number: of google.rpc.Code."""
    name = _NAMES.get(number, "UNKNOWN")
    return _CLASSES.get(name, PromptmeshError)(message, code=name, reason=reason, request_id=request_id)


def error_of_status(code: grpc.StatusCode, message: str, metadata: Metadata) -> PromptmeshError:
    """The error of a call's status and what it came with."""
    bytes_of = {str(key): value for key, value in metadata}
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    retry, quota, request = (
        error_details_pb2.RetryInfo(),
        error_details_pb2.QuotaFailure(),
        error_details_pb2.RequestInfo(),
    )
    retry_after_s: float | None = None
    for detail in _status(bytes_of.get(_DETAILS_KEY)).details:
        # Each Unpack fills its message only if the detail is of its type. One that cannot be read is left out.
        with suppress(DecodeError):
            if detail.Unpack(retry):
                retry_after_s = max(0.0, retry.retry_delay.ToNanoseconds() / 1_000_000_000)
            else:
                _ = any(detail.Unpack(one) for one in (info, bad, quota, request))
    ours = info.domain == DOMAIN
    request_id = request.request_id or str(bytes_of.get(_REQUEST_ID_KEY, ""))
    return _CLASSES.get(code.name, PromptmeshError)(
        message,
        code=code.name,
        reason=info.reason if ours else "",
        request_id=request_id,
        metadata=dict(info.metadata) if ours else {},
        violations=[FieldViolation(one.field, one.description, one.reason) for one in bad.field_violations],
        retry_after_s=retry_after_s,
        quota=[QuotaViolation(one.subject, one.description) for one in quota.violations],
    )


def error_of_call(error: grpc.RpcError) -> PromptmeshError:
    """The error of a call that gRPC raised, sync or async."""
    if not isinstance(error, grpc.Call | grpc.aio.AioRpcError):
        return ServerError(str(error))
    metadata = [*(error.initial_metadata() or ()), *(error.trailing_metadata() or ())]
    return error_of_status(error.code(), error.details() or error.code().name, metadata)


def _status(packed: str | bytes | None) -> status_pb2.Status:
    try:
        return status_pb2.Status.FromString(packed) if isinstance(packed, bytes) else status_pb2.Status()
    except DecodeError:  # not ours, and not readable: the code says enough
        return status_pb2.Status()

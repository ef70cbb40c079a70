"""One error type inside, one table to gRPC, and the way back.

    MeshError                       everything that a caller may be told
    └── RedisUnavailable            (redis.py) Redis did not answer in time

Every error leaves with `google.rpc.ErrorInfo` (domain `promptmesh`, one of `promptmesh.errors.v1.Reason`) and, where it
applies, BadRequest, RetryInfo, QuotaFailure and RequestInfo. The domain and details follow google.aip.dev/193.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2

DOMAIN = "promptmesh"
DETAILS_KEY = "grpc-status-details-bin"
RETRY_AFTER_KEY = "retry-after"
DEPENDENCY_RETRY_S = 1.0

_C = grpc.StatusCode
# Reason → status. Walked by a test against the enum in protos/promptmesh/errors/v1/reason.proto.
CODES: Mapping[str, grpc.StatusCode] = {
    "INVALID_FIELD": _C.INVALID_ARGUMENT,
    "PAGE_TOKEN_INVALID": _C.INVALID_ARGUMENT,
    "FIELD_MASK_INVALID": _C.INVALID_ARGUMENT,
    "REQUEST_ID_REUSED": _C.ALREADY_EXISTS,
    "ETAG_MISMATCH": _C.ABORTED,
    "CREDENTIAL_MISSING": _C.UNAUTHENTICATED,
    "CREDENTIAL_INVALID": _C.UNAUTHENTICATED,
    "CREDENTIAL_EXPIRED": _C.UNAUTHENTICATED,
    "CREDENTIAL_REVOKED": _C.UNAUTHENTICATED,
    "CREDENTIAL_UNVERIFIABLE": _C.UNAVAILABLE,
    "LOGIN_FAILED": _C.UNAUTHENTICATED,
    "SCOPE_MISSING": _C.PERMISSION_DENIED,
    "ROLE_MISSING": _C.PERMISSION_DENIED,
    "AUDIENCE_MISMATCH": _C.PERMISSION_DENIED,
    "NOT_OWNER": _C.PERMISSION_DENIED,
    "CSRF_REFUSED": _C.PERMISSION_DENIED,
    "STEP_UP_REQUIRED": _C.PERMISSION_DENIED,
    "SUSPENDED": _C.PERMISSION_DENIED,
    "PROOF_WRONG": _C.UNAUTHENTICATED,
    "LINK_INVALID": _C.FAILED_PRECONDITION,
    "ADDRESS_REFUSED": _C.PERMISSION_DENIED,
    "MODEL_REFUSED": _C.PERMISSION_DENIED,
    "PASSWORD_WEAK": _C.INVALID_ARGUMENT,
    "USER_NOT_FOUND": _C.NOT_FOUND,
    "EMAIL_TAKEN": _C.ALREADY_EXISTS,
    "API_KEY_NOT_FOUND": _C.NOT_FOUND,
    "API_KEY_LIMIT": _C.RESOURCE_EXHAUSTED,
    "LAST_ADMIN": _C.FAILED_PRECONDITION,
    "SESSION_NOT_FOUND": _C.NOT_FOUND,
    "FACTOR_NOT_FOUND": _C.NOT_FOUND,
    "FACTOR_LIMIT": _C.RESOURCE_EXHAUSTED,
    "IDENTITY_PROVIDER_NOT_FOUND": _C.NOT_FOUND,
    "IDENTITY_PROVIDER_FAILED": _C.FAILED_PRECONDITION,
    "ORGANISATION_NOT_FOUND": _C.NOT_FOUND,
    "MEMBER_ROLE_MISSING": _C.PERMISSION_DENIED,
    "LAST_OWNER": _C.FAILED_PRECONDITION,
    "MEMBER_NOT_FOUND": _C.NOT_FOUND,
    "ORGANISATION_LIMIT": _C.RESOURCE_EXHAUSTED,
    "IDENTITY_TAKEN": _C.ALREADY_EXISTS,
    "LAST_WAY_IN": _C.FAILED_PRECONDITION,
    "PLAN_NOT_FOUND": _C.NOT_FOUND,
    "PLANS_INVALID": _C.INVALID_ARGUMENT,
    "POST_NOT_FOUND": _C.NOT_FOUND,
    "CURSOR_EXPIRED": _C.OUT_OF_RANGE,
    "WATCHER_TOO_SLOW": _C.ABORTED,
    "WATCH_LIMIT": _C.RESOURCE_EXHAUSTED,
    "AUTHOR_NOT_FOUND": _C.NOT_FOUND,
    "CASE_NOT_FOUND": _C.NOT_FOUND,
    "CASE_RESOLVED": _C.FAILED_PRECONDITION,
    "SCREENING_UNAVAILABLE": _C.UNAVAILABLE,
    "CONTENT_REJECTED": _C.FAILED_PRECONDITION,
    "POLICY_INVALID": _C.INVALID_ARGUMENT,
    "MODEL_NOT_FOUND": _C.NOT_FOUND,
    "PROVIDER_RATE_LIMITED": _C.RESOURCE_EXHAUSTED,
    "PROVIDER_REJECTED": _C.INVALID_ARGUMENT,
    "PROVIDER_UNAVAILABLE": _C.UNAVAILABLE,
    "PROVIDER_ANSWER_BROKEN": _C.UNAVAILABLE,
    "PROVIDER_TIMEOUT": _C.DEADLINE_EXCEEDED,
    "CONTEXT_LENGTH_EXCEEDED": _C.INVALID_ARGUMENT,
    "CONCURRENCY_LIMIT": _C.RESOURCE_EXHAUSTED,
    "CONFIG_INVALID": _C.INVALID_ARGUMENT,
    "PROVIDER_CREDENTIAL_REFUSED": _C.UNAVAILABLE,
    "LIMIT_REACHED": _C.RESOURCE_EXHAUSTED,
    "BUDGET_EXHAUSTED": _C.RESOURCE_EXHAUSTED,
    "PRICE_UNKNOWN": _C.FAILED_PRECONDITION,
    "PROVIDER_CONTENT_REFUSED": _C.INVALID_ARGUMENT,
    "CONTENT_REFUSED": _C.INVALID_ARGUMENT,
    "REQUEST_NOT_FOUND": _C.NOT_FOUND,
    "CONFIG_VERSION_NOT_FOUND": _C.NOT_FOUND,
    "PROVIDER_KEY_NOT_FOUND": _C.NOT_FOUND,
    "LIMITS_NOT_FOUND": _C.NOT_FOUND,
    "PROVIDER_KEYS_OFF": _C.FAILED_PRECONDITION,
    "DEADLINE_TOO_SHORT": _C.DEADLINE_EXCEEDED,
    "DEPENDENCY_UNAVAILABLE": _C.UNAVAILABLE,
    "DRAINING": _C.UNAVAILABLE,
    "INTERNAL": _C.INTERNAL,
    "METHOD_UNKNOWN": _C.UNIMPLEMENTED,
    "RATE_LIMITED": _C.RESOURCE_EXHAUSTED,
    "REQUEST_TOO_LARGE": _C.INVALID_ARGUMENT,
    "OVERLOADED": _C.UNAVAILABLE,
}

# An answer without our details (from a proxy, or gRPC itself) by its status.
_REASON_OF_CODE: Mapping[grpc.StatusCode, str] = {
    _C.UNAVAILABLE: "DEPENDENCY_UNAVAILABLE",
    _C.CANCELLED: "DEPENDENCY_UNAVAILABLE",
    _C.DEADLINE_EXCEEDED: "DEADLINE_TOO_SHORT",
    _C.RESOURCE_EXHAUSTED: "RATE_LIMITED",
    _C.UNIMPLEMENTED: "METHOD_UNKNOWN",
}


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """A field of the request that breaks a rule. `field` is its path in proto names: `post.tags[2]`."""

    field: str
    description: str
    reason: str = ""  # the rule: "string.max_len"


@dataclass(frozen=True, slots=True)
class QuotaViolation:
    """A limit that was reached."""

    subject: str
    description: str


class MeshError(Exception):
    """An error that a caller is told about: reason, a message for people, and what helps to act on it."""

    def __init__(
        self,
        reason: str,
        message: str,
        *,
        metadata: Mapping[str, str] | None = None,
        violations: Sequence[FieldViolation] = (),
        retry_after_s: float | None = None,
        quota: Sequence[QuotaViolation] = (),
    ) -> None:
        if reason not in CODES:
            raise ValueError(f"{reason!r} is no reason of promptmesh.errors.v1.Reason; add it there and to CODES")
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.metadata = dict(metadata or {})
        self.violations = tuple(violations)
        self.retry_after_s = retry_after_s
        self.quota = tuple(quota)

    @property
    def code(self) -> grpc.StatusCode:
        """The gRPC status that the error leaves with."""
        return CODES[self.reason]

    def __str__(self) -> str:
        return f"{self.reason}: {self.message}"


def status_of(error: MeshError, request_id: str = "") -> status_pb2.Status:
    """The error as `google.rpc.Status` with its details."""
    details: list[Any] = [error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=error.metadata)]
    if error.violations:
        details.append(
            error_details_pb2.BadRequest(
                field_violations=[
                    error_details_pb2.BadRequest.FieldViolation(
                        field=one.field, description=one.description, reason=one.reason
                    )
                    for one in error.violations
                ]
            )
        )
    if error.retry_after_s is not None:
        delay = duration_pb2.Duration()
        delay.FromNanoseconds(int(error.retry_after_s * 1_000_000_000))
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    if error.quota:
        details.append(
            error_details_pb2.QuotaFailure(
                violations=[
                    error_details_pb2.QuotaFailure.Violation(subject=one.subject, description=one.description)
                    for one in error.quota
                ]
            )
        )
    if request_id:
        details.append(error_details_pb2.RequestInfo(request_id=request_id))
    status = status_pb2.Status(code=error.code.value[0], message=error.message)
    for detail in details:
        packed = any_pb2.Any()
        packed.Pack(detail)
        status.details.append(packed)
    return status


def error_of(error: grpc.RpcError) -> MeshError:
    """The MeshError that another service answered with; one by its status, if the answer carries no details of ours."""
    for key, value in _trailers(error):
        if key == DETAILS_KEY and isinstance(value, bytes):
            found = error_of_status(status_pb2.Status.FromString(value))
            if found is not None:
                return found
    code = error.code() if isinstance(error, grpc.Call | grpc.aio.AioRpcError) else _C.UNKNOWN
    reason = _REASON_OF_CODE.get(code, "INTERNAL")
    if reason == "DEPENDENCY_UNAVAILABLE":
        return MeshError(reason, "A service that the call needs is away; retry.", retry_after_s=DEPENDENCY_RETRY_S)
    return MeshError(reason, f"A service that the call needs answered {code.name}.")


def error_of_status(status: status_pb2.Status) -> MeshError | None:
    """The MeshError in a status, or None if it carries no ErrorInfo of ours."""
    info = error_details_pb2.ErrorInfo()
    bad = error_details_pb2.BadRequest()
    retry = error_details_pb2.RetryInfo()
    quota = error_details_pb2.QuotaFailure()
    retry_after_s: float | None = None
    for detail in status.details:
        if detail.Unpack(retry):
            retry_after_s = retry.retry_delay.ToNanoseconds() / 1_000_000_000
        else:
            # Each Unpack fills its message only if the detail is of its type.
            _ = detail.Unpack(info) or detail.Unpack(bad) or detail.Unpack(quota)
    if info.domain != DOMAIN or info.reason not in CODES:
        return None
    return MeshError(
        info.reason,
        status.message,
        metadata=dict(info.metadata),
        violations=[FieldViolation(one.field, one.description, one.reason) for one in bad.field_violations],
        retry_after_s=retry_after_s,
        quota=[QuotaViolation(one.subject, one.description) for one in quota.violations],
    )


def _trailers(error: grpc.RpcError) -> list[tuple[str, str | bytes]]:
    trailing = getattr(error, "trailing_metadata", None)
    return [(str(key), value) for key, value in (trailing() or ())] if callable(trailing) else []

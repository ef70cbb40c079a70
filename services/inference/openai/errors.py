"""Our errors in OpenAI's shape: `{"error": {"message", "type", "param", "code"}}` and its HTTP status.

The official client makes exception classes of the status: 400 BadRequestError, 401 AuthenticationError,
403 PermissionDeniedError, 404 NotFoundError, 429 RateLimitError, 500 and above InternalServerError.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import orjson
from google.api import httpbody_pb2

from services.mesh.errors import MeshError
from services.mesh.http.exchange import STATUS_KEY  # of gRPC's initial metadata too; the edge makes `:status` of it
from services.mesh.pipeline import Rendered

RETRY_AFTER_KEY = "retry-after"
JSON_TYPE = "application/json"
SSE_TYPE = "text/event-stream"

_REQUEST, _LIMIT, _API = "invalid_request_error", "rate_limit_error", "api_error"
_QUOTA = "insufficient_quota"
# Reason → (status, type, code). A reason that is not here is answered by its gRPC status, as 500 if that says nothing.
_SHAPES: Mapping[str, tuple[int, str, str | None]] = {
    "INVALID_FIELD": (400, _REQUEST, None),
    "CREDENTIAL_MISSING": (401, _REQUEST, "invalid_api_key"),
    "CREDENTIAL_INVALID": (401, _REQUEST, "invalid_api_key"),
    "CREDENTIAL_EXPIRED": (401, _REQUEST, "invalid_api_key"),
    "CREDENTIAL_REVOKED": (401, _REQUEST, "invalid_api_key"),
    "CREDENTIAL_UNVERIFIABLE": (503, _API, "credential_unverifiable"),
    "SCOPE_MISSING": (403, _REQUEST, "insufficient_permissions"),
    "ROLE_MISSING": (403, _REQUEST, "insufficient_permissions"),
    "AUDIENCE_MISMATCH": (403, _REQUEST, "insufficient_permissions"),
    "MODEL_NOT_FOUND": (404, _REQUEST, "model_not_found"),
    "MODEL_REFUSED": (403, _REQUEST, "model_refused"),
    "ADDRESS_REFUSED": (403, _REQUEST, "address_refused"),
    "PROVIDER_RATE_LIMITED": (429, _LIMIT, "rate_limit_exceeded"),
    "CONCURRENCY_LIMIT": (429, _LIMIT, "rate_limit_exceeded"),
    "RATE_LIMITED": (429, _LIMIT, "rate_limit_exceeded"),
    "LIMIT_REACHED": (429, _LIMIT, "rate_limit_exceeded"),
    "BUDGET_EXHAUSTED": (429, _QUOTA, "insufficient_quota"),
    "PRICE_UNKNOWN": (400, _REQUEST, "price_unknown"),
    "PROVIDER_CONTENT_REFUSED": (400, _REQUEST, "content_policy_violation"),
    "CONTENT_REFUSED": (400, _REQUEST, "content_filter"),
    "REQUEST_TOO_LARGE": (413, _REQUEST, "request_too_large"),
    "OVERLOADED": (503, _API, "overloaded"),
    "PROVIDER_REJECTED": (400, _REQUEST, None),
    "CONTEXT_LENGTH_EXCEEDED": (400, _REQUEST, "context_length_exceeded"),
    "PROVIDER_UNAVAILABLE": (503, _API, "provider_unavailable"),
    "PROVIDER_CREDENTIAL_REFUSED": (502, _API, "provider_credential_refused"),
    "PROVIDER_ANSWER_BROKEN": (502, _API, "provider_answer_broken"),
    "PROVIDER_TIMEOUT": (504, _API, "provider_timeout"),
    "DEADLINE_TOO_SHORT": (504, _API, "deadline_too_short"),
    "DEPENDENCY_UNAVAILABLE": (503, _API, "dependency_unavailable"),
    "DRAINING": (503, _API, "draining"),
    "METHOD_UNKNOWN": (404, _REQUEST, "unknown_url"),
}
# Callers of this surface hold an API key as OpenAI's have it, and know nothing of sessions or of gRPC's methods.
_MAKE_A_KEY = "Make an API key with POST /api/v1/apiKeys and send it as `authorization: Bearer pm_…`."
_MESSAGES: Mapping[str, str] = {
    "CREDENTIAL_MISSING": f"No API key was sent. {_MAKE_A_KEY}",
    "CREDENTIAL_INVALID": f"The API key, or access token, is not one of this mesh. {_MAKE_A_KEY}",
    "CREDENTIAL_EXPIRED": f"The API key, or access token, has expired. {_MAKE_A_KEY}",
    "CREDENTIAL_REVOKED": f"The API key was revoked, or the session of the access token has ended. {_MAKE_A_KEY}",
}
_PARAMS = {"MODEL_NOT_FOUND": "model", "MODEL_REFUSED": "model", "CONTEXT_LENGTH_EXCEEDED": "messages"}
# The official clients try 429 and 5xx again by themselves, within a minute at most, unless told not to. These two only
# an operator, or the next day, makes good; but what calls under way hold of a budget is back in a moment.
_NO_RETRY = frozenset({"BUDGET_EXHAUSTED", "PROVIDER_CREDENTIAL_REFUSED"})
NO_RETRY_HEADER = ("x-should-retry", "false")


class StreamFailedError(MeshError):
    """An error that ends a stream which has its own way to say so: `last_events` are sent in place of ours."""

    def __init__(self, error: MeshError, last_events: bytes) -> None:
        super().__init__(
            error.reason,
            error.message,
            metadata=error.metadata,
            violations=error.violations,
            retry_after_s=error.retry_after_s,
            quota=error.quota,
        )
        self.last_events = last_events


def http_status(error: MeshError) -> int:
    """The status that OpenAI's API would answer with."""
    return _shape(error)[0]


def error_object(error: MeshError) -> dict[str, str | None]:
    """What stands under `error` in the body."""
    _, kind, code = _shape(error)
    return {
        "message": _message(error),
        "type": kind,
        "param": error.metadata.get("param") or _PARAMS.get(error.reason),
        "code": error.metadata.get("provider_code") or code,
    }


def error_json(error: MeshError) -> bytes:
    """The body."""
    return orjson.dumps({"error": error_object(error)})


def render(error: MeshError, request_id: str, *, started: bool) -> Rendered:
    """See ErrorRenderer of the pipeline. In a stream that has begun the error is its last event, and no `[DONE]` comes:
    the head of the answer, which said 200, has left."""
    if started:
        last = error.last_events if isinstance(error, StreamFailedError) else b"data: " + error_json(error) + b"\n\n"
        return Rendered(httpbody_pb2.HttpBody(content_type=SSE_TYPE, data=last))
    metadata = [(STATUS_KEY, str(http_status(error))), ("x-request-id", request_id)]
    if error.retry_after_s is not None:
        metadata.append((RETRY_AFTER_KEY, str(max(1, math.ceil(error.retry_after_s)))))
    if error.reason in _NO_RETRY and error.metadata.get("state") != "held":
        metadata.append(NO_RETRY_HEADER)
    if "attempts" in error.metadata:
        metadata.append(("x-promptmesh-attempts", error.metadata["attempts"]))
    return Rendered(httpbody_pb2.HttpBody(content_type=JSON_TYPE, data=error_json(error)), tuple(metadata))


def _message(error: MeshError) -> str:
    if error.reason == "MODEL_NOT_FOUND" and "model" in error.metadata:
        return f"No model {error.metadata['model']!r} is offered; GET /v1/models lists those that are."
    return _MESSAGES.get(error.reason, error.message)


def _shape(error: MeshError) -> tuple[int, str, str | None]:
    known = _SHAPES.get(error.reason)
    if known is not None:
        return known
    by_code = {
        "INVALID_ARGUMENT": (400, _REQUEST, None),
        "FAILED_PRECONDITION": (400, _REQUEST, error.reason.lower()),
        "PERMISSION_DENIED": (403, _REQUEST, "insufficient_permissions"),
        "NOT_FOUND": (404, _REQUEST, None),
        "RESOURCE_EXHAUSTED": (429, _LIMIT, "rate_limit_exceeded"),
        "UNAVAILABLE": (503, _API, error.reason.lower()),
        "DEADLINE_EXCEEDED": (504, _API, error.reason.lower()),
    }
    return by_code.get(error.code.name, (500, _API, "internal_error"))

"""What the edge answers by itself when it refuses or fails, in the three shapes that callers understand.

The words are ours and not Envoy's, which tell of upstreams and resets: internal detail stays in the access log,
under the request id that goes out with the answer.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, replace

from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc import code_pb2, error_details_pb2, status_pb2

DOMAIN = "promptmesh"
ENVOY_WORDS = "%LOCAL_REPLY_BODY%"


@dataclass(frozen=True, slots=True)
class LocalError:
    """One row: the HTTP status that Envoy gives, and what callers are told."""

    http_status: int
    reason: str
    """Name of promptmesh.errors.v1.Reason without prefix."""
    message: str
    grpc_code: int
    """Code of google.rpc.Code, in JSON and for native callers."""
    openai_type: str
    openai_code: str | None
    response_flags: tuple[str, ...] = ()
    """Only for answers that carry one of these flags of Envoy's; empty: whatever the flags."""
    unread: bool = False
    """Only for what is refused before it was read whole and had a request id."""
    limit: str = ""
    """Name of the setting whose limit was passed; `of_limit` tells its value."""
    limit_bytes: int = 0
    large_body: bool = False
    """Only for ways that take a large body."""
    openai_message: str = ""
    """What callers of /v1/ are told instead; empty: the same."""
    native_message: str = ""
    """What native callers are told instead, who know nothing of verbs and paths; empty: the same."""

    @property
    def json_body(self) -> dict[str, object]:
        """google.rpc.Status as JSON, with Envoy's placeholders for what is known at the request."""
        info: dict[str, object] = {
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": self.reason,
            "domain": DOMAIN,
        }
        if self.limit_bytes:
            info["metadata"] = {"limit": self.limit, "limit_bytes": str(self.limit_bytes)}
        return {
            "code": self.grpc_code,
            "message": self.message,
            "details": [
                info,
                {"@type": "type.googleapis.com/google.rpc.RequestInfo", "requestId": "%REQ(X-REQUEST-ID)%"},
            ],
        }

    def of_limit(self, limit_bytes: int) -> LocalError:
        """The same, which says how much its limit is."""
        told = f"{self.message} It takes {limit_bytes:,} bytes ({self.limit} of the edge)."
        return replace(self, message=told, limit_bytes=limit_bytes)

    @property
    def openai_body(self) -> dict[str, object]:
        """The same in OpenAI's shape, for callers of /v1/."""
        return {
            "error": {
                "message": self.openai_message or self.message,
                "type": self.openai_type,
                "param": None,
                "code": self.openai_code,
            }
        }

    @property
    def has_envoy_words(self) -> bool:
        """Whether the message is Envoy's, which `gateway.envoy_words` puts into ours."""
        return ENVOY_WORDS in self.message

    @property
    def grpc_message(self) -> str:
        """The message for native callers."""
        return self.native_message or self.message

    @property
    def grpc_details(self) -> str:
        """Value of `grpc-status-details-bin`: google.rpc.Status with the ErrorInfo, base64 without padding."""
        detail = AnyMessage()
        detail.Pack(error_details_pb2.ErrorInfo(reason=self.reason, domain=DOMAIN))
        message = "" if ENVOY_WORDS in self.message else self.grpc_message
        status = status_pb2.Status(code=self.grpc_code, message=message, details=[detail])
        return base64.b64encode(status.SerializeToString()).decode().rstrip("=")


_BODY_TOO_LARGE = "The body is larger than this method takes."
# Types and codes as services/inference answers them, so that a caller meets one set.
_BAD, _SERVER = "invalid_request_error", "api_error"
_SERVED_OF_OPENAI = (
    "Of OpenAI's API are served here: GET /v1/models, GET /v1/models/{model}, and POST /v1/chat/completions, "
    "/v1/responses, /v1/responses/input_tokens and /v1/embeddings."
)

# Rows with response flags, `unread` or `large_body` precede the row of the same status without; the last one takes what
# is left.
LOCAL_ERRORS = (
    LocalError(
        400,
        "INVALID_FIELD",
        "The request is not one of HTTP as it is served here: look at its verb and its headers.",
        code_pb2.INVALID_ARGUMENT,
        _BAD,
        None,
        unread=True,
    ),
    LocalError(400, "INVALID_FIELD", ENVOY_WORDS, code_pb2.INVALID_ARGUMENT, _BAD, None),
    LocalError(
        404,
        "METHOD_UNKNOWN",
        "No method is served at this verb and path; GET / lists what is.",
        code_pb2.UNIMPLEMENTED,
        _BAD,
        "unknown_url",
        openai_message=_SERVED_OF_OPENAI,
        native_message="The method is not served at the edge. Reflection lists the methods of all services, of which "
        "those for services alone are not open to callers.",
    ),
    LocalError(
        405,
        "METHOD_UNKNOWN",
        "The path takes other verbs; the header allow names them, and GET / says what each does.",
        code_pb2.UNIMPLEMENTED,
        _BAD,
        "unknown_url",
        openai_message=_SERVED_OF_OPENAI,
    ),
    LocalError(
        408,
        "DEADLINE_TOO_SHORT",
        "The request did not arrive whole in time, or its stream stood still too long; send it again.",
        code_pb2.DEADLINE_EXCEEDED,
        _SERVER,
        "deadline_too_short",
    ),
    LocalError(
        413,
        "REQUEST_TOO_LARGE",
        _BODY_TOO_LARGE,
        code_pb2.INVALID_ARGUMENT,
        _BAD,
        "request_too_large",
        limit="max_large_body_bytes",
        large_body=True,
    ),
    LocalError(
        413,
        "REQUEST_TOO_LARGE",
        _BODY_TOO_LARGE,
        code_pb2.INVALID_ARGUMENT,
        _BAD,
        "request_too_large",
        limit="max_body_bytes",
    ),
    LocalError(
        415,
        "INVALID_FIELD",
        "Send a body of content-type application/json.",
        code_pb2.INVALID_ARGUMENT,
        _BAD,
        None,
    ),
    LocalError(
        426,
        "INVALID_FIELD",
        "The protocol asked for is not served here; use HTTP/1.1 or HTTP/2.",
        code_pb2.INVALID_ARGUMENT,
        _BAD,
        None,
    ),
    LocalError(
        429,
        "RATE_LIMITED",
        "Too many requests from this address; wait as long as retry-after says.",
        code_pb2.RESOURCE_EXHAUSTED,
        "rate_limit_error",
        "rate_limit_exceeded",
    ),
    LocalError(
        431,
        "REQUEST_TOO_LARGE",
        "The request's headers are too large or too many.",
        code_pb2.INVALID_ARGUMENT,
        _BAD,
        "request_too_large",
    ),
    LocalError(
        503,
        "OVERLOADED",
        "The edge has as many requests under way as it takes; retry with backoff.",
        code_pb2.UNAVAILABLE,
        _SERVER,
        "overloaded",
        response_flags=("UO", "OM"),
    ),
    LocalError(
        503,
        "DEPENDENCY_UNAVAILABLE",
        "The service behind this method cannot be reached just now; retry with backoff.",
        code_pb2.UNAVAILABLE,
        _SERVER,
        "dependency_unavailable",
    ),
    LocalError(
        504,
        "DEADLINE_TOO_SHORT",
        "The service behind this method did not answer in time; whether it did the work is not known.",
        code_pb2.DEADLINE_EXCEEDED,
        _SERVER,
        "deadline_too_short",
    ),
)
# For a status of 400 or more that no row names.
OTHER_ERROR = LocalError(
    500,
    "INTERNAL",
    "The edge failed to answer; the request id finds the cause in its log.",
    code_pb2.INTERNAL,
    _SERVER,
    "internal_error",
)

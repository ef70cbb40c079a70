"""How calls fail, for the OpenAPI document: the statuses that services and edge answer, and the two shapes."""

from __future__ import annotations

from typing import Any

from promptmesh.errors.v1 import reason_pb2

from gateway.contracts import Contracts
from gateway.local_errors import DOMAIN, LOCAL_ERRORS, OTHER_ERROR

Schema = dict[str, Any]

_REASON_PREFIX = "REASON_"
_TYPE = "type.googleapis.com/google.rpc."
_DETAILS = ("ErrorInfo", "BadRequest", "RetryInfo", "QuotaFailure", "RequestInfo")
# What each status says. Those of the edge alone are in LOCAL_ERRORS; a test holds the two together.
STATUSES: dict[int, str] = {
    400: "The request is wrong as it stands, or cannot be served in the present state.",
    401: "There is no credential, or none that holds.",
    403: "The credential does not allow this call.",
    404: "What the call names is not there, or nothing is served at this path.",
    405: "The path takes other verbs.",
    408: "The request did not arrive whole in time.",
    409: "Somebody was there before: it exists already, or has changed.",
    413: "The body is too large.",
    415: "The body is of a type that is not taken.",
    426: "The protocol asked for is not served.",
    429: "A limit is used up.",
    431: "The headers are too large or too many.",
    500: "Something failed that should not.",
    503: "Something that the call needs is away for now.",
    504: "The call did not end in time.",
}
_HEADERS = {
    "x-request-id": {"$ref": "#/components/headers/RequestId"},
    "retry-after": {"$ref": "#/components/headers/RetryAfter"},
}
_OF_STATUS = {
    401: {"www-authenticate": {"$ref": "#/components/headers/WwwAuthenticate"}},
    405: {"allow": {"$ref": "#/components/headers/Allow"}},
}
HEADERS: dict[str, Any] = {
    "RetryAfter": {
        "description": "Seconds to wait, where waiting helps.",
        "schema": {"type": "integer", "minimum": 1},
    },
    "WwwAuthenticate": {"description": "How to show who calls.", "schema": {"const": "Bearer"}, "required": True},
    "Allow": {"description": "Verbs that the path takes.", "schema": {"type": "string"}, "required": True},
}


def of(*, openai: bool) -> Schema:
    """References to all of them, for an operation of ours or of OpenAI's API."""
    return {str(status): {"$ref": f"#/components/responses/{_name(status, openai)}"} for status in STATUSES}


def components() -> Schema:
    """The responses by name."""
    return {
        _name(status, openai): {
            "description": description,
            "headers": {**_HEADERS, **_OF_STATUS.get(status, {})},
            "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{shape}"}}},
        }
        for openai, shape in ((False, "Status"), (True, "openai.Error"))
        for status, description in STATUSES.items()
    }


def _name(status: int, openai: bool) -> str:
    return f"{'OpenAiError' if openai else 'Error'}{status}"


def status_schema(contracts: Contracts) -> Schema:
    """google.rpc.Status, with what its details may be."""
    enum = reason_pb2.Reason.DESCRIPTOR
    names = [value.name for value in enum.values if value.number]
    comments = {
        name.removeprefix(_REASON_PREFIX): contracts.comments.get(f"{enum.full_name}.{name}", "") for name in names
    }
    text = {"type": "string"}
    violation = {
        "type": "object",
        "properties": {
            "field": {**text, "description": "Of BadRequest: the field, by its path."},
            "subject": {**text, "description": "Of QuotaFailure: what is limited."},
            "description": {**text, "description": "What is wrong, and what is allowed."},
            "reason": {**text, "description": "The rule, for programs."},
        },
        "required": ["description"],
    }
    return {
        "type": "object",
        "description": "google.rpc.Status. `details` always holds a google.rpc.ErrorInfo.",
        "properties": {
            "code": {"type": "integer", "minimum": 1, "maximum": 16, "description": "A number of google.rpc.Code."},
            "message": {
                "type": "string",
                "minLength": 1,
                "description": "What happened, what was expected, what to do next.",
            },
            "details": {
                "type": "array",
                "description": "ErrorInfo, and where it applies BadRequest, RetryInfo, QuotaFailure, RequestInfo.",
                "contains": {
                    "properties": {"@type": {"const": f"{_TYPE}ErrorInfo"}},
                    "required": ["@type", "reason", "domain"],
                },
                "items": {
                    "type": "object",
                    "properties": {
                        "@type": {"type": "string", "enum": [f"{_TYPE}{name}" for name in _DETAILS]},
                        "reason": {
                            "type": "string",
                            "description": "\n".join(f"`{name}`: {text}" for name, text in comments.items()),
                            "enum": list(comments),
                        },
                        "domain": {"const": DOMAIN},
                        "metadata": {"type": "object", "additionalProperties": text},
                        "fieldViolations": {
                            "type": "array",
                            "items": {**violation, "required": ["field", "description"]},
                            "description": "Of BadRequest.",
                        },
                        "violations": {"type": "array", "items": violation, "description": "Of QuotaFailure."},
                        "retryDelay": {
                            "type": "string",
                            "pattern": r"^[0-9]+(\.[0-9]+)?s$",
                            "description": "Of RetryInfo: how long to wait.",
                        },
                        "requestId": {"type": "string", "description": "Of RequestInfo: the call, as in our logs."},
                    },
                    "required": ["@type"],
                },
            },
        },
        "required": ["code", "message", "details"],
    }


def of_the_edge() -> frozenset[int]:
    """Statuses that the edge answers by itself."""
    return frozenset(error.http_status for error in (*LOCAL_ERRORS, OTHER_ERROR))

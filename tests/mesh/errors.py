"""What every error of the mesh must be like, however it was asked for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import json_format
from google.rpc import code_pb2, error_details_pb2, status_pb2
from promptmesh.errors.v1 import reason_pb2

from tests.mesh.client import Answer

DETAILS_KEY = "grpc-status-details-bin"
#: google.rpc.Code → HTTP status, as the transcoder and Google's own APIs have it.
HTTP_STATUS: Mapping[int, int] = {
    code_pb2.INVALID_ARGUMENT: 400,
    code_pb2.FAILED_PRECONDITION: 400,
    code_pb2.OUT_OF_RANGE: 400,
    code_pb2.UNAUTHENTICATED: 401,
    code_pb2.PERMISSION_DENIED: 403,
    code_pb2.NOT_FOUND: 404,
    code_pb2.UNIMPLEMENTED: 404,
    code_pb2.ALREADY_EXISTS: 409,
    code_pb2.ABORTED: 409,
    code_pb2.RESOURCE_EXHAUSTED: 429,
    code_pb2.UNAVAILABLE: 503,
    code_pb2.DEADLINE_EXCEEDED: 504,
}
#: Nothing of the inside: code, files, statements, addresses.
_CHECKOUT = re.escape(str(Path(__file__).resolve().parents[2]))
INTERNALS = re.compile(
    r"Traceback|\.py\b|site-packages|asyncpg|psycopg|SELECT |INSERT |DELETE FROM|redis://|postgres|"
    rf"{_CHECKOUT}|/root/|/home/|/tmp/|"
    r"127\.0\.0\.1:\d|upstream connect|<class|0x[0-9a-f]{8}"
)
_TYPES = ("ErrorInfo", "BadRequest", "RequestInfo", "RetryInfo", "QuotaFailure")
REASONS = frozenset(reason_pb2.Reason.DESCRIPTOR.values_by_name)
_KNOWN_TYPES = error_details_pb2  # imported, so that details of these types can be told as JSON


@dataclass(frozen=True)
class Fault:
    """An error as its caller can act on it."""

    code: int  # google.rpc.Code
    reason: str
    message: str
    request_id: str
    fields: Mapping[str, str] = field(default_factory=dict)  # of BadRequest: path of the field → what is said of it
    rules: Mapping[str, str] = field(default_factory=dict)  # likewise → ids of the contract's rules that are broken
    metadata: Mapping[str, str] = field(default_factory=dict)
    retry: bool = False

    @property
    def brief(self) -> tuple[str, str]:
        """Code and reason by name."""
        return code_pb2.Code.Name(self.code), self.reason


def fault_of(answer: Answer) -> Fault:
    """The error in an HTTP answer, which must be one and have all that belongs to it."""
    assert answer.status >= 400, f"{answer.status}: {answer.body[:500]!r}"
    assert answer.headers["content-type"] == "application/json", answer.headers
    fault = _fault(answer.json)
    if not answer.headers.get("x-http-status-override"):
        by_code = HTTP_STATUS.get(fault.code)
        # The edge itself refuses bodies and headers that are too large, and other verbs, with statuses of their own.
        assert (
            answer.status == by_code
            or (by_code == 400 and answer.status in (413, 415, 431))
            or (by_code == 404 and answer.status == 405 and answer.headers["allow"])
        ), (answer.status, fault)
    assert fault.request_id == answer.headers["x-request-id"]
    assert "connection" not in answer.headers or answer.headers["connection"] in ("close", "keep-alive")
    if fault.retry:
        assert int(answer.headers["retry-after"]) >= 1
    _check_headers(answer.headers)
    return fault


def fault_of_rpc(error: grpc.aio.AioRpcError) -> Fault:
    """The error that a native call failed with, likewise."""
    trailers = {str(key): value for key, value in error.trailing_metadata() or ()}
    assert DETAILS_KEY in trailers, f"{error.code()} without details: {error.details()}"
    status = status_pb2.Status.FromString(bytes(trailers[DETAILS_KEY]))
    assert status.code == error.code().value[0]
    assert not INTERNALS.search(error.details() or ""), error.details()
    return _fault(json_format.MessageToDict(status))


def _fault(status: dict[str, Any]) -> Fault:
    assert set(status) <= {"code", "message", "details"}, status
    assert status["message"], status
    assert not INTERNALS.search(str(status)), status
    details = {detail["@type"].rpartition(".")[2]: detail for detail in status["details"]}
    assert len(details) == len(status["details"]), f"two details of one type: {status}"
    assert set(details) <= set(_TYPES), status
    info = details["ErrorInfo"]
    assert info["domain"] == "promptmesh", status
    assert f"REASON_{info['reason']}" in REASONS, status
    assert info["reason"] != "INTERNAL", status
    violations = details.get("BadRequest", {}).get("fieldViolations", ())
    fields: dict[str, str] = {}
    rules: dict[str, str] = {}
    for violation in violations:
        assert violation["description"], status
        fields[violation["field"]] = f"{fields.get(violation['field'], '')} {violation['description']}".strip()
        if violation.get("reason"):
            rules[violation["field"]] = f"{rules.get(violation['field'], '')} {violation['reason']}".strip()
    return Fault(
        code=status["code"],
        reason=info["reason"],
        message=status["message"],
        request_id=details["RequestInfo"]["requestId"] if "RequestInfo" in details else "",
        fields=fields,
        rules=rules,
        metadata=info.get("metadata", {}),
        retry="RetryInfo" in details,
    )


def _check_headers(headers: Mapping[str, str]) -> None:
    names = {name.lower() for name in headers}
    told = {name for name in names if name == "server" or name.startswith(("x-envoy", "grpc-", "x-promptmesh"))}
    assert not told, f"headers tell of the machinery: {told}"

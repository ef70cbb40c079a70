from __future__ import annotations

import asyncpg
import grpc
import pytest
import redis.exceptions
from google.rpc import status_pb2
from promptmesh.errors.v1.reason_pb2 import Reason

from services.mesh.dependencies import is_away
from services.mesh.errors import CODES, FieldViolation, MeshError, QuotaViolation, error_of, error_of_status, status_of
from services.mesh.validation import DETAIL_BYTES_MAX, error_of_violations


def test_every_reason_has_a_row_and_every_row_a_reason() -> None:
    assert set(CODES) == {name.removeprefix("REASON_") for name, number in Reason.items() if number}


def test_the_contract_says_the_same_status_as_the_table() -> None:
    """Each reason's comment ends with its status: the contract is what callers read."""
    from pathlib import Path

    text = (Path(__file__).resolve().parents[3] / "protos/promptmesh/errors/v1/reason.proto").read_text()
    said: dict[str, str] = {}
    comment = ""
    for line in text.splitlines():
        stripped = line.strip()
        if stripped.startswith("//"):
            comment = stripped
        elif stripped.startswith("REASON_") and comment.endswith(")"):
            said[stripped.split(" ")[0].removeprefix("REASON_")] = comment.rpartition("(")[2][:-1]
    assert said == {reason: code.name for reason, code in CODES.items()}


@pytest.mark.parametrize("reason", sorted(CODES))
def test_there_and_back(reason: str) -> None:
    error = MeshError(
        reason,
        "Why.",
        metadata={"a": "b"},
        violations=[FieldViolation("a.b[1]", "is wrong", "rule")],
        retry_after_s=0.25,
        quota=[QuotaViolation("s", "d")],
    )
    back = error_of_status(status_of(error, "request-1"))
    assert back is not None
    assert vars(back) == vars(error)
    assert back.code is CODES[reason]


def test_a_reason_that_is_none() -> None:
    with pytest.raises(ValueError, match="NO_SUCH_REASON"):
        MeshError("NO_SUCH_REASON", "")


def test_a_status_of_others_is_not_taken_for_ours() -> None:
    assert error_of_status(status_pb2.Status(code=5, message="not ours")) is None


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (grpc.StatusCode.UNAVAILABLE, "DEPENDENCY_UNAVAILABLE"),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_TOO_SHORT"),
        (grpc.StatusCode.UNIMPLEMENTED, "METHOD_UNKNOWN"),
        (grpc.StatusCode.UNKNOWN, "INTERNAL"),
    ],
)
def test_errors_without_details(code: grpc.StatusCode, reason: str) -> None:
    assert error_of(grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata())).reason == reason


@pytest.mark.parametrize(
    "error",
    [
        asyncpg.ConnectionDoesNotExistError(""),
        asyncpg.CannotConnectNowError(""),
        asyncpg.AdminShutdownError(""),
        asyncpg.TooManyConnectionsError(""),
        asyncpg.InterfaceError("connection is closed"),
        asyncpg.DeadlockDetectedError(""),
        redis.exceptions.ConnectionError(),
        redis.exceptions.TimeoutError(),
        ConnectionRefusedError(),
        ConnectionResetError(),
        TimeoutError(),
        OSError("Multiple exceptions"),
        grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata()),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_says_that_a_part_is_away(error: Exception) -> None:
    assert is_away(error)


@pytest.mark.parametrize(
    "error",
    [
        asyncpg.InterfaceError("cannot perform operation: another operation is in progress"),
        asyncpg.UniqueViolationError(""),
        asyncpg.UndefinedTableError(""),
        redis.exceptions.ResponseError("WRONGTYPE"),
        FileNotFoundError(),
        PermissionError(),
        ValueError(),
        grpc.aio.AioRpcError(grpc.StatusCode.NOT_FOUND, grpc.aio.Metadata(), grpc.aio.Metadata()),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_says_that_the_code_is_wrong(error: Exception) -> None:
    assert not is_away(error)


def test_violations_are_cut_to_what_fits() -> None:
    error = error_of_violations([FieldViolation(f"tags[{number}]", "must be short" * 5, "x") for number in range(500)])
    assert status_of(error).ByteSize() < 2 * DETAIL_BYTES_MAX
    assert 10 < len(error.violations) < 500
    assert "499 more violations" in error.message
    assert f"first {len(error.violations)}" in error.message

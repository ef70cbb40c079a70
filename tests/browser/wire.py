"""Answers of the mesh that a test makes up, as gRPC-Web carries them."""

from __future__ import annotations

import base64

from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from playwright.async_api import Route

UNAUTHENTICATED = 16
RESOURCE_EXHAUSTED = 8


async def refuse(route: Route, code: int, reason: str, message: str, retry_after_s: int = 0) -> None:
    """Answers a call with an error."""
    details = [error_details_pb2.ErrorInfo(domain="promptmesh", reason=reason)]
    packed = []
    for detail in [*details, *_retry(retry_after_s)]:
        one = any_pb2.Any()
        one.Pack(detail)
        packed.append(one)
    status = status_pb2.Status(code=code, message=message, details=packed)
    await route.fulfill(
        status=200,
        headers={
            "content-type": "application/grpc-web+proto",
            "grpc-status": str(code),
            "grpc-message": message,
            "grpc-status-details-bin": base64.b64encode(status.SerializeToString()).decode().rstrip("="),
        },
    )


def _retry(after_s: int) -> list[error_details_pb2.RetryInfo]:
    return [error_details_pb2.RetryInfo(retry_delay=duration_pb2.Duration(seconds=after_s))] if after_s else []


async def answer(route: Route, message: Message) -> None:
    """Answers a call with a message."""
    data, trailers = message.SerializeToString(), b"grpc-status: 0\r\n"
    framed = b"\0" + len(data).to_bytes(4, "big") + data + b"\x80" + len(trailers).to_bytes(4, "big") + trailers
    await route.fulfill(status=200, headers={"content-type": "application/grpc-web+proto"}, body=framed)

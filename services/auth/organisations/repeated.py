"""Creates that are asked for twice under one request_id."""

from __future__ import annotations

import hashlib
from typing import Any

from google.protobuf.message import Message

from services.mesh.errors import MeshError


def body_digest(request: Message) -> bytes:
    """SHA-256 of all that a request says but its id: the same for the same body."""
    body: Any = type(request)()
    body.CopyFrom(request)
    body.ClearField("request_id")
    return hashlib.sha256(body.SerializeToString(deterministic=True)).digest()


def refuse_other_body(same: bool, request_id: str, **made: str) -> None:
    """Raises REQUEST_ID_REUSED where a request came with another body. made: the field and id of what it made then."""
    if not same:
        field, made_id = next(iter(made.items()))
        raise MeshError(
            "REQUEST_ID_REUSED",
            f"This request_id has made {made_id} already, with another body: for another one send another request_id.",
            metadata={field: made_id, "request_id": request_id},
        )

"""Records of calls for tests."""

from __future__ import annotations

import time
from typing import Any

from promptmesh.inference.v1 import receipt_pb2 as pb

from services.inference.ledger.record import CallRecord
from services.mesh.ids import uuid7

ORG = "0190aaaa-0000-7000-8000-000000000001"
USER = "0190aaaa-0000-7000-8000-000000000002"
KEY = "0190aaaa-0000-7000-8000-000000000003"


def begun(**changes: Any) -> CallRecord:
    """A call that reserved 150 tokens, 100 of them input, and 900 nanos."""
    fields: dict[str, Any] = {
        "record_id": uuid7(),
        "request_id": "request-1",
        "begin_time_ns": time.time_ns(),
        "org_id": ORG,
        "user_id": USER,
        "api_key_id": KEY,
        "surface": pb.SURFACE_CHAT_COMPLETIONS,
        "route": "house",
        "config_version": 7,
        "streamed": True,
        "reserved_tokens": 150,
        "reserved_nanos": 900,
        "limit_subjects": [f"org:{ORG}", f"key:{KEY}"],
        "input_tokens": 100,
    }
    return CallRecord(**(fields | changes))


def ended(record: CallRecord, **changes: Any) -> CallRecord:
    """It answered: 90 + 20 tokens for 400 nanos."""
    fields: dict[str, Any] = {
        "model": "house-small",
        "provider": "mock",
        "duration_us": 1500,
        "first_token_us": 700,
        "outcome": pb.OUTCOME_OK,
        "finish_reason": "stop",
        "attempts": [("house-small", "mock", "", 1400, False)],
        "cache": pb.CACHE_DECISION_MISS,
        "input_tokens": 90,
        "output_tokens": 20,
        "basis": pb.BASIS_REPORTED,
        "cost_nanos": 400,
    }
    for name, value in (fields | changes).items():
        setattr(record, name, value)
    return record

"""Receipts: of a record in memory, and of a row in PostgreSQL."""

from __future__ import annotations

from typing import Any

import orjson
from google.protobuf.duration_pb2 import Duration
from promptmesh.inference.v1 import receipt_pb2 as pb

from services.inference.ledger.record import INT32_MAX, CallRecord
from services.inference.ledger.rows import NIL

_US = 1_000_000


def receipt_of_row(row: Any) -> pb.Receipt:
    """Of a row (a mapping) of the statements that read `requests`."""
    receipt = pb.Receipt(
        record_id=row["id"],
        request_id=row["request_id"],
        org_id=none_if_nil(row["org_id"]),
        user_id=none_if_nil(row["user_id"]),
        api_key_id=none_if_nil(row["api_key_id"]),
        service=row["service"],
        surface=row["surface"],
        route=row["route"],
        model=row["model"],
        provider=row["provider"],
        config_version=row["config_version"],
        streamed=row["streamed"],
        duration=_duration(row["duration_us"]),
        outcome=row["outcome"],
        reason=row["reason"],
        finish_reason=row["finish_reason"],
        attempts=[_attempt(one) for one in orjson.loads(row["attempts"])],
        cache=row["cache"],
        input_tokens=row["input_tokens"],
        output_tokens=row["output_tokens"],
        basis=row["basis"],
        cost_nanos=row["cost_nanos"],
        tags=orjson.loads(row["tags"]),
        input_text=row["input_text"] or "",
        output_text=row["output_text"] or "",
    )
    seconds, rest_us = divmod(row["begin_us"], _US)
    receipt.begin_time.seconds, receipt.begin_time.nanos = seconds, rest_us * 1000
    if row["first_token_us"] is not None:
        receipt.first_token.CopyFrom(_duration(row["first_token_us"]))
    return receipt


def receipt_of(record: CallRecord) -> pb.Receipt:
    """Of a record, as it will be read once it is stored."""
    receipt = pb.Receipt(
        record_id=record.record_id,
        request_id=record.request_id,
        org_id=record.org_id,
        user_id=record.user_id,
        api_key_id=record.api_key_id,
        service=record.service,
        surface=record.surface,  # type: ignore[arg-type]
        route=record.route,
        model=record.model,
        provider=record.provider,
        config_version=record.config_version,
        streamed=record.streamed,
        duration=_duration(record.duration_us),
        outcome=record.outcome,  # type: ignore[arg-type]
        reason=record.reason,
        finish_reason=record.finish_reason,
        attempts=[_attempt(one) for one in record.attempts],
        cache=record.cache,  # type: ignore[arg-type]
        input_tokens=min(record.input_tokens, INT32_MAX),
        output_tokens=min(record.output_tokens, INT32_MAX),
        basis=record.basis,  # type: ignore[arg-type]
        cost_nanos=record.cost_nanos,
        tags=record.tags,
    )
    # To the microsecond, as PostgreSQL keeps it.
    seconds, rest_us = divmod(record.begin_time_ns // 1000, _US)
    receipt.begin_time.seconds, receipt.begin_time.nanos = seconds, rest_us * 1000
    if record.first_token_us is not None:
        receipt.first_token.CopyFrom(_duration(record.first_token_us))
    return receipt


def none_if_nil(text: str) -> str:
    """An id as the contract has it: empty where there is none."""
    return "" if text == NIL else text


def _attempt(fields: Any) -> pb.Attempt:
    model, provider, reason, duration_us, hedge = fields[:5]
    return pb.Attempt(model=model, provider=provider, reason=reason, duration=_duration(duration_us), hedge=hedge)


def _duration(us: int) -> Duration:
    seconds, rest_us = divmod(us, _US)
    return Duration(seconds=seconds, nanos=rest_us * 1000)

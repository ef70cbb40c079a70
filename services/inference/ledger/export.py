"""Receipts as files for billing: CSV after RFC 4180, and JSON lines in the contract's JSON."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import orjson
from promptmesh.inference.v1 import receipt_pb2 as pb

from services.inference.ledger.receipts import none_if_nil

CSV_TYPE = "text/csv; charset=utf-8"
JSONL_TYPE = "application/x-ndjson"

COLUMNS = (
    *("record_id", "request_id", "org_id", "user_id", "api_key_id", "service", "surface", "route", "model"),
    *("provider", "config_version", "streamed", "begin_time", "duration_us", "first_token_us", "outcome", "reason"),
    *("finish_reason", "attempts", "cache", "input_tokens", "output_tokens", "basis", "cost_nanos", "tags"),
)
# With one of these a spreadsheet takes a cell for a formula (OWASP, CSV Injection).
_FORMULA = frozenset("=+-@\t\r\n")
_US = 1_000_000

_Row = Any  # asyncpg.Record, or another mapping by column


def csv_header() -> bytes:
    """The first line."""
    return (",".join(COLUMNS) + "\r\n").encode()


def csv_lines(rows: Iterable[_Row]) -> bytes:
    """One line a receipt. A text that a spreadsheet would run gets an apostrophe before it."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\r\n").writerows(_cells(row) for row in rows)
    return text.getvalue().encode()


def json_lines(rows: Iterable[_Row]) -> bytes:
    """One object a line, as the REST API writes a receipt."""
    return b"".join(orjson.dumps(_object(row), option=orjson.OPT_APPEND_NEWLINE) for row in rows)


def _cells(row: _Row) -> tuple[Any, ...]:
    return (
        row["id"],
        _safe(row["request_id"]),
        none_if_nil(row["org_id"]),
        none_if_nil(row["user_id"]),
        none_if_nil(row["api_key_id"]),
        _safe(row["service"]),
        _name(pb.Surface, row["surface"]),
        _safe(row["route"]),
        _safe(row["model"]),
        _safe(row["provider"]),
        row["config_version"],
        "true" if row["streamed"] else "false",
        _time(row["begin_us"]),
        row["duration_us"],
        row["first_token_us"],
        _name(pb.Outcome, row["outcome"]),
        _safe(row["reason"]),
        _safe(row["finish_reason"]),
        len(orjson.loads(row["attempts"])),
        _name(pb.CacheDecision, row["cache"]),
        row["input_tokens"],
        row["output_tokens"],
        _name(pb.Basis, row["basis"]),
        row["cost_nanos"],
        row["tags"],  # a JSON object begins with a brace
    )


def _object(row: _Row) -> dict[str, Any]:
    receipt = {
        "recordId": row["id"],
        "requestId": row["request_id"],
        "orgId": none_if_nil(row["org_id"]),
        "userId": none_if_nil(row["user_id"]),
        "apiKeyId": none_if_nil(row["api_key_id"]),
        "service": row["service"],
        "surface": _name(pb.Surface, row["surface"]),
        "route": row["route"],
        "model": row["model"],
        "provider": row["provider"],
        "configVersion": str(row["config_version"]),
        "streamed": row["streamed"],
        "beginTime": _time(row["begin_us"]),
        "duration": _seconds(row["duration_us"]),
        "outcome": _name(pb.Outcome, row["outcome"]),
        "reason": row["reason"],
        "finishReason": row["finish_reason"],
        "attempts": [
            {"model": model, "provider": provider, "reason": reason, "duration": _seconds(us), "hedge": hedge}
            for model, provider, reason, us, hedge, *_ in orjson.loads(row["attempts"])
        ],
        "cache": _name(pb.CacheDecision, row["cache"]),
        "inputTokens": row["input_tokens"],
        "outputTokens": row["output_tokens"],
        "basis": _name(pb.Basis, row["basis"]),
        "tags": orjson.loads(row["tags"]),
        "inputText": row["input_text"] or "",
        "outputText": row["output_text"] or "",
    }
    if row["first_token_us"] is not None:
        receipt["firstToken"] = _seconds(row["first_token_us"])
    if row["cost_nanos"] is not None:
        receipt["costNanos"] = str(row["cost_nanos"])
    return receipt


def _safe(text: str) -> str:
    return f"'{text}" if text and text[0] in _FORMULA else text


def _name(enum: Any, number: int) -> str:
    """The contract's name of a number; the number itself where a newer release wrote one that we do not know."""
    try:
        name: str = enum.Name(number)
    except ValueError:
        return str(number)
    return name


def _time(us: int) -> str:
    seconds, rest_us = divmod(us, _US)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest_us:06d}Z"


def _seconds(us: int) -> str:
    seconds, rest_us = divmod(us, _US)
    return f"{seconds}.{rest_us:06d}s"

"""Records as the columns of `insert_requests`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from services.inference.ledger.record import CallRecord

NIL = "00000000-0000-0000-0000-000000000000"
"""Stands in a column of ids for none, so that it can be part of a key."""

_NS_PER_US = 1000
OTHER = "(other)"
"""The value of a tag under which values are summed that are too many to be summed apart."""


class TagValues:
    """Bounds how many values of a tag are summed apart: of an organisation, a tag and an hour, in this process.

    A caller that tags each call with an id of its own would else make as many sums as calls.
    """

    def __init__(self, values_max: int) -> None:
        self._values_max = values_max
        self._hour = -1
        self._seen: dict[tuple[str, str], set[str]] = {}

    def beyond(self, record: CallRecord) -> list[str]:
        """Tags of a record whose values are summed under OTHER."""
        hour = record.begin_time_ns // 3_600_000_000_000
        if hour > self._hour:
            self._hour = hour
            self._seen = {}
        beyond = []
        for key, value in record.tags.items():
            seen = self._seen.setdefault((record.org_id, key), set())
            if value not in seen:
                if len(seen) >= self._values_max:
                    beyond.append(key)
                else:
                    seen.add(value)
        return beyond


def columns_of(records: Sequence[CallRecord], tag_values: TagValues) -> list[tuple[Any, ...]]:
    """One sequence a column, in the order of the statement's parameters."""
    return list(zip(*[_row(record, tag_values) for record in records], strict=True))


def _row(record: CallRecord, tag_values: TagValues) -> tuple[Any, ...]:
    tags, tags_other = "{}", None
    if record.tags:
        tags = orjson.dumps(record.tags).decode()
        beyond = tag_values.beyond(record)
        if beyond:
            tags_other = orjson.dumps(beyond).decode()
    return (
        record.record_id,
        record.org_id or NIL,
        record.user_id or NIL,
        record.api_key_id or NIL,
        record.begin_time_ns // _NS_PER_US,
        record.duration_us,
        record.first_token_us,
        record.config_version,
        record.cost_nanos,
        record.input_tokens,
        record.output_tokens,
        record.surface,
        record.outcome,
        record.cache,
        record.basis,
        record.streamed,
        record.request_id,
        record.service,
        record.route,
        record.model,
        record.provider,
        record.reason,
        record.finish_reason,
        orjson.dumps(record.attempts).decode() if record.attempts else "[]",
        tags,
        tags_other,
        record.input_text or None,
        record.output_text or None,
    )

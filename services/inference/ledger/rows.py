"""Records as the columns of `insert_requests`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from services.inference.ledger.record import CallRecord

NIL = "00000000-0000-0000-0000-000000000000"
"""Stands in a column of ids for none, so that it can be part of a key."""

_NS_PER_US = 1000
_NS_PER_HOUR = 3_600_000_000_000
OTHER = "(other)"
"""The value of a tag under which values are summed that are too many to be summed apart."""


class TagValues:
    """Bounds how many tags of an organisation, and how many values of a tag, are summed apart in an hour, in this
    process. A caller that tags each call with an id of its own would else make as many sums as calls.
    """

    def __init__(self, keys_max: int, values_max: int) -> None:
        self._keys_max = keys_max
        self._values_max = values_max
        self._hour = -1
        self._seen: dict[str, dict[str, set[str]]] = {}

    def beyond(self, record: CallRecord) -> dict[str, str | None]:
        """Tags of a record that are summed under OTHER, or not at all (None)."""
        hour = record.begin_time_ns // _NS_PER_HOUR
        if hour > self._hour:
            self._hour = hour
            self._seen = {}
        keys = self._seen.setdefault(record.org_id, {})
        beyond: dict[str, str | None] = {}
        for key, value in record.tags.items():
            values = keys.get(key)
            if values is None:
                if len(keys) >= self._keys_max:
                    beyond[key] = None
                    continue
                values = keys[key] = set()
            if value not in values:
                if len(values) >= self._values_max:
                    beyond[key] = OTHER
                else:
                    values.add(value)
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

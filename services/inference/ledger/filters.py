"""What a question about usage is about: which organisation, which time, which receipts. Wrong fields are named."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from promptmesh.access.v1.access_pb2 import Role
from promptmesh.inference.v1 import usage_pb2 as pb

from services.mesh.call import Caller
from services.mesh.errors import FieldViolation, MeshError

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
USAGE_MOST = timedelta(days=400)
# A record's id is made when the call begins, by another reading of the clock than its time of begin.
ID_MARGIN = timedelta(minutes=1)
_SEES_ALL = (Role.ROLE_ADMIN, Role.ROLE_AUDITOR)
_MICROSECOND = timedelta(microseconds=1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class RequestQuery:
    """Receipts of an organisation that began in a time. None: any."""

    org_id: str
    begin_us: int
    end_us: int
    user_id: str | None
    api_key_id: str | None
    model: str | None
    route: str | None
    outcome: int | None
    tag_key: str | None
    tag_value: str | None

    @property
    def lowest_id(self) -> str:
        """No id of such a record is lower, or equal."""
        return _id_at(self.begin_us - ID_MARGIN // _MICROSECOND)

    @property
    def beyond_id(self) -> str:
        """Every id of such a record is lower."""
        return _id_at(self.end_us + ID_MARGIN // _MICROSECOND)

    @property
    def filters(self) -> tuple[Any, ...]:
        """In the order of the statements' parameters from the fifth on."""
        return (
            *(self.begin_us, self.end_us, self.user_id, self.api_key_id, self.model, self.route, self.outcome),
            *(self.tag_key, self.tag_value),
        )


def sees_all(caller: Caller) -> bool:
    """Whether the caller may read every organisation's."""
    return caller.is_(*_SEES_ALL)


def org_of(caller: Caller, asked: str, field: str) -> str:
    """The organisation that the question is about. MeshError ROLE_MISSING for another's."""
    if not asked:
        return caller.org_id
    org_id = id_of(asked, field)
    if org_id != caller.org_id and not sees_all(caller):
        raise MeshError(
            "ROLE_MISSING",
            f"{field} names another organisation than yours, which admins and auditors may read. Leave it empty for "
            "your own.",
        )
    return org_id or ""


def id_of(text: str, field: str) -> str | None:
    """A UUID as PostgreSQL spells it; None for an empty text."""
    if not text:
        return None
    try:
        return str(uuid.UUID(text))
    except ValueError:
        raise wrong(field, "must be a UUID, or empty") from None


def query_of(
    caller: Caller, request_filter: pb.RequestFilter, *, now: datetime, begin_default: datetime
) -> RequestQuery:
    """Which receipts a filter asks for."""
    prefix = "filter."
    begin = _time(request_filter, "begin_time", prefix, begin_default)
    end = _time(request_filter, "end_time", prefix, now)
    if end <= begin:
        raise wrong(f"{prefix}end_time", "must be later than filter.begin_time")
    if request_filter.tag_value and not request_filter.tag_key:
        raise wrong(f"{prefix}tag_value", "says nothing without filter.tag_key")
    return RequestQuery(
        org_id=org_of(caller, request_filter.org_id, f"{prefix}org_id"),
        begin_us=(begin - EPOCH) // _MICROSECOND,
        end_us=(end - EPOCH) // _MICROSECOND,
        user_id=id_of(request_filter.user_id, f"{prefix}user_id"),
        api_key_id=id_of(request_filter.api_key_id, f"{prefix}api_key_id"),
        model=request_filter.model or None,
        route=request_filter.route or None,
        outcome=request_filter.outcome or None,
        tag_key=request_filter.tag_key or None,
        tag_value=request_filter.tag_value or None,
    )


def usage_time(request: pb.GetUsageRequest, now: datetime) -> tuple[datetime, datetime]:
    """The hours that a question about usage covers; the last one may be under way."""
    begin = _time(request, "begin_time", "", month_of(now))
    end = _time(request, "end_time", "", now)
    this_hour = now.replace(minute=0, second=0, microsecond=0)
    if begin != begin.replace(minute=0, second=0, microsecond=0):
        raise wrong("begin_time", "must be a whole hour (UTC)")
    if end < this_hour and end != end.replace(minute=0, second=0, microsecond=0):
        raise wrong("end_time", "must be a whole hour (UTC), unless it is in the hour under way or later")
    if end <= begin:
        raise wrong("end_time", "must be later than begin_time")
    if end - begin > USAGE_MOST:
        raise wrong("begin_time", f"must be at most {USAGE_MOST.days} days before end_time")
    return begin, end


def month_of(now: datetime) -> datetime:
    """The beginning of the month (UTC)."""
    return now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def wrong(field: str, what: str) -> MeshError:
    """Says of a field what is wrong with it."""
    return MeshError("INVALID_FIELD", f"{field} {what}.", violations=[FieldViolation(field, what)])


def _time(message: Any, name: str, prefix: str, default: datetime) -> datetime:
    if not message.HasField(name):
        return default
    given: Timestamp = getattr(message, name)
    try:
        time = given.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise wrong(f"{prefix}{name}", "must be a time from 0001 to 9999") from None
    if not 1970 <= time.year <= 9000:
        raise wrong(f"{prefix}{name}", "must be a time from 1970 to 9000")
    return time


def _id_at(time_us: int) -> str:
    """The lowest UUIDv7 of a time."""
    digits = f"{max(0, time_us) // 1000:012x}"
    return f"{digits[:8]}-{digits[8:12]}-0000-0000-000000000000"

"""UsageService: sums, pages, receipts and exports; nobody sees another organisation's; wrong fields are named."""

from __future__ import annotations

import asyncio
import csv
import io
import time
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import json_format
from google.protobuf.timestamp_pb2 import Timestamp
from promptmesh.inference.v1 import receipt_pb2, usage_pb2

from services.inference.ledger.receipts import receipt_of
from services.inference.ledger.record import CallRecord
from services.inference.ledger.rows import TagValues
from services.inference.ledger.writer import Writer
from services.mesh.database import Database
from services.mesh.errors import error_of
from services.mesh.ids import uuid7
from tests.integration.inference.ledger.usage_api import (
    ANN_ORG,
    BOB_ORG,
    UsageApi,
    read_all,
    refused,
    running_usage_api,
)
from tests.unit.inference.ledger.records import begun, ended

HOUR_NS = 3_600_000_000_000
DAY_NS = 24 * HOUR_NS
ANN_2 = "0190aaaa-0000-7000-8000-0000000000a2"


@pytest.fixture
async def api(database: Database) -> AsyncIterator[UsageApi]:
    async with running_usage_api(database, scan_rows_max=1000) as running:
        yield running


@pytest.fixture
def writer(database: Database, tmp_path: Path) -> Writer:
    return Writer(database, TagValues(100, 100), tmp_path / "refused.journal")


def at(ns: int) -> Timestamp:
    stamp = Timestamp()
    stamp.FromNanoseconds(ns)
    return stamp


def id_at(ns: int) -> str:
    """A UUIDv7 of another time than now."""
    digits = f"{ns // 1_000_000:012x}"
    return f"{digits[:8]}-{digits[8:]}{uuid7()[13:]}"


def record(ns: int | None = None, **changes: Any) -> CallRecord:
    """A call of Ann's that has ended."""
    ns = time.time_ns() if ns is None else ns
    own = {"org_id": ANN_ORG, "user_id": ANN_ORG, "api_key_id": "", "begin_time_ns": ns, "record_id": id_at(ns)}
    begins = {name: changes.pop(name) for name in (*own, "tags", "route", "request_id") if name in changes}
    return ended(begun(**(own | begins)), **changes)


async def store(writer: Writer, *records: CallRecord) -> None:
    assert await writer.write(records)


# GetUsage


async def test_usage_is_summed_by_what_is_asked_for(api: UsageApi, writer: Writer) -> None:
    hour = time.time_ns() // HOUR_NS * HOUR_NS - 5 * HOUR_NS
    await store(
        writer,
        record(hour, model="small", cost_nanos=5, tags={"team": "a", "env": "x"}),
        record(hour + 1, model="small", cost_nanos=None, outcome=3, tags={"team": "b"}),
        record(hour + HOUR_NS, model="large", cost_nanos=7, cache=3, basis=2, user_id=ANN_2, tags={"team": "a"}),
        record(hour + HOUR_NS, org_id=BOB_ORG, cost_nanos=1000, tags={"team": "a"}),
    )
    window = {"begin_time": at(hour), "end_time": at(hour + 3 * HOUR_NS)}

    async def usage(**more: Any) -> list[Any]:
        request = usage_pb2.GetUsageRequest(**window, **more)
        return list((await api.stub.GetUsage(request, metadata=api.ann)).rows)

    [whole] = await usage()
    assert (whole.requests, whole.failures, whole.cache_hits, whole.cost_nanos) == (3, 1, 1, 12)
    assert (whole.input_tokens, whole.output_tokens) == (270, 60)
    assert (whole.unpriced_requests, whole.estimated_requests) == (1, 1)
    assert whole.begin_time == at(hour)
    assert (whole.model, whole.user_id, whole.api_key_id) == ("", "", "")
    by_hour = await usage(interval=usage_pb2.USAGE_INTERVAL_HOUR)
    assert [(one.begin_time.seconds, one.requests) for one in by_hour] == [
        (hour // 10**9, 2),
        (hour // 10**9 + 3600, 1),
    ]
    by_model = await usage(group_by=[usage_pb2.USAGE_DIMENSION_MODEL, usage_pb2.USAGE_DIMENSION_USER])
    assert [(one.model, one.user_id, one.cost_nanos) for one in by_model] == [
        ("large", ANN_2, 7),
        ("small", ANN_ORG, 5),
    ]
    by_tag = await usage(group_by=[usage_pb2.USAGE_DIMENSION_TAG, usage_pb2.USAGE_DIMENSION_MODEL], tag_key="team")
    assert [(one.tag_value, one.model, one.requests, one.cost_nanos) for one in by_tag] == [
        ("a", "large", 1, 7),
        ("a", "small", 1, 5),
        ("b", "small", 1, 0),
    ]
    [provider] = await usage(
        group_by=[
            usage_pb2.USAGE_DIMENSION_PROVIDER,
            usage_pb2.USAGE_DIMENSION_ROUTE,
            usage_pb2.USAGE_DIMENSION_API_KEY,
        ]
    )
    assert (provider.provider, provider.route, provider.api_key_id, provider.requests) == ("mock", "house", "", 3)


async def test_days_are_of_utc(api: UsageApi, writer: Writer) -> None:
    day = time.time_ns() // DAY_NS * DAY_NS - 2 * DAY_NS
    await store(writer, record(day), record(day + DAY_NS - 1), record(day + DAY_NS))
    request = usage_pb2.GetUsageRequest(begin_time=at(day), interval=usage_pb2.USAGE_INTERVAL_DAY)
    rows = (await api.stub.GetUsage(request, metadata=api.ann)).rows
    assert [(one.begin_time, one.requests) for one in rows] == [(at(day), 2), (at(day + DAY_NS), 1)]


async def test_usage_of_this_month_is_the_default(api: UsageApi, writer: Writer) -> None:
    now = datetime.now(UTC)
    month = int(now.replace(day=1, hour=0, minute=0, second=0, microsecond=0).timestamp()) * 10**9
    await store(writer, record(), record(month - 1))
    [whole] = (await api.stub.GetUsage(usage_pb2.GetUsageRequest(), metadata=api.ann)).rows
    assert whole.requests == 1
    assert whole.begin_time == at(month)


HOUR = 1_700_000_000 // 3600 * 3600


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"group_by": [usage_pb2.USAGE_DIMENSION_TAG]}, "tag_key"),
        ({"tag_key": "team"}, "tag_key"),
        ({"begin_time": Timestamp(seconds=HOUR + 60)}, "begin_time"),
        ({"begin_time": Timestamp(seconds=HOUR), "end_time": Timestamp(seconds=HOUR + 3700)}, "end_time"),
        ({"begin_time": Timestamp(seconds=HOUR), "end_time": Timestamp(seconds=HOUR)}, "end_time"),
        ({"begin_time": Timestamp(seconds=HOUR), "end_time": Timestamp(seconds=HOUR + 401 * 86400)}, "begin_time"),
        ({"begin_time": Timestamp(seconds=-(10**17))}, "begin_time"),
        ({"end_time": Timestamp(seconds=-86400)}, "end_time"),
        ({"org_id": "mine"}, "org_id"),
        ({"group_by": [usage_pb2.USAGE_DIMENSION_MODEL] * 2}, "group_by"),
        ({"interval": 99}, "interval"),
    ],
)
async def test_wrong_questions_about_usage_name_the_field(api: UsageApi, fields: dict[str, Any], field: str) -> None:
    error = await refused(api.stub.GetUsage(usage_pb2.GetUsageRequest(**fields), metadata=api.ann))
    assert error.reason == "INVALID_FIELD"
    assert [one.field for one in error.violations] == [field]


async def test_more_rows_than_may_be_are_refused_and_not_cut(
    api: UsageApi, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.inference.ledger.service.ROWS_MAX", 3)
    await store(writer, *(record(model=f"m{number}") for number in range(4)))
    request = usage_pb2.GetUsageRequest(group_by=[usage_pb2.USAGE_DIMENSION_MODEL])
    error = await refused(api.stub.GetUsage(request, metadata=api.ann))
    assert [one.field for one in error.violations] == ["group_by"]


# ListRequests


async def pages(api: UsageApi, size: int, metadata: Any = None, **fields: Any) -> list[list[Any]]:
    """Every page of a list."""
    found, token = [], ""
    while True:
        request = usage_pb2.ListRequestsRequest(
            filter=usage_pb2.RequestFilter(**fields), page_size=size, page_token=token
        )
        response = await api.stub.ListRequests(request, metadata=metadata or api.ann)
        found.append(list(response.requests))
        token = response.next_page_token
        if not token:
            return found


def ids(receipts: Sequence[Any]) -> list[str]:
    return [one.record_id for one in receipts]


async def test_receipts_come_in_pages_newest_first(api: UsageApi, writer: Writer) -> None:
    now = time.time_ns()
    records = [record(now - number * 10**9, cost_nanos=number or None, tags={"n": str(number)}) for number in range(25)]
    await store(writer, *records, record(now - 2 * DAY_NS), record(org_id=BOB_ORG))
    found = await pages(api, 10)
    assert [len(page) for page in found] == [10, 10, 5]
    receipts = [one for page in found for one in page]
    assert ids(receipts) == [one.record_id for one in records]
    for receipt, given in zip(receipts, records, strict=True):
        assert receipt == receipt_of(given)
    assert not receipts[0].HasField("cost_nanos")
    assert receipts[1].cost_nanos == 1
    [exact] = await pages(api, 25)
    assert len(exact) == 25


async def test_a_page_is_of_the_same_time_as_the_first(api: UsageApi, writer: Writer) -> None:
    now = time.time_ns()
    await store(writer, *(record(now - number * 10**9) for number in range(4)))
    first = await api.stub.ListRequests(usage_pb2.ListRequestsRequest(page_size=2), metadata=api.ann)
    await store(writer, record())
    request = usage_pb2.ListRequestsRequest(page_size=10, page_token=first.next_page_token)
    second = await api.stub.ListRequests(request, metadata=api.ann)
    assert len({*ids(first.requests), *ids(second.requests)}) == 4


async def test_receipts_are_filtered(api: UsageApi, writer: Writer) -> None:
    now = time.time_ns()
    wanted = {
        "user_id": record(user_id=ANN_2),
        "api_key_id": record(api_key_id=ANN_2),
        "model": record(model="odd"),
        "route": record(route="odd"),
        "outcome": record(outcome=receipt_pb2.OUTCOME_LOST),
        "tag_key": record(tags={"odd": "1"}),
    }
    await store(writer, *wanted.values(), *(record(tags={"team": "a"}) for _ in range(3)))
    fields = {
        "user_id": {"user_id": ANN_2.upper()},
        "api_key_id": {"api_key_id": ANN_2},
        "model": {"model": "odd"},
        "route": {"route": "odd"},
        "outcome": {"outcome": receipt_pb2.OUTCOME_LOST},
        "tag_key": {"tag_key": "odd", "tag_value": "1"},
    }
    for name, asked in fields.items():
        [page] = await pages(api, 50, **asked)
        assert ids(page) == [wanted[name].record_id], name
    assert [len(page) for page in await pages(api, 50, tag_key="team")] == [3]
    assert [len(page) for page in await pages(api, 50, tag_key="team", tag_value="b")] == [0]
    assert [len(page) for page in await pages(api, 50, begin_time=at(now - 9000), end_time=at(now - 1000))] == [0]


async def test_a_time_ends_before_its_end(api: UsageApi, writer: Writer) -> None:
    now = time.time_ns() // 1000 * 1000
    records = [record(now - 3000), record(now - 2000), record(now - 1000)]
    await store(writer, *records)
    [page] = await pages(api, 50, begin_time=at(now - 3000), end_time=at(now - 1000))
    assert set(ids(page)) == {one.record_id for one in records[:2]}


async def test_a_rare_receipt_is_found_in_steps(writer: Writer, database: Database) -> None:
    now = time.time_ns()
    rare = record(now - 60 * 10**9, model="rare")
    await store(writer, *(record(now - number * 10**6) for number in range(70)), rare)
    async with running_usage_api(database, scan_rows_max=20) as api:
        found = await pages(api, 5, model="rare")
        assert [ids(page) for page in found] == [[], [], [], [rare.record_id]]
        request = usage_pb2.ExportRequestsRequest(
            filter=usage_pb2.RequestFilter(begin_time=at(now - DAY_NS), model="rare")
        )
        data, _, _ = await read_all(api.stub.ExportRequests(request, metadata=api.ann))
        assert data.count(b"\r\n") == 2


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"user_id": "ann"}, "filter.user_id"),
        ({"api_key_id": "pm_1"}, "filter.api_key_id"),
        ({"org_id": "x"}, "filter.org_id"),
        ({"tag_value": "a"}, "filter.tag_value"),
        ({"begin_time": at(2 * DAY_NS), "end_time": at(DAY_NS)}, "filter.end_time"),
        ({"begin_time": Timestamp(seconds=10**17)}, "filter.begin_time"),
    ],
)
async def test_wrong_filters_name_the_field(api: UsageApi, fields: dict[str, Any], field: str) -> None:
    chosen = usage_pb2.RequestFilter(**fields)
    for call in (
        api.stub.ListRequests(usage_pb2.ListRequestsRequest(filter=chosen), metadata=api.ann),
        api.stub.ExportRequests(usage_pb2.ExportRequestsRequest(filter=chosen), metadata=api.ann),
    ):
        error = await refused(call)
        assert error.reason == "INVALID_FIELD"
        assert [one.field for one in error.violations] == [field]


async def test_a_page_token_is_of_its_list_and_of_its_organisation(api: UsageApi, writer: Writer) -> None:
    await store(writer, *(record() for _ in range(4)), *(record(org_id=BOB_ORG) for _ in range(4)))
    first = await api.stub.ListRequests(usage_pb2.ListRequestsRequest(page_size=2), metadata=api.ann)
    token = first.next_page_token
    other = usage_pb2.ListRequestsRequest(page_token=token, filter=usage_pb2.RequestFilter(model="x"))
    assert (await refused(api.stub.ListRequests(other, metadata=api.ann))).reason == "PAGE_TOKEN_INVALID"
    theirs = usage_pb2.ListRequestsRequest(page_size=2, page_token=token)
    assert (await refused(api.stub.ListRequests(theirs, metadata=api.bob))).reason == "PAGE_TOKEN_INVALID"


# Who sees what


async def test_nobody_sees_another_organisations(api: UsageApi, writer: Writer) -> None:
    anns, bobs = record(request_id="ann-1"), record(org_id=BOB_ORG, user_id=BOB_ORG, request_id="bob-1")
    await store(writer, anns, bobs)
    asked = usage_pb2.RequestFilter(org_id=BOB_ORG)
    for call in (
        api.stub.GetUsage(usage_pb2.GetUsageRequest(org_id=BOB_ORG), metadata=api.ann),
        api.stub.ListRequests(usage_pb2.ListRequestsRequest(filter=asked), metadata=api.ann),
        api.stub.ExportRequests(usage_pb2.ExportRequestsRequest(filter=asked), metadata=api.ann),
    ):
        assert (await refused(call)).reason == "ROLE_MISSING"
    for wanted in (bobs.record_id, "bob-1", uuid7(), "nothing", "0"):
        error = await refused(api.stub.GetRequest(usage_pb2.GetRequestRequest(id=wanted), metadata=api.ann))
        assert error.reason == "REQUEST_NOT_FOUND"
        assert BOB_ORG not in str(error)
    # By a user of theirs neither.
    assert [len(page) for page in await pages(api, 50, user_id=BOB_ORG)] == [0]
    data, _, _ = await read_all(api.stub.ExportRequests(usage_pb2.ExportRequestsRequest(), metadata=api.ann))
    assert anns.record_id.encode() in data
    assert bobs.record_id.encode() not in data


async def test_admins_and_auditors_see_any(api: UsageApi, writer: Writer) -> None:
    bobs = record(org_id=BOB_ORG)
    await store(writer, bobs)
    for who in (api.admin, api.auditor):
        [row] = (await api.stub.GetUsage(usage_pb2.GetUsageRequest(org_id=BOB_ORG), metadata=who)).rows
        assert row.requests == 1
        [page] = await pages(api, 50, who, org_id=BOB_ORG.upper())
        assert ids(page) == [bobs.record_id]
        found = await api.stub.GetRequest(usage_pb2.GetRequestRequest(id=bobs.record_id), metadata=who)
        assert found.org_id == BOB_ORG
        # Asked for nobody's, it is their own.
        assert [len(page) for page in await pages(api, 50, who)] == [0]


async def test_a_key_without_the_scope_reads_nothing(api: UsageApi) -> None:
    key = api.keys.key(ANN_ORG, scopes=("inference:invoke",))
    error = await refused(api.stub.GetUsage(usage_pb2.GetUsageRequest(), metadata=key))
    assert error.reason == "SCOPE_MISSING"


async def test_a_receipt_is_found_by_record_id_and_by_request_id(api: UsageApi, writer: Writer) -> None:
    older, newer = record(time.time_ns() - 10**9, request_id="mine"), record(request_id="mine")
    named_like_an_id = record(request_id=uuid7())
    await store(writer, older, newer, named_like_an_id)

    async def found(wanted: str) -> str:
        receipt = await api.stub.GetRequest(usage_pb2.GetRequestRequest(id=wanted), metadata=api.ann)
        return str(receipt.record_id)

    assert await found(older.record_id.upper()) == older.record_id
    assert await found("mine") == newer.record_id
    assert await found(named_like_an_id.request_id) == named_like_an_id.record_id


# ExportRequests


async def test_an_export_is_csv_that_no_spreadsheet_runs(api: UsageApi, writer: Writer) -> None:
    evil = [
        record(request_id='=HYPERLINK("http://evil","x")', model="+1", route="-2", tags={"=k": '@v, "q"\r\nx'}),
        record(request_id="@SUM(A1)", finish_reason="\ttab", reason='a,b"c\r\nd'),
    ]
    await store(writer, *evil)
    call = api.stub.ExportRequests(usage_pb2.ExportRequestsRequest(), metadata=api.ann)
    data, content_type, headers = await read_all(call)
    assert content_type == "text/csv; charset=utf-8"
    assert headers["content-disposition"].startswith('attachment; filename="requests-20')
    rows = list(csv.DictReader(io.StringIO(data.decode(), newline="")))
    assert [row["record_id"] for row in rows] == sorted(one.record_id for one in evil)
    by_id = {row["record_id"]: row for row in rows}
    first, second = by_id[evil[0].record_id], by_id[evil[1].record_id]
    assert (first["request_id"], first["model"], first["route"]) == (
        '\'=HYPERLINK("http://evil","x")',
        "'+1",
        "'-2",
    )
    assert first["tags"].startswith("{")
    assert (second["request_id"], second["finish_reason"], second["reason"]) == ("'@SUM(A1)", "'\ttab", 'a,b"c\r\nd')
    assert (first["outcome"], first["cost_nanos"], first["attempts"]) == ("OUTCOME_OK", "400", "1")
    cells = [cell for row in csv.reader(io.StringIO(data.decode(), newline="")) for cell in row]
    assert not [cell for cell in cells if cell[:1] in "=+-@\t\r" and cell]
    assert data.decode().split("\r\n")[0].startswith("record_id,request_id,")


async def test_an_export_as_json_lines_is_the_contracts_json(api: UsageApi, writer: Writer) -> None:
    records = [
        record(cost_nanos=None, first_token_us=None, tags={"a": "b"}),
        record(input_text="in", output_text="out", attempts=[("m", "p", "PROVIDER_TIMEOUT", 1_500_000, True)]),
    ]
    await store(writer, *records)
    request = usage_pb2.ExportRequestsRequest(format=usage_pb2.EXPORT_FORMAT_JSONL)
    data, content_type, _ = await read_all(api.stub.ExportRequests(request, metadata=api.ann))
    assert content_type == "application/x-ndjson"
    parsed = [json_format.Parse(line, receipt_pb2.Receipt()) for line in data.decode().splitlines()]
    for receipt, given in zip(parsed, sorted(records, key=lambda one: one.record_id), strict=True):
        expected = receipt_of(given)
        expected.input_text, expected.output_text = given.input_text, given.output_text
        assert receipt == expected
        listed = await api.stub.GetRequest(usage_pb2.GetRequestRequest(id=given.record_id), metadata=api.ann)
        assert listed == expected


async def test_a_large_export_is_whole_and_in_order(api: UsageApi, writer: Writer) -> None:
    now = time.time_ns()
    records = [record(now - 10**9 + number * 10**6) for number in range(930)]
    await store(writer, *records)
    await store(writer, *(record(org_id=BOB_ORG) for _ in range(50)))
    filters = usage_pb2.RequestFilter(begin_time=at(now - HOUR_NS))
    data, _, _ = await read_all(
        api.stub.ExportRequests(usage_pb2.ExportRequestsRequest(filter=filters), metadata=api.ann)
    )
    rows = list(csv.DictReader(io.StringIO(data.decode(), newline="")))
    assert [row["record_id"] for row in rows] == [one.record_id for one in records]


async def test_an_export_of_nothing_is_a_file(api: UsageApi) -> None:
    data, content_type, _ = await read_all(api.stub.ExportRequests(usage_pb2.ExportRequestsRequest(), metadata=api.ann))
    assert data.count(b"\r\n") == 1
    assert content_type.startswith("text/csv")
    request = usage_pb2.ExportRequestsRequest(format=usage_pb2.EXPORT_FORMAT_JSONL)
    data, content_type, _ = await read_all(api.stub.ExportRequests(request, metadata=api.ann))
    assert (data, content_type) == (b"", "application/x-ndjson")


async def test_exports_at_once_are_bounded_and_end_with_their_caller(database: Database, writer: Writer) -> None:
    await store(writer, *(record() for _ in range(5000)))
    async with running_usage_api(database, exports_max=1) as api:
        call = api.stub.ExportRequests(usage_pb2.ExportRequestsRequest(), metadata=api.ann)
        await call.read()
        error = await refused(api.stub.ExportRequests(usage_pb2.ExportRequestsRequest(), metadata=api.bob))
        assert error.reason == "CONCURRENCY_LIMIT"
        assert error.retry_after_s
        call.cancel()
        async with asyncio.timeout(30):
            while not await exports(api):
                await asyncio.sleep(0.01)


async def exports(api: UsageApi) -> bool:
    """Whether an export is let in."""
    try:
        await read_all(api.stub.ExportRequests(usage_pb2.ExportRequestsRequest(), metadata=api.bob))
    except grpc.RpcError as error:
        if error_of(error).reason != "CONCURRENCY_LIMIT":
            raise
        return False
    return True


@pytest.mark.parametrize("name", ["list_requests", "export_requests"])
async def test_a_page_is_read_from_its_index(database: Database, writer: Writer, name: str) -> None:
    from services.inference.ledger.reading import SQL

    await store(writer, *(record() for _ in range(60)))
    now = int(time.time() * 1e6)
    arguments = (ANN_ORG, id_at(0), id_at(2**60), 1000, 0, now, None, None, None, None, None, None, None, 51)
    async with database.connection() as conn:
        plan = "\n".join(row[0] for row in await conn.fetch("EXPLAIN " + SQL[name], *arguments))
    assert "org_id_id_idx" in plan
    assert "Seq Scan" not in plan
    assert "Sort Key: looked_at" not in plan


def test_times_of_filters_are_of_the_clock_given() -> None:
    from services.inference.ledger import filters

    now = datetime(2026, 11, 21, 15, 30, tzinfo=UTC)
    begin, end = filters.usage_time(usage_pb2.GetUsageRequest(), now)
    assert (begin, end) == (datetime(2026, 11, 1, tzinfo=UTC), now)
    late = Timestamp()
    late.FromDatetime(now - timedelta(minutes=5))
    assert filters.usage_time(usage_pb2.GetUsageRequest(end_time=late), now)[1] == now - timedelta(minutes=5)

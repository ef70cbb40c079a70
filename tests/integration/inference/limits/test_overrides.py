"""What administrators set, in PostgreSQL, followed by every process; and the sums that limits are seeded from."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from google.protobuf import json_format
from promptmesh.access.v1.access_pb2 import Role
from promptmesh.inference.v1 import limits_pb2 as pb

from services.inference.limits import API_KEY, ORG, USER, Asked, LimitValues, Total, totals_of
from services.inference.limits.overrides import Overrides
from services.inference.limits.service import LimitAdmin
from services.local.database_urls import with_user
from services.mesh.call import Call, Caller, CallerKind, enter
from services.mesh.database import Database
from services.mesh.database.provision import role_of
from services.mesh.database.setup import set_up
from services.mesh.errors import MeshError
from services.mesh.paging import PageTokens
from tests.integration.inference.limits.conftest import CALLER, KEY, Fleet, of_org
from tests.integration.inference.limits.conftest import ORG as ORG_ID
from tests.integration.inference.limits.conftest import USER as USER_ID

SECRET = "secret-of-a-test"
ADMIN = Caller(CallerKind.SESSION, user_id=USER_ID, org_id=ORG_ID, roles=frozenset({Role.ROLE_ADMIN}))
SUMS_OF_A_CALL = """
INSERT INTO usage_hourly (bucket, org_id, user_id, api_key_id, route, model, provider, requests, failures, cache_hits,
                          input_tokens, output_tokens, cost_nanos, unpriced_requests, estimated_requests)
VALUES ($1, $2, $3, $4, 'r', 'm', 'p', $5, 0, 0, 0, 0, $6, 0, 0)
"""


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    url = with_user(database_url, role_of("inference"), SECRET)
    await set_up({"inference": url}, database_url, ("inference",))
    opened = await Database.open(url, schema="inference")
    yield opened
    await opened.close()


def admin(fleet: Fleet, database: Database, caller: Caller = ADMIN) -> tuple[LimitAdmin, Overrides]:
    limits = fleet.start(of_org(requests_per_day=100))
    overrides = Overrides(database, limits)
    enter(Call("request", "/a-test", caller=caller))
    return LimitAdmin(limits, overrides, PageTokens(b"k" * 32)), overrides


def said(message: pb.Limits) -> dict[str, object]:
    answer: dict[str, object] = json_format.MessageToDict(message, preserving_proto_field_name=True)
    assert answer.pop("update_time")
    return answer


async def test_set_replaced_listed_and_deleted(fleet: Fleet, database: Database) -> None:
    service, overrides = admin(fleet, database)
    limits = overrides._limits
    asked = pb.Limits(kind=USER, subject_id=USER_ID.upper(), requests_per_day=3, nanos_per_month=10**18)
    message = await service.SetLimits(pb.SetLimitsRequest(limits=asked), None)  # type: ignore[arg-type]
    expected = {
        "kind": "LIMIT_KIND_USER",
        "subject_id": USER_ID,
        "requests_per_day": "3",
        "nanos_per_month": "1000000000000000000",
    }
    assert said(message) == expected
    assert limits._accounts.values_of(USER, USER_ID, "") == LimitValues(requests_per_day=3, nanos_per_month=10**18)
    # An organisation's own hold over the defaults, and what they do not name stays.
    asked = pb.Limits(kind=ORG, subject_id=ORG_ID, concurrent_requests=0, output_tokens_per_request=9)
    await service.SetLimits(pb.SetLimitsRequest(limits=asked), None)  # type: ignore[arg-type]
    assert limits._accounts.values_of(ORG, ORG_ID, "") == LimitValues(
        requests_per_day=100, concurrent_requests=0, output_tokens_per_request=9
    )
    # Replaced as a whole.
    asked = pb.Limits(kind=USER, subject_id=USER_ID, tokens_per_minute=0)
    await service.SetLimits(pb.SetLimitsRequest(limits=asked), None)  # type: ignore[arg-type]
    assert limits._accounts.values_of(USER, USER_ID, "") == LimitValues(tokens_per_minute=0)
    listed = await service.ListLimits(pb.ListLimitsRequest(), None)  # type: ignore[arg-type]
    assert [(one.kind, one.subject_id) for one in listed.limits] == [(USER, USER_ID), (ORG, ORG_ID)]
    assert listed.limits[0].HasField("tokens_per_minute")
    assert not listed.limits[0].HasField("requests_per_day")

    await service.DeleteLimits(pb.DeleteLimitsRequest(kind=USER, subject_id=USER_ID), None)  # type: ignore[arg-type]
    assert limits._accounts.values_of(USER, USER_ID, "") == LimitValues()
    with pytest.raises(MeshError) as caught:
        await service.DeleteLimits(pb.DeleteLimitsRequest(kind=USER, subject_id=USER_ID), None)  # type: ignore[arg-type]
    assert caught.value.reason == "LIMITS_NOT_FOUND"
    listed = await service.ListLimits(pb.ListLimitsRequest(), None)  # type: ignore[arg-type]
    assert [one.kind for one in listed.limits] == [ORG]


async def test_every_process_follows(fleet: Fleet, database: Database) -> None:
    service, _ = admin(fleet, database)
    elsewhere = fleet.start(of_org(requests_per_day=100))
    following = Overrides(database, elsewhere)
    await following.refresh()
    asked = pb.Limits(kind=API_KEY, subject_id=KEY, requests_per_day=1)
    await service.SetLimits(pb.SetLimitsRequest(limits=asked), None)  # type: ignore[arg-type]
    await following.refresh()
    (await elsewhere.reserve(CALLER, tokens=1, nanos=1)).settle(tokens=1, nanos=1)
    with pytest.raises(MeshError) as caught:
        await elsewhere.reserve(CALLER, tokens=1, nanos=1)
    assert caught.value.metadata["subject"] == f"api_key:{KEY}"
    await service.DeleteLimits(pb.DeleteLimitsRequest(kind=API_KEY, subject_id=KEY), None)  # type: ignore[arg-type]
    await following.refresh()
    (await elsewhere.reserve(CALLER, tokens=1, nanos=1)).settle(tokens=1, nanos=1)


async def test_pages(fleet: Fleet, database: Database) -> None:
    service, _ = admin(fleet, database)
    ids = sorted(str(uuid.UUID(int=n)) for n in range(1, 8))
    for one in reversed(ids):
        asked = pb.Limits(kind=USER, subject_id=one, requests_per_day=1)
        await service.SetLimits(pb.SetLimitsRequest(limits=asked), None)  # type: ignore[arg-type]
    found: list[str] = []
    token = ""
    while True:
        page = await service.ListLimits(pb.ListLimitsRequest(page_size=3, page_token=token), None)  # type: ignore[arg-type]
        found += [one.subject_id for one in page.limits]
        token = page.next_page_token
        if not token:
            break
        assert len(page.limits) == 3
    assert found == ids
    with pytest.raises(MeshError) as caught:
        await service.ListLimits(pb.ListLimitsRequest(page_token="x" * 30), None)  # type: ignore[arg-type]
    assert caught.value.reason == "PAGE_TOKEN_INVALID"


async def test_what_is_left_is_told(fleet: Fleet, database: Database) -> None:
    service, overrides = admin(fleet, database, CALLER)
    (await overrides._limits.reserve(CALLER, tokens=1, nanos=1)).settle(tokens=1, nanos=1)
    answer = await service.GetRemaining(pb.GetRemainingRequest(), None)  # type: ignore[arg-type]
    (one,) = answer.remaining
    assert (one.kind, one.subject_id, one.limit, one.limit_value, one.remaining) == (
        ORG,
        ORG_ID,
        "requests_per_day",
        100,
        99,
    )
    assert one.reset_time.ToDatetime(UTC) - datetime.now(UTC) <= timedelta(days=1)


async def test_sums_of_key_person_and_organisation(database: Database) -> None:
    hour = datetime(2026, 5, 3, 10, tzinfo=UTC)
    other = str(uuid.uuid4())
    rows = [
        (hour, ORG_ID, USER_ID, KEY, 3, 30),
        (hour, ORG_ID, USER_ID, other, 5, 50),
        (hour, ORG_ID, other, other, 7, 70),
        (hour, other, USER_ID, KEY, 11, 110),  # of another organisation
        (hour - timedelta(hours=11), ORG_ID, USER_ID, KEY, 100, 0),
    ]
    async with database.connection() as conn:
        await conn.executemany(SUMS_OF_A_CALL, rows)
    day = int(hour.replace(hour=0).timestamp())
    month = int(hour.replace(day=1, hour=0).timestamp())
    asked = [
        Asked(API_KEY, KEY, day),
        Asked(API_KEY, KEY, month),
        Asked(USER, USER_ID, day),
        Asked(ORG, ORG_ID, day),
        Asked(ORG, ORG_ID, day + 86_400),
    ]
    totals = await totals_of(database)(ORG_ID, asked)
    assert list(totals) == [Total(3, 30), Total(103, 30), Total(8, 80), Total(15, 150), Total(0, 0)]

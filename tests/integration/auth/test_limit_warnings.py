"""Who is mailed when a limit is nearly used up."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import asyncpg
import pytest
from promptmesh.inference.v1.events_pb2 import LimitWarning

from services.auth.mail.outgoing import OutgoingMails
from services.auth.plans.warnings import LimitWarnings
from services.mesh.database import Database
from services.mesh.events import Event
from services.mesh.ids import uuid7
from tests.integration.auth.test_api_keys import make_key
from tests.integration.auth.world import Client, Place

API_KEY, USER, ORG = 1, 2, 3


@pytest.fixture
async def database(place: Place) -> AsyncIterator[Database]:
    opened = await Database.open(place.environment["PROMPTMESH_DATABASE_URL"], schema="auth")
    yield opened
    await opened.close()


def event(kind: int, subject_id: str, percent: int) -> Event:
    warning = LimitWarning(
        kind=kind,  # type: ignore[arg-type]
        subject_id=subject_id,
        limit="nanos_per_day",
        percent=percent,
        limit_value=500_000_000,
        used=5_000_000 * percent,
    )
    warning.end_time.FromJsonString("2026-03-01T00:00:00Z")
    name = warning.DESCRIPTOR.full_name
    return Event(uuid7(), name, uuid7(), uuid7(), 1, datetime(2026, 2, 28, tzinfo=UTC), "", 1, 0, warning)


@pytest.mark.parametrize(
    ("kind", "percent", "template"),
    [(API_KEY, 80, "limit_warning"), (USER, 100, "limit_reached"), (ORG, 80, "limit_warning")],
)
async def test_the_person_or_the_owner_is_mailed(
    client: Client, rows: asyncpg.Connection, database: Database, kind: int, percent: int, template: str
) -> None:
    session, person = await client.somebody()
    await client.somebody()  # whom it is no business of
    key = await make_key(person)
    ids = {API_KEY: key.api_key.api_key_id, USER: session.user.user_id, ORG: session.user.org_id}
    async with database.transaction() as conn:
        await LimitWarnings(OutgoingMails(on=True))(conn, [event(kind, ids[kind], percent), event(kind, uuid7(), 80)])
    of_limits = "template LIKE 'limit%'"  # an account of its own is mailed its confirmation too
    mails = await rows.fetch(f"SELECT * FROM mails WHERE user_id = $1 AND {of_limits}", session.user.user_id)
    assert [(one["recipient"], one["template"]) for one in mails] == [(session.user.email, template)]
    assert f"{percent / 200:.2f} of 0.50 US dollars a day" in mails[0]["body"]
    mailed = await rows.fetch(f"DELETE FROM mails WHERE {of_limits} RETURNING user_id")
    assert [str(one["user_id"]) for one in mailed] == [session.user.user_id]

"""UsageService over REST: the real service behind a real Envoy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from services.inference.ledger.rows import TagValues
from services.inference.ledger.writer import Writer
from services.mesh.database import Database
from tests.edge.harness import running_edge
from tests.edge.toys import start_toys
from tests.integration.inference.ledger.usage_api import ANN_ORG, BOB_ORG, running_usage_api
from tests.unit.inference.ledger.records import begun, ended


def headers(metadata: Any) -> dict[str, str]:
    return dict(metadata)


@pytest.fixture
def writer(database: Database, tmp_path: Path) -> Writer:
    return Writer(database, TagValues(10, 10), tmp_path / "refused.journal")


async def test_usage_is_asked_for_with_a_browser(database: Database, writer: Writer, tmp_path: Path) -> None:
    records = [ended(begun(org_id=ANN_ORG, tags={"team": "a"}, request_id=f"r-{number}")) for number in range(450)]
    theirs = ended(begun(org_id=BOB_ORG))
    assert await writer.write([*records, theirs])
    toys = await start_toys()
    async with running_usage_api(database) as api:
        toys.ports["inference"] = api.port
        async with running_edge(tmp_path, toys) as edge:
            ann = headers(api.ann)
            usage = await edge.ask(
                "GET", "/api/v1/usage?groupBy=USAGE_DIMENSION_TAG&tagKey=team&interval=USAGE_INTERVAL_DAY", headers=ann
            )
            assert usage.status == 200
            [row] = usage.json["rows"]
            assert (row["tagValue"], row["requests"], row["costNanos"]) == ("a", "450", str(450 * 400))
            page = await edge.ask("GET", "/api/v1/requests?pageSize=2&filter.tagKey=team", headers=ann)
            assert [one["recordId"] for one in page.json["requests"]] == [
                one.record_id for one in sorted(records, key=lambda one: one.record_id)[:-3:-1]
            ]
            assert page.json["nextPageToken"]
            one = await edge.ask("GET", f"/api/v1/requests/{records[0].record_id}", headers=ann)
            assert (one.status, one.json["requestId"], one.json["costNanos"]) == (200, "r-0", "400")
            other = await edge.ask("GET", f"/api/v1/requests/{theirs.record_id}", headers=ann)
            assert (other.status, other.reason) == (404, "REQUEST_NOT_FOUND")
            wrong = await edge.ask("GET", "/api/v1/requests?filter.userId=ann", headers=ann)
            assert (wrong.status, wrong.reason) == (400, "INVALID_FIELD")
            table = await edge.ask("GET", "/api/v1/requests:export", headers=ann)
            assert table.status == 200
            assert table.headers["content-type"] == "text/csv; charset=utf-8"
            assert table.headers["content-disposition"].startswith('attachment; filename="requests-')
            assert table.body.count(b"\r\n") == 451
            file = await edge.ask("GET", "/api/v1/requests:export?format=EXPORT_FORMAT_JSONL", headers=ann)
            assert file.headers["content-type"] == "application/x-ndjson"
            lines = [json.loads(line) for line in file.body.splitlines()]
            # The same JSON as a receipt has everywhere.
            assert lines[0] == one.json
            refused = await edge.ask("GET", f"/api/v1/requests:export?filter.orgId={BOB_ORG}", headers=ann)
            assert (refused.status, refused.reason) == (403, "ROLE_MISSING")
    await toys.stop()

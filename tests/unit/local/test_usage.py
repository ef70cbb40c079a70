"""`promptmesh usage`: its table, its JSON and its files, against a server that answers what it is told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import pytest
from click.testing import CliRunner, Result
from google.api import httpbody_pb2
from promptmesh.inference.v1 import usage_pb2, usage_pb2_grpc

from services.local.commands.usage import dollars, table
from services.local.group import cli

ROW = {"requests": 1234, "failures": 2, "cache_hits": 3, "input_tokens": 4, "output_tokens": 5}


class Server(usage_pb2_grpc.UsageServiceServicer):
    """Remembers what was asked."""

    def __init__(self) -> None:
        self.asked: Any = None
        self.rows = [usage_pb2.UsageRow(model="small", tag_value="a", cost_nanos=1_500_000_000, **ROW)]
        self.fails = False

    def GetUsage(self, request: Any, context: Any) -> Any:
        self.asked = request
        return usage_pb2.GetUsageResponse(rows=self.rows)

    def ExportRequests(self, request: Any, context: Any) -> Iterator[Any]:
        self.asked = request
        yield httpbody_pb2.HttpBody(content_type="text/csv", data=b"record_id\r\n")
        if self.fails:
            context.abort(grpc.StatusCode.INTERNAL, "It broke in the middle.")
        yield httpbody_pb2.HttpBody(content_type="text/csv", data=b"1\r\n")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    running = grpc.server(futures.ThreadPoolExecutor(2))
    service = Server()
    usage_pb2_grpc.add_UsageServiceServicer_to_server(service, running)
    port = running.add_insecure_port("127.0.0.1:0")
    running.start()
    monkeypatch.setenv("PROMPTMESH_URL", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("PROMPTMESH_API_KEY", "pm_test")
    yield service
    running.stop(None).wait()


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["usage", *arguments])


def test_it_prints_this_month_by_model(server: Server) -> None:
    shown = run()
    assert shown.exit_code == 0
    assert shown.output == (
        "model  calls  failed  cached  tokens in  tokens out   cost\n"
        "small  1,234       2       3          4           5  $1.50\n"
    )
    assert server.asked == usage_pb2.GetUsageRequest(group_by=[usage_pb2.USAGE_DIMENSION_MODEL])


def test_it_asks_for_what_is_said(server: Server) -> None:
    shown = run(
        *("--from", "2026-11-01", "--to", "2026-11-02T05:00", "--by", "key", "--by", "user", "--tag", "team"),
        *("--each", "day", "--org", "o", "--json"),
    )
    assert shown.exit_code == 0
    asked = server.asked
    assert list(asked.group_by) == [
        usage_pb2.USAGE_DIMENSION_API_KEY,
        usage_pb2.USAGE_DIMENSION_USER,
        usage_pb2.USAGE_DIMENSION_TAG,
    ]
    assert (asked.tag_key, asked.org_id, asked.interval) == ("team", "o", usage_pb2.USAGE_INTERVAL_DAY)
    assert asked.begin_time.ToJsonString() == "2026-11-01T00:00:00Z"
    assert asked.end_time.ToJsonString() == "2026-11-02T05:00:00Z"
    [row] = json.loads(shown.output)["rows"]
    assert (row["tag_value"], row["cost_nanos"], row["begin_time"]) == ("a", 1_500_000_000, "1970-01-01T00:00:00Z")


def test_nothing_is_said_to_be_nothing(server: Server) -> None:
    server.rows = []
    assert "no calls" in run().stderr


def test_a_price_that_is_unknown_is_noted() -> None:
    rows = [usage_pb2.UsageRow(model="m", requests=1, unpriced_requests=1)]
    assert table(rows, ["model"]).splitlines()[1:] == [
        "m          1       0       0          0           0  $0.00*",
        "* 1 call has no known price: not in the cost.",
    ]


@pytest.mark.parametrize(("nanos", "text"), [(0, "$0.00"), (1, "$0.000000001"), (12_345_600_000_000, "$12,345.60")])
def test_money_is_exact(nanos: int, text: str) -> None:
    assert dollars(nanos) == text


def test_receipts_are_written_to_a_file(server: Server, tmp_path: Path) -> None:
    file = tmp_path / "november.csv"
    shown = run("--export", str(file), "--from", "2026-11-01")
    assert shown.exit_code == 0
    assert file.read_bytes() == b"record_id\r\n1\r\n"
    assert server.asked.format == usage_pb2.EXPORT_FORMAT_CSV
    assert run("--export", str(tmp_path / "a.jsonl")).exit_code == 0
    assert server.asked.format == usage_pb2.EXPORT_FORMAT_JSONL
    assert run("--export", "-").stdout_bytes == b"record_id\r\n1\r\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.jsonl", "november.csv"]


def test_an_export_that_breaks_leaves_the_file_as_it_was(server: Server, tmp_path: Path) -> None:
    file = tmp_path / "november.csv"
    file.write_text("before")
    server.fails = True
    shown = run("--export", str(file))
    assert shown.exit_code == 1
    assert "It broke in the middle." in str(shown.exception)
    assert [path.name for path in tmp_path.iterdir()] == ["november.csv"]
    assert file.read_text() == "before"


def test_a_file_that_cannot_be_written_is_said(server: Server, tmp_path: Path) -> None:
    shown = run("--export", str(tmp_path / "missing" / "a.csv"))
    assert shown.exit_code == 1
    assert "cannot be written" in str(shown.exception)


def test_options_that_do_not_go_together_are_refused() -> None:
    assert run("--export", "x.csv", "--by", "model").exit_code == 2

"""Traces at the edge: whose flag counts, its own spans, and what its log says of them."""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from typing import Any

import pytest

from tests.edge.harness import Edge, running_edge
from tests.edge.toys import Toys
from tests.observe.collector import Collector, Span, collecting

pytestmark = pytest.mark.asyncio(loop_scope="session")

POST = "/api/v1/posts/018f0000-0000-7000-8000-000000000000"
ASKS = 64


def traceparent(flag: str, trace_id: str = "") -> str:
    return f"00-{trace_id or secrets.token_hex(16)}-{secrets.token_hex(8)}-{flag}"


async def passed_on(edge: Edge, given: str | None) -> str:
    """The traceparent that a service gets."""
    answer = await edge.ask("GET", POST, headers={} if given is None else {"traceparent": given})
    assert answer.status == 200, answer.body
    return str(edge.toys.seen.metadata.get("traceparent", ""))


@pytest.mark.parametrize(("ratio", "flag"), [(0.0, "00"), (1.0, "01")])
async def test_a_stranger_names_a_trace_and_we_say_whether_it_is_recorded(
    tmp_path: Path, toys: Toys, ratio: float, flag: str
) -> None:
    async with running_edge(tmp_path, toys, trace_ratio=ratio) as edge:
        for theirs in ("00", "01", "ff"):
            given = traceparent(theirs)
            assert await passed_on(edge, given) == given[:53] + flag
        assert await passed_on(edge, None) == ""
        # What is none stays none: the service begins a trace of its own.
        assert (await passed_on(edge, "nonsense")) in ("nonsense00", "nonsense01")


async def test_of_many_strangers_some_are_recorded(tmp_path: Path, toys: Toys) -> None:
    async with running_edge(tmp_path, toys, trace_ratio=0.5) as edge:
        # One trace id: it is not the id that decides, for a stranger chooses it.
        given = traceparent("01", "0" * 31 + "1")
        found = [await passed_on(edge, given) for _ in range(ASKS)]
        assert {one[:53] for one in found} == {given[:53]}
        assert {one[53:] for one in found} == {"00", "01"}
        assert "x-promptmesh-lot" not in edge.toys.seen.metadata
    async with running_edge(tmp_path, toys, trace_ratio=1e-9) as edge:
        assert {(await passed_on(edge, traceparent("01")))[53:] for _ in range(ASKS)} == {"00"}


async def test_whom_we_trust_decides(tmp_path: Path, toys: Toys) -> None:
    async with running_edge(tmp_path, toys, trust_traceparent=True, trace_ratio=0.0) as edge:
        for given in (traceparent("00"), traceparent("01")):
            assert await passed_on(edge, given) == given


@pytest.fixture
def collector() -> Any:
    with collecting() as running:
        yield running


def collected(collector: Collector, trace_id: str) -> Span:
    (span,) = collector.wait(trace_id, bool)
    return span


async def test_the_edge_has_a_span_above_the_services(tmp_path: Path, toys: Toys, collector: Collector) -> None:
    settings: dict[str, Any] = {"trace_collector": f"{collector.address}/v1/traces", "trace_ratio": 1.0}
    async with running_edge(tmp_path, toys, **settings) as edge:
        given = traceparent("00")
        inside = await passed_on(edge, given)
        span = collected(collector, given[3:35])
        assert (span.service, span.parent_id) == ("promptmesh-edge", given[36:52])
        assert inside == f"00-{span.trace_id}-{span.span_id}-01"
        # Without one of the caller's it begins a trace itself.
        own = await passed_on(edge, None)
        assert collected(collector, own[3:35]).parent_id == ""
        lines = [json.loads(line) for line in edge.output.read_text().splitlines() if given[3:35] in line]
        assert [(line["trace_id"], line["traceparent"]) for line in lines] == [(span.trace_id, inside)]
        assert span.name == span.attributes["http.method"] == "GET"
        assert span.attributes["http.url"] == POST


async def test_a_span_holds_no_query_and_no_credential(tmp_path: Path, toys: Toys, collector: Collector) -> None:
    settings: dict[str, Any] = {"trace_collector": f"{collector.address}/v1/traces", "trace_ratio": 1.0}
    async with running_edge(tmp_path, toys, **settings) as edge:
        for path in ("/login/callback", "/api/v1/posts"):
            given = traceparent("00")
            hidden = {"traceparent": given, "authorization": "Bearer hidden-token", "cookie": "session=hidden-cookie"}
            await edge.ask("GET", f"{path}?code=hidden-code&state=hidden-state", headers=hidden)
            span = collected(collector, given[3:35])
            assert span.attributes["http.url"] == path
            assert "hidden" not in repr(span)


async def test_what_is_not_recorded_makes_no_span(tmp_path: Path, toys: Toys, collector: Collector) -> None:
    forced = {
        "x-client-trace-id": "1",
        "x-envoy-force-trace": "true",
        "b3": "1",
        "x-request-id": "00000000-0000-9000-8000-000000000000",
    }
    async with running_edge(tmp_path, toys, trace_collector=f"{collector.address}/v1/traces") as edge:
        for _ in range(8):
            await edge.ask("GET", POST, headers={"traceparent": traceparent("01"), **forced})
            assert str(edge.toys.seen.metadata["traceparent"]).endswith("-00")
            await edge.ask("GET", POST, headers=forced)
            assert str(edge.toys.seen.metadata["traceparent"]).endswith("-00")
    assert collector.spans == []


async def test_with_a_collector_the_same_is_decided(tmp_path: Path, toys: Toys, collector: Collector) -> None:
    """The edge's own span goes by what a service is told."""
    address = f"{collector.address}/v1/traces"
    async with running_edge(tmp_path, toys, trace_collector=address, trust_traceparent=True) as edge:
        for given in (traceparent("00"), traceparent("01")):
            assert (await passed_on(edge, given))[:35] == given[:35]
            assert str(edge.toys.seen.metadata["traceparent"])[53:] == given[53:]
        assert (await passed_on(edge, None))[53:] == "00"
        collected(collector, given[3:35])
    async with running_edge(tmp_path, toys, trace_collector=address, trace_ratio=0.5) as edge:
        assert {(await passed_on(edge, traceparent("01")))[53:] for _ in range(ASKS)} == {"00", "01"}
        assert {(await passed_on(edge, None))[53:] for _ in range(ASKS)} == {"00", "01"}


async def test_a_collector_that_is_away_costs_no_call(tmp_path: Path, toys: Toys) -> None:
    async with running_edge(tmp_path, toys, trace_collector="http://127.0.0.1:1/v1/traces", trace_ratio=1.0) as edge:
        for _ in range(8):
            assert await passed_on(edge, traceparent("01"))

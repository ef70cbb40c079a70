"""Spans reach a collector for calls that are sampled, and for no others."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from promptmesh.prompts.v1 import posts_pb2, posts_pb2_grpc

from services.mesh.ids import uuid7
from services.mesh.server import Server
from services.mesh.telemetry.traces import ENDPOINT_VARIABLE, Tracing

TRACE_ID, PARENT_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.fixture
def collector() -> Iterator[tuple[str, list[Any]]]:
    """Address of a collector, and the spans that it was sent."""
    spans: list[Any] = []

    class Collector(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                for scope in resource.scope_spans:
                    spans.extend(scope.spans)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_arguments: Any) -> None:
            """Says nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", spans
    server.shutdown()
    server.server_close()
    thread.join()


async def test_only_sampled_calls_leave_spans(
    service: Any, collector: tuple[str, list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    address, spans = collector
    monkeypatch.setenv(ENDPOINT_VARIABLE, address)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "none")
    tracing = Tracing("prompts", "prompts-0", 0.0)

    async def work(request: Any, context: Any) -> Any:
        with tracing.span("work inside", answer=42):
            return posts_pb2.Post()

    service.posts.on_get = work
    server = Server(service.access, tracing=tracing)
    server.add(posts_pb2_grpc.add_PostServiceServicer_to_server, service.posts)
    port = await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub: Any = posts_pb2_grpc.PostServiceStub(channel)
        for flag in ("00", "01"):
            trace = (("traceparent", f"00-{TRACE_ID}-{PARENT_ID}-{flag}"),)
            await stub.GetPost(posts_pb2.GetPostRequest(post_id=uuid7()), metadata=trace)
    await server.stop()
    tracing.close()
    inner, outer = sorted(spans, key=lambda span: span.name == "promptmesh.prompts.v1.PostService/GetPost")
    assert (inner.name, outer.name) == ("work inside", "promptmesh.prompts.v1.PostService/GetPost")
    assert outer.trace_id.hex() == inner.trace_id.hex() == TRACE_ID
    assert outer.parent_span_id.hex() == PARENT_ID
    assert inner.parent_span_id == outer.span_id
    assert service.posts.calls[-1].traceparent == f"00-{TRACE_ID}-{outer.span_id.hex()}-01"

"""A collector of spans: OTLP over HTTP, on a real socket."""

from __future__ import annotations

import http.server
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass(frozen=True)
class Span:
    """A span as it was sent. Times in nanoseconds since the epoch; ids in hexadecimal."""

    service: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    begin_ns: int
    end_ns: int
    attributes: dict[str, Any]


@dataclass
class Collector:
    """What came."""

    address: str = ""
    spans: list[Span] = field(default_factory=list)

    def of(self, trace_id: str) -> list[Span]:
        """A trace, in order of time."""
        return sorted((one for one in list(self.spans) if one.trace_id == trace_id), key=lambda one: one.begin_ns)

    def wait(self, trace_id: str, enough: Callable[[list[Span]], bool], timeout_s: float = 60.0) -> list[Span]:
        """The trace once there is enough of it, or what there is when the time is over."""
        end = time.monotonic() + timeout_s
        while not enough(self.of(trace_id)) and time.monotonic() < end:
            time.sleep(0.1)
        return self.of(trace_id)


@contextmanager
def collecting() -> Iterator[Collector]:
    """A collector that listens."""
    collector = Collector()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = body_of(self)
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                (service,) = [
                    one.value.string_value for one in resource.resource.attributes if one.key == "service.name"
                ]
                for scope in resource.scope_spans:
                    collector.spans.extend(_span(service, one) for one in scope.spans)
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_arguments: Any) -> None:
            """Says nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    collector.address = f"http://127.0.0.1:{server.server_port}"
    try:
        yield collector
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def body_of(request: http.server.BaseHTTPRequestHandler) -> bytes:
    """Services say how long it is, Envoy sends it in chunks."""
    length = request.headers["content-length"]
    if length is not None:
        return request.rfile.read(int(length))
    body = b""
    while size := int(request.rfile.readline(), 16):
        body += request.rfile.read(size)
        request.rfile.readline()
    request.rfile.readline()
    return body


def _span(service: str, one: Any) -> Span:
    values = {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in one.attributes}
    ids = (one.trace_id.hex(), one.span_id.hex(), one.parent_span_id.hex())
    return Span(service, one.name, *ids, one.start_time_unix_nano, one.end_time_unix_nano, values)

"""Headers in and out, browsers, the pages that the edge serves itself, and its log."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest

from tests.edge.harness import Edge
from tests.edge.toys import Seen

pytestmark = pytest.mark.asyncio(loop_scope="session")

TRACE = f"00-{'1' * 32}-{'2' * 16}-00"  # whose flag is ours to say: tests/edge/test_edge_traces.py

ORIGIN = "http://localhost:3000"
LOG_TIMEOUT_S = 10
UUID = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"


@pytest.fixture(scope="module")
def edge_settings() -> dict[str, Any]:
    return {"allowed_origins": [ORIGIN]}


async def test_what_only_the_mesh_may_say_does_not_come_from_outside(edge: Edge, seen: Seen) -> None:
    spoofed = {
        "x-promptmesh-subject": "admin",
        "X-Promptmesh-Anything": "1",
        "x-envoy-retry-on": "5xx",
        "x-envoy-original-path": "/v1/models",
        "x-envoy-external-address": "10.0.0.1",
        "x-envoy-upstream-rq-timeout-ms": "1",
        "x-real-ip": "10.0.0.1",
        "x-forwarded-client-cert": "URI=spiffe://a.example/b",
        "forwarded": "for=10.0.0.1",
        "x-request-id": "chosen",
        "x_promptmesh_subject": "admin",
    }

    await edge.ask("GET", "/api/v1/posts/a", headers={**spoofed, "traceparent": TRACE})

    assert not {name for name in seen.metadata if name.replace("_", "-").startswith("x-promptmesh")}
    removed = {
        "x-envoy-retry-on",
        "x-real-ip",
        "forwarded",
        "x-envoy-upstream-rq-timeout-ms",
        "x-forwarded-client-cert",
    }
    assert not removed & seen.metadata.keys()
    assert seen.metadata["x-envoy-external-address"] == "127.0.0.1"
    assert seen.metadata["x-envoy-original-path"] == "/api/v1/posts/a"
    assert seen.metadata["traceparent"] == TRACE


@pytest.mark.parametrize("name", ["a&b", "x^1", "!", "b`", "c|d", "~", "+x", "#", "x%", "y*", "'q'", "x$y"])
async def test_names_that_grpc_does_not_know_do_not_reach_a_service(edge: Edge, seen: Seen, name: str) -> None:
    """Its library would fail the call at them, with 500 and words of its own."""
    answer = await edge.ask("GET", "/api/v1/posts/a", headers={name: "1", "Fine-1.x": "2", "traceparent": TRACE})

    assert answer.status == 200
    assert (seen.metadata["fine-1.x"], seen.metadata["traceparent"]) == ("2", TRACE)
    assert name not in seen.metadata


@pytest.mark.parametrize(
    "request_line", ["GARBAGE", "G@T /api/v1/posts HTTP/1.1", "QUERY /api/v1/posts HTTP/1.1", "GET /v1/models HTTP/9.9"]
)
async def test_what_is_no_http_is_refused_in_our_words(edge: Edge, request_line: str) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", int(edge.url.rpartition(":")[2]))
    writer.write(f"{request_line}\r\nhost: edge\r\n\r\n".encode())
    answer = await reader.readuntil(b"}]")
    writer.close()

    assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 426 "))
    assert b"INVALID_FIELD" in answer
    assert b"null" not in answer


@pytest.mark.parametrize("path", ["/healthz", "/livez"])
async def test_health_takes_get_alone(edge: Edge, path: str) -> None:
    answer = await edge.ask("POST", path)

    assert (answer.status, answer.reason, answer.headers["allow"]) == (405, "METHOD_UNKNOWN", "GET, HEAD")


async def test_without_proxies_in_front_nobody_says_where_a_caller_is(edge: Edge, seen: Seen) -> None:
    await edge.ask("GET", "/api/v1/posts/a", headers={"x-forwarded-for": "203.0.113.9"})

    assert seen.metadata["x-envoy-external-address"] == "127.0.0.1"


async def test_the_request_id_is_ours_goes_to_the_service_and_comes_back(edge: Edge, seen: Seen) -> None:
    answer = await edge.ask("GET", "/api/v1/posts/a", headers={"x-request-id": "chosen"})

    assert re.fullmatch(UUID, answer.headers["x-request-id"])
    assert seen.metadata["x-request-id"] == answer.headers["x-request-id"]


async def test_answers_tell_nothing_of_the_machinery(edge: Edge) -> None:
    for path in ("/api/v1/posts/a", "/api/v1/nothing", "/", "/api/v1/posts/a:watch"):
        names = {name.lower() for name in (await edge.ask("GET", path)).headers}
        assert not {name for name in names if name == "server" or name.startswith(("x-envoy", "grpc"))}, path


async def test_a_preflight_is_answered_for_an_allowed_origin_alone(edge: Edge) -> None:
    asked = {"access-control-request-method": "POST", "access-control-request-headers": "authorization"}
    for path in ("/api/v1/posts", "/v1/chat/completions", "/promptmesh.prompts.v1.PostService/GetPost"):
        allowed = await edge.ask("OPTIONS", path, headers={"origin": ORIGIN, **asked})
        refused = await edge.ask("OPTIONS", path, headers={"origin": "http://evil.example", **asked})

        assert allowed.status == 200
        assert allowed.headers["access-control-allow-origin"] == ORIGIN
        assert "authorization" in allowed.headers["access-control-allow-headers"]
        assert refused.status == 404
        assert "access-control-allow-origin" not in refused.headers


@pytest.mark.parametrize(
    ("verb", "path"), [("GET", "/api/v1/posts/a"), ("GET", "/api/v1/nothing"), ("POST", "/v1/chat/completions")]
)
async def test_answers_and_errors_can_be_read_by_an_allowed_origin(edge: Edge, verb: str, path: str) -> None:
    answer = await edge.ask(verb, path, headers={"origin": ORIGIN})

    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert "x-request-id" in answer.headers["access-control-expose-headers"]


async def test_the_reference_is_served_under_a_strict_policy(edge: Edge) -> None:
    page = await edge.ask("GET", "/reference")

    assert page.status == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.body.startswith(b"<!doctype html>")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert page.headers["x-content-type-options"] == "nosniff"


async def test_the_openapi_document_is_served(edge: Edge) -> None:
    answer = await edge.ask("GET", "/openapi.json")

    assert answer.headers["content-type"] == "application/json"
    assert answer.json["openapi"] == "3.1.0"
    assert "/api/v1/posts" in answer.json["paths"]


async def test_what_did_not_change_is_not_sent_again(edge: Edge) -> None:
    for path in ("/reference", "/openapi.json"):
        first = await edge.ask("GET", path)
        again = await edge.ask("GET", path, headers={"if-none-match": first.headers["etag"]})
        other = await edge.ask("GET", path, headers={"if-none-match": 'W/"old"'})
        assert (again.status, again.body) == (304, b"")
        assert other.status == 200


async def test_each_call_is_logged_without_query_and_credentials(edge: Edge) -> None:
    answer = await edge.ask(
        "GET", "/api/v1/posts?tag=hidden", headers={"authorization": "Bearer secret", "user-agent": "tester"}
    )

    async with asyncio.timeout(LOG_TIMEOUT_S):
        while not (
            lines := [line for line in edge.access_log() if line["request_id"] == answer.headers["x-request-id"]]
        ):
            await asyncio.sleep(0.02)
    (line,) = lines
    expected = {
        "method": "GET",
        "path": "/api/v1/posts",
        "status": 200,
        "grpc_status": 0,
        "user_agent": "tester",
        "cluster": "prompts",
        "client": "127.0.0.1",
    }
    assert {name: line[name] for name in expected} == expected
    assert line["upstream"].startswith("127.0.0.1:")
    assert line["bytes_sent"] == len(answer.body)
    assert line["duration_ms"] >= 0
    text = edge.output.read_text()
    assert "secret" not in text
    assert "hidden" not in text

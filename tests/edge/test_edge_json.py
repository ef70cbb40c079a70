"""REST through the edge: what is transcoded, and what is refused before any service sees it."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket

import aiohttp
import pytest

from tests.edge.harness import Edge
from tests.edge.toys import BARE_POST, ENDING_POST, MISSING_POST, QUIET_POST, SLOW_POST, Seen

pytestmark = pytest.mark.asyncio(loop_scope="session")

POST_ID = "0197c0de-0000-7000-8000-000000000000"
CANCEL_TIMEOUT_S = 10
JSON = {"content-type": "application/json"}


async def test_a_read_is_transcoded_with_all_fields_in_camel_case(edge: Edge) -> None:
    answer = await edge.ask("GET", f"/api/v1/posts/{POST_ID}")

    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json["postId"] == POST_ID
    assert answer.json["likeCount"] == "3"
    assert answer.json["liked"] is False


async def test_a_query_is_read_by_either_spelling(edge: Edge) -> None:
    for query in ("pageSize=7&tag=poetry", "page_size=7&tag=poetry"):
        assert (await edge.ask("GET", f"/api/v1/posts?{query}")).json["nextPageToken"] == "7:poetry"


async def test_an_error_of_a_service_keeps_its_details(edge: Edge) -> None:
    answer = await edge.ask("GET", f"/api/v1/posts/{MISSING_POST}")

    assert (answer.status, answer.json["code"], answer.reason) == (404, 5, "POST_NOT_FOUND")
    assert answer.json["message"] == "There is no such post."


async def test_what_the_grpc_library_answers_has_our_shape(edge: Edge) -> None:
    answer = await edge.ask("GET", f"/api/v1/posts/{BARE_POST}")

    assert (answer.status, answer.json["code"], answer.reason) == (504, 4, "DEADLINE_TOO_SHORT")
    assert answer.json["details"][0]["domain"] == "promptmesh"
    assert answer.json["details"][1]["requestId"] == answer.headers["x-request-id"]
    assert b"library" not in answer.body
    assert "x-promptmesh-asked" not in answer.headers


async def test_what_a_service_that_ends_cancels_may_be_tried_again(edge: Edge) -> None:
    """Its gRPC library says CANCELLED to what comes too late; no client tries 499 again."""
    answer = await edge.ask("GET", f"/api/v1/posts/{ENDING_POST}")

    assert (answer.status, answer.json["code"], answer.reason) == (503, 14, "DEPENDENCY_UNAVAILABLE")


async def test_a_stream_whose_deadline_passes_before_it_begins_has_our_shape(edge: Edge) -> None:
    """The service has no timer of its own: the gRPC library ends the call."""
    answer = await edge.ask("GET", f"/api/v1/posts/{SLOW_POST}:watch", headers={"grpc-timeout": "200m"})

    assert (answer.status, answer.json["code"], answer.reason) == (504, 4, "DEADLINE_TOO_SHORT")


async def test_retry_after_of_a_service_passes(edge: Edge) -> None:
    answer = await edge.ask("POST", "/api/v1/posts", json={"title": "limited", "body": "b"})

    assert (answer.status, answer.headers["retry-after"]) == (429, "7")
    assert answer.json["details"][1]["retryDelay"] == "7s"


@pytest.mark.parametrize("verb", ["GET", "PUT", "OPTIONS"])
async def test_an_unknown_path_is_404_in_json(edge: Edge, verb: str) -> None:
    answer = await edge.ask(verb, "/api/v1/nothing")

    assert (answer.status, answer.json["code"], answer.reason) == (404, 12, "METHOD_UNKNOWN")
    assert answer.headers["content-type"] == "application/json"
    assert answer.json["details"][0]["domain"] == "promptmesh"
    assert answer.json["details"][1]["requestId"] == answer.headers["x-request-id"]


@pytest.mark.parametrize(
    ("verb", "path", "allow"),
    [
        ("PUT", "/api/v1/posts", "GET, POST"),
        ("GET", f"/api/v1/posts/{POST_ID}:like?x=1", "POST"),
        ("POST", f"/api/v1/posts/{POST_ID}", "DELETE, GET, PATCH"),
    ],
)
async def test_another_verb_on_a_known_path_is_405(edge: Edge, seen: Seen, verb: str, path: str, allow: str) -> None:
    answer = await edge.ask(verb, path, json={})

    assert (answer.status, answer.json["code"], answer.reason) == (405, 12, "METHOD_UNKNOWN")
    assert answer.headers["allow"] == allow
    assert seen.calls == []


@pytest.mark.parametrize("query", ["nope=1", "pageSize=many", "page_size=99999999999"])
async def test_a_query_that_no_field_takes_is_400(edge: Edge, seen: Seen, query: str) -> None:
    answer = await edge.ask("GET", f"/api/v1/posts?{query}")

    assert (answer.status, answer.reason) == (400, "INVALID_FIELD")
    assert seen.calls == []


@pytest.mark.parametrize(
    "path",
    [
        f"/api/v1/posts/{POST_ID}?post_id={MISSING_POST}",
        f"/api/v1/posts/{POST_ID}?postId={MISSING_POST}",
        f"/api/v1/posts/{POST_ID}?post%5Fid={MISSING_POST}",
        f"/api/v1/posts/{POST_ID}:watch?after=1&post_id={MISSING_POST}",
    ],
)
async def test_a_query_does_not_override_the_path(edge: Edge, seen: Seen, path: str) -> None:
    answer = await edge.ask("GET", path)

    assert (answer.status, answer.reason) == (400, "INVALID_FIELD")
    assert seen.calls == []


async def test_a_body_that_contradicts_the_path_is_400(edge: Edge, seen: Seen) -> None:
    answer = await edge.ask("PATCH", f"/api/v1/posts/{POST_ID}?updateMask=title", json={"post_id": MISSING_POST})

    assert (answer.status, answer.reason) == (400, "INVALID_FIELD")
    assert seen.calls == []


async def test_a_body_never_wins_over_the_path(edge: Edge) -> None:
    """Envoy compares proto names alone; by its JSON name the body's field loses, in whatever order it comes."""
    for body in ({"postId": MISSING_POST, "title": "t"}, {"title": "t", "postId": MISSING_POST}):
        answer = await edge.ask("PATCH", f"/api/v1/posts/{POST_ID}?updateMask=title", json=body)
        assert (answer.status, answer.json["postId"]) == (200, POST_ID)


@pytest.mark.parametrize(
    "body",
    [
        b'{"title":',
        b"[1]",
        b'{"title":5}',
        b'{"title":{"a":1}}',
        b'{"title":"\xff\xfe"}',
        b'{"title":' + b"[" * 5_000,
        b'{"unknown":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"unknown":' + b'{"a":' * 50_000 + b"1" + b"}" * 50_001,
    ],
    ids=["cut", "list", "number", "object", "bad-utf8", "deep-cut", "deep-list", "deep-object"],
)
async def test_a_body_that_is_not_the_messages_json_is_400(edge: Edge, seen: Seen, body: bytes) -> None:
    answer = await edge.ask("POST", "/api/v1/posts", data=body, headers=JSON)

    assert (answer.status, answer.json["code"], answer.reason) == (400, 3, "INVALID_FIELD")
    assert seen.calls == []


@pytest.mark.parametrize(
    ("verb", "path", "body", "message"),
    [
        ("GET", "/api/v1/posts?nope_x=1", None, 'The query parameter "nope_x" is not known here.'),
        ("GET", "/api/v1/posts?tag.x=1", None, 'The query parameter "tag" has no fields below it.'),
        (
            "GET",
            "/api/v1/posts?page_size=many",
            None,
            'pageSize has the wrong type: "many" where a whole number of 32 bits is expected.',
        ),
        ("POST", "/api/v1/posts", b'{"title":5}', "title has the wrong type: 5 where a string is expected."),
        (
            "POST",
            "/api/v1/posts",
            b'{"tags":[{}]}',
            "tags has the wrong type: an object where one value is expected.",
        ),
        (
            "POST",
            "/api/v1/posts",
            b'{"title":{"a":1}}',
            "title has the wrong type: an object where one value is expected.",
        ),
        (
            "POST",
            "/api/v1/posts",
            b'{"title":["a"]}',
            "A value has the wrong type: a list where one value is expected.",
        ),
        ("POST", "/api/v1/posts", b"[1]", "The body is not a JSON object."),
        ("POST", "/api/v1/posts", b'{"title":', "The body is not JSON: unexpected end."),
        ("POST", "/api/v1/posts", b'{"title":"x', "The body is not JSON: a string has no closing quote."),
        ("POST", "/api/v1/posts", b'{"a":1 "b":1}', "The body is not JSON: expected , or } after key:value pair."),
        ("POST", "/api/v1/posts", b"nonsense", "The body is not JSON: unexpected token."),
        ("POST", "/api/v1/posts", b'{"title":"a"}}', "The body is not JSON: more follows its end."),
        ("POST", "/api/v1/posts", b'{"title":"\xff"}', "The body is not JSON: it is not UTF-8."),
        (
            "POST",
            "/api/v1/apiKeys",
            b'{"expireTime":"x"}',
            'expireTime is not a time; write it as "2030-01-31T12:00:00Z".',
        ),
        (
            "POST",
            "/api/v1/generate",
            b'{"messages":[{"role":"NO\\"PE"}]}',
            'messages[0].role cannot be "NO"PE"; GET / says what it takes.',
        ),
        (
            "POST",
            "/api/v1/generate",
            b'{"messages":[{"role":"' + b"N" * 5_000 + b'"}]}',
            "messages[0].role cannot be …; GET / says what it takes.",
        ),
    ],
)
async def test_what_cannot_be_read_is_told_in_our_words(
    edge: Edge, seen: Seen, verb: str, path: str, body: bytes | None, message: str
) -> None:
    answer = await edge.ask(verb, path, data=body, headers=JSON)

    assert (answer.status, answer.reason, answer.json["message"]) == (400, "INVALID_FIELD", message)
    assert "x-promptmesh-envoy-words" not in answer.headers
    assert seen.calls == []


async def test_unknown_fields_of_a_body_are_ignored(edge: Edge) -> None:
    answer = await edge.ask("POST", "/api/v1/posts", json={"title": "t", "body": "b", "newer": {"x": [1]}})

    assert (answer.status, answer.json["title"]) == (200, "t")


async def test_a_body_beyond_the_limit_is_413(edge: Edge, seen: Seen) -> None:
    for body in (
        json.dumps({"title": "t", "body": "x" * 1_100_000}),
        json.dumps({"title": "t", "tags": ["x"] * 300_000}),
        "x" * 50_000_000,
    ):
        answer = await edge.post_bytes("/api/v1/posts", body.encode())
        assert (answer.status, answer.reason) == (413, "REQUEST_TOO_LARGE")
        assert answer.json["details"][0]["metadata"] == {"limit": "max_body_bytes", "limit_bytes": "1048576"}
        assert "1,048,576 bytes (max_body_bytes" in answer.json["message"]
    assert seen.calls == []


async def test_sound_beyond_the_limit_of_large_bodies_is_told_that_one(edge: Edge, seen: Seen) -> None:
    sound = {"audio": {"format": "wav", "data": "A" * 9_000_000}}
    body = {"messages": [{"role": "MESSAGE_ROLE_USER", "parts": [sound]}]}

    answer = await edge.post_bytes("/api/v1/generate?x=1", json.dumps(body).encode())

    assert (answer.status, answer.reason) == (413, "REQUEST_TOO_LARGE")
    assert answer.json["details"][0]["metadata"] == {"limit": "max_large_body_bytes", "limit_bytes": "8388608"}
    assert seen.calls == []


@pytest.mark.parametrize(("post", "status"), [(POST_ID, 200), (MISSING_POST, 404)])
async def test_head_of_a_page_is_get_without_the_body(edge: Edge, seen: Seen, post: str, status: int) -> None:
    whole = await edge.ask("GET", f"/p/{post}", headers={"accept-encoding": "identity"})
    head = await edge.ask("HEAD", f"/p/{post}", headers={"accept-encoding": "identity"})

    assert seen.calls == ["GetPostPage", "GetPostPage"]
    assert (whole.status, head.status) == (status, status)
    assert (len(whole.body), head.body) == (1300, b"")
    changing = {"date", "x-request-id", "content-length", "transfer-encoding", "cache-control", "vary"}
    assert {name: value for name, value in head.headers.items() if name.lower() not in changing} == {
        name: value for name, value in whole.headers.items() if name.lower() not in changing
    }


@pytest.mark.parametrize("encoding", ["gzip", "identity"])
async def test_a_connection_goes_on_after_a_head(edge: Edge, encoding: str) -> None:
    """Over one connection: a body that was sent all the same would be taken for the next answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.port)
    ask = f"HEAD /p/{POST_ID} HTTP/1.1\r\nhost: x\r\naccept-encoding: {encoding}\r\n\r\n"
    writer.write(f"{ask}GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode())
    answers = (await asyncio.wait_for(reader.read(), 10)).split(b"\r\n\r\n", 1)
    writer.close()

    assert answers[0].startswith(b"HTTP/1.1 200 OK")
    assert answers[1].startswith(b"HTTP/1.1 200 OK")


async def test_a_body_just_within_the_limit_is_taken(edge: Edge) -> None:
    answer = await edge.post_bytes("/api/v1/posts", json.dumps({"body": "x" * 1_000_000}).encode())

    assert (answer.status, len(answer.json["body"])) == (200, 1_000_000)


async def test_generate_takes_a_large_body(edge: Edge) -> None:
    body = {"messages": [{"role": "MESSAGE_ROLE_USER", "content": "x" * 3_000_000}]}

    answer = await edge.post_bytes("/api/v1/generate", json.dumps(body).encode())

    assert answer.status == 200
    assert b'"text":"3000000"' in answer.body


async def test_headers_beyond_the_limit_are_431(edge: Edge) -> None:
    answer = await edge.ask("GET", "/api/v1/posts", headers={"x-long": "x" * 40_000})

    assert (answer.status, answer.reason) == (431, "REQUEST_TOO_LARGE")


async def test_what_is_no_http_gets_an_answer_and_harms_nobody(edge: Edge) -> None:
    with socket.create_connection(("127.0.0.1", edge.port), timeout=5) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nhost: a\r\nbad header\r\n\r\n")
        connection.settimeout(5)
        assert connection.recv(64).startswith(b"HTTP/1.1 400")

    assert (await edge.ask("GET", "/livez")).status == 200


async def test_a_stream_comes_as_server_sent_events(edge: Edge) -> None:
    answer = await edge.ask("GET", f"/api/v1/posts/{POST_ID}:watch")

    assert answer.headers["content-type"] == "text/event-stream"
    assert answer.headers["x-accel-buffering"] == "no"
    events = [json.loads(block.removeprefix("data: ")) for block in answer.body.decode().split("\n\n")[:-1]]
    assert [event["cursor"] for event in events] == ["1", "2", "3"]
    assert events[0]["post"]["title"] == "Erste\nZeile ü"
    assert events[1]["heartbeat"] == {}
    assert events[2]["done"] == {"reason": "WATCH_END_DELETED"}


async def test_a_stream_is_not_held_back_and_ends_with_its_caller(edge: Edge, seen: Seen) -> None:
    async with edge.http.get(f"{edge.url}/api/v1/posts/{QUIET_POST}:watch") as response:
        first = await response.content.readuntil(b"\n\n")
        second = await response.content.readuntil(b"\n\n")
    assert b'"cursor":"1"' in first
    assert b'"cursor":"2"' in second

    # The caller has left; the service must hear of it.
    async with asyncio.timeout(CANCEL_TIMEOUT_S):
        await seen.cancelled.wait()


async def test_a_failed_stream_that_did_not_begin_has_its_status(edge: Edge) -> None:
    answer = await edge.ask("POST", "/api/v1/generate", json={"model": "none"})

    assert (answer.status, answer.reason) == (404, "MODEL_NOT_FOUND")


async def test_json_is_compressed_for_those_who_ask_and_streams_are_not(edge: Edge) -> None:
    plain = await edge.ask("GET", f"/api/v1/posts/{POST_ID}", headers={"accept-encoding": "identity"})
    async with (
        aiohttp.ClientSession(auto_decompress=False) as raw,
        raw.get(f"{edge.url}/api/v1/posts/{POST_ID}", headers={"accept-encoding": "gzip"}) as response,
    ):
        packed = await response.read()
        assert response.headers["content-encoding"] == "gzip"
    stream = await edge.ask("GET", f"/api/v1/posts/{POST_ID}:watch", headers={"accept-encoding": "gzip"})

    assert gzip.decompress(packed) == plain.body
    assert len(packed) < len(plain.body) / 4
    assert "content-encoding" not in stream.headers

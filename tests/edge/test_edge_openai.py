"""OpenAI's paths: raw bodies, the status that a handler asks for, and errors of the edge in OpenAI's shape; over gRPC
and over plain HTTP to the service, which no caller can tell apart."""

from __future__ import annotations

import asyncio
from typing import Any

import openai
import pytest

from tests.edge.harness import Edge
from tests.edge.toys import Seen, Toys

pytestmark = pytest.mark.asyncio(loop_scope="session")

CHAT = "/v1/chat/completions"


@pytest.fixture(scope="module", params=["grpc", "plain"])
def edge_settings(request: pytest.FixtureRequest, toys: Toys) -> dict[str, Any]:
    return {"http_clusters": toys.http_clusters} if request.param == "plain" else {}


async def test_the_raw_body_reaches_the_service_with_its_type(edge: Edge) -> None:
    answer = await edge.ask("POST", CHAT, data=b'{"a" : 1}', headers={"content-type": "application/json"})

    assert answer.json == {"content_type": "application/json", "size": 9}
    assert answer.headers["content-type"] == "application/json"


async def test_headers_in_the_content_type_become_headers(edge: Edge) -> None:
    said = "x-promptmesh-model=gpt/4o:mini|x-promptmesh-attempts=2|x-ratelimit-remaining-requests=0|x-promptmesh-cache="

    answer = await edge.ask("POST", CHAT, json={"says": said})

    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-promptmesh-model"] == "gpt/4o:mini"
    assert answer.headers["x-promptmesh-attempts"] == "2"
    assert answer.headers["x-ratelimit-remaining-requests"] == "0"
    assert answer.headers["x-promptmesh-cache"] == ""


async def test_a_stream_passes_as_the_service_wrote_it(edge: Edge) -> None:
    answer = await edge.ask("POST", CHAT, json={"stream": True})

    assert answer.headers["content-type"] == "text/event-stream"
    assert answer.body == b'data: {"delta": "Hel"}\n\ndata: {"delta": "lo"}\n\ndata: [DONE]\n\n'


async def test_a_stream_is_not_held_back(edge: Edge) -> None:
    async with edge.http.post(edge.url + CHAT, json={"stream": "quiet"}) as response:
        assert await response.content.readuntil(b"\n\n") == b'data: {"delta": "Hel"}\n\n'
        assert await response.content.readuntil(b"\n\n") == b'data: {"delta": "lo"}\n\n'


@pytest.mark.parametrize("status", [400, 401, 404, 429, 503])
async def test_the_handlers_status_becomes_the_answers(edge: Edge, status: int) -> None:
    answer = await edge.ask("POST", CHAT, json={"fail": status})

    assert answer.status == status
    assert answer.json["error"]["code"] == "model_not_found"
    assert answer.headers["retry-after"] == "3"
    assert answer.headers.get("www-authenticate") == ("Bearer" if status == 401 else None)
    assert not [name for name in answer.headers if name.lower().startswith(("x-promptmesh", "grpc"))]


async def test_a_status_that_is_no_error_is_not_taken(edge: Edge) -> None:
    assert (await edge.ask("POST", CHAT, json={"fail": 299})).status == 200


async def test_a_name_with_a_slash_is_one_model_however_it_is_written(edge: Edge) -> None:
    for name in ("meta/llama", "meta%2Fllama"):
        assert (await edge.ask("GET", f"/v1/models/{name}")).json["id"] == "meta/llama"


async def test_a_body_of_8_mib_is_taken_and_more_is_413_in_openai_shape(edge: Edge, seen: Seen) -> None:
    taken = await edge.post_bytes(CHAT, b'{"a":"' + b"x" * 8_000_000 + b'"}')
    seen.calls.clear()
    refused = await edge.post_bytes(CHAT, b'{"a":"' + b"x" * 8_400_000 + b'"}')

    assert (taken.status, taken.json["size"]) == (200, 8_000_008)
    assert refused.status == 413
    assert refused.json["error"] == {
        "message": "The body is larger than this method takes. It takes 8,388,608 bytes (max_large_body_bytes of the "
        "edge).",
        "type": "invalid_request_error",
        "param": None,
        "code": "request_too_large",
    }
    assert seen.calls == []


@pytest.mark.parametrize(("verb", "path"), [("GET", "/v1/nothing"), ("POST", "/v1/audio/speech")])
async def test_an_unknown_path_is_404_in_openai_shape(edge: Edge, verb: str, path: str) -> None:
    answer = await edge.ask(verb, path)

    assert answer.status == 404
    assert "POST /v1/chat/completions" in answer.json["error"]["message"]
    assert (answer.json["error"]["type"], answer.json["error"]["code"]) == ("invalid_request_error", "unknown_url")


async def test_another_verb_is_405_in_openai_shape(edge: Edge) -> None:
    answer = await edge.ask("GET", CHAT)

    assert (answer.status, answer.headers["allow"]) == (405, "POST")
    assert (answer.json["error"]["type"], answer.json["error"]["code"]) == ("invalid_request_error", "unknown_url")


async def test_a_query_that_nobody_knows_is_400_in_openai_shape(edge: Edge) -> None:
    answer = await edge.ask("GET", "/v1/models?limit=3")

    assert answer.json["error"]["message"] == 'The query parameter "limit" is not known here.'

    assert (answer.status, answer.json["error"]["type"]) == (400, "invalid_request_error")


async def test_a_query_on_a_path_of_raw_bodies_is_400_too(edge: Edge) -> None:
    answer = await edge.ask("POST", f"{CHAT}?limit=3", json={})

    assert (answer.status, answer.json["error"]["type"]) == (400, "invalid_request_error")


async def test_who_calls_and_until_when_reaches_the_service(edge: Edge, seen: Seen) -> None:
    headers = {"authorization": "Bearer pm_x", "x-promptmesh-user": "forged", "grpc-timeout": "9S"}

    answer = await edge.ask("POST", CHAT, json={}, headers=headers)

    assert answer.status == 200
    assert seen.metadata["authorization"] == "Bearer pm_x"
    assert "x-promptmesh-user" not in seen.metadata
    assert seen.metadata["x-request-id"] == answer.headers["x-request-id"]
    assert len(answer.headers.getall("x-request-id")) == 1
    assert seen.remaining_s is not None
    assert 0 < seen.remaining_s <= 10


async def test_a_caller_who_leaves_ends_the_call(edge: Edge, seen: Seen) -> None:
    async with edge.http.post(edge.url + CHAT, json={"stream": "quiet"}) as response:
        await response.content.readuntil(b"\n\n")
        response.close()

    await asyncio.wait_for(seen.cancelled.wait(), 10)


async def test_a_deadline_that_passes_is_504(edge: Edge, seen: Seen) -> None:
    answer = await edge.ask("POST", CHAT, json={"hang": True}, headers={"grpc-timeout": "200m"})

    assert (answer.status, answer.json["error"]["code"]) == (504, "deadline_too_short")
    await asyncio.wait_for(seen.cancelled.wait(), 10)


@pytest.mark.parametrize(
    ("code", "status", "said"),
    [
        ("DEADLINE_EXCEEDED", 504, "deadline_too_short"),
        ("UNAVAILABLE", 503, "dependency_unavailable"),
        ("CANCELLED", 503, "dependency_unavailable"),
        ("RESOURCE_EXHAUSTED", 429, "request_too_large"),
        ("INTERNAL", 500, "internal_error"),
    ],
)
async def test_what_the_grpc_library_answers_has_openai_shape(
    edge: Edge, edge_settings: dict[str, Any], code: str, status: int, said: str
) -> None:
    if "http_clusters" in edge_settings:
        pytest.skip("plain HTTP has no gRPC library that could answer")

    answer = await edge.ask("POST", CHAT, json={"bare": code})

    assert (answer.status, answer.json["error"]["code"]) == (status, said)
    assert set(answer.json["error"]) == {"message", "type", "param", "code"}
    assert b"library" not in answer.body
    assert not [name for name in answer.headers if name.lower().startswith(("x-promptmesh", "grpc"))]


async def test_the_official_client_reads_it_all(edge: Edge) -> None:
    async with openai.AsyncOpenAI(base_url=f"{edge.url}/v1", api_key="pm_x", max_retries=0) as client:
        assert [model async for model in client.models.list()] == []
        assert (await client.models.retrieve("meta/llama")).id == "meta/llama"
        with pytest.raises(openai.NotFoundError) as missing:
            await client.chat.completions.create(model="x", messages=[], extra_body={"fail": 404})
        with pytest.raises(openai.RateLimitError):
            await client.chat.completions.create(model="x", messages=[], extra_body={"fail": 429})
    assert missing.value.code == "model_not_found"

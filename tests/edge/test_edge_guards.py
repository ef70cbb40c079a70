"""The rate guard and timeouts, on an edge with limits small enough to reach."""

from __future__ import annotations

from typing import Any

import aiohttp
import grpc
import pytest
from promptmesh.prompts.v1 import posts_pb2, posts_pb2_grpc

from tests.edge.harness import Edge
from tests.edge.toys import QUIET_POST, SLOW_POST

pytestmark = pytest.mark.asyncio(loop_scope="session")

BURST = 8


@pytest.fixture(scope="module")
def edge_settings() -> dict[str, Any]:
    # One proxy in front is trusted, so that a test can be any caller by x-forwarded-for.
    return {
        "trusted_hops": 1,
        "rate_per_second": 1,
        "rate_burst": BURST,
        "credential_rate_per_second": 1,
        "credential_rate_burst": 3,
        # Long enough that a busy machine answers in time; a stream that is quiet for the second outlives the first.
        "unary_timeout_s": 1.0,
        "stream_idle_timeout_s": 1.5,
    }


def caller(address: str) -> dict[str, str]:
    return {"x-forwarded-for": address}


async def spend(edge: Edge, address: str) -> None:
    for _ in range(BURST):
        await edge.ask("GET", "/livez", headers=caller(address))


async def test_an_address_that_asks_too_fast_is_told_when_to_come_back(edge: Edge) -> None:
    await spend(edge, "198.51.100.1")

    refused = await edge.ask("GET", "/api/v1/posts", headers=caller("198.51.100.1"))

    assert (refused.status, refused.json["code"], refused.reason) == (429, 8, "RATE_LIMITED")
    assert refused.headers["retry-after"] == "1"


async def test_on_openai_paths_it_is_told_in_openai_shape(edge: Edge) -> None:
    await spend(edge, "198.51.100.2")

    refused = await edge.ask("GET", "/v1/models", headers=caller("198.51.100.2"))

    assert refused.status == 429
    assert refused.json["error"]["type"] == "rate_limit_error"
    assert refused.json["error"]["code"] == "rate_limit_exceeded"
    assert refused.headers["retry-after"] == "1"


async def test_native_callers_are_told_resource_exhausted(edge: Edge) -> None:
    await spend(edge, "198.51.100.3")

    async with grpc.aio.insecure_channel(edge.target) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await posts_pb2_grpc.PostServiceStub(channel).ListPosts(
                posts_pb2.ListPostsRequest(), metadata=(("x-forwarded-for", "198.51.100.3"),)
            )

    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_other_addresses_do_not_feel_it(edge: Edge) -> None:
    await spend(edge, "198.51.100.4")

    assert (await edge.ask("GET", "/livez", headers=caller("198.51.100.4"))).status == 429
    assert (await edge.ask("GET", "/livez", headers=caller("198.51.100.5"))).status == 200


async def test_an_ipv6_caller_is_its_network(edge: Edge) -> None:
    for host in range(BURST):
        await edge.ask("GET", "/livez", headers=caller(f"2001:db8:1:1::{host:x}"))

    assert (await edge.ask("GET", "/livez", headers=caller("2001:db8:1:1:ffff::1"))).status == 429
    assert (await edge.ask("GET", "/livez", headers=caller("2001:db8:1:2::1"))).status == 200


async def test_only_the_stated_number_of_proxies_is_believed(edge: Edge) -> None:
    """The last address was written by the proxy in front; what stands before it anybody could have written."""
    for number in range(BURST):
        await edge.ask("GET", "/livez", headers=caller(f"10.9.9.{number}, 198.51.100.6"))

    assert (await edge.ask("GET", "/livez", headers=caller("10.9.9.200, 198.51.100.6"))).status == 429


async def test_logging_in_is_limited_more_tightly(edge: Edge) -> None:
    login = {"email": "a@b.c", "password": "guess"}
    asked = [await edge.ask("POST", "/api/v1/sessions", json=login, headers=caller("198.51.100.7")) for _ in range(4)]

    assert [answer.status for answer in asked] == [200, 200, 200, 429]
    assert (await edge.ask("GET", "/api/v1/posts", headers=caller("198.51.100.7"))).status == 200


async def test_a_service_that_does_not_answer_is_504(edge: Edge) -> None:
    answer = await edge.ask("GET", f"/api/v1/posts/{SLOW_POST}", headers=caller("198.51.100.8"))

    assert (answer.status, answer.json["code"], answer.reason) == (504, 4, "DEADLINE_TOO_SHORT")


async def test_a_stream_outlives_the_unary_timeout_and_ends_when_nothing_moves(edge: Edge) -> None:
    """It ends broken, without the end of a chunked answer, so that nobody takes it for whole."""
    received: list[bytes] = []

    async def read_on(content: aiohttp.StreamReader) -> None:
        async for chunk in content.iter_any():
            received.append(chunk)

    async with edge.http.get(f"{edge.url}/api/v1/posts/{QUIET_POST}:watch", headers=caller("198.51.100.9")) as response:
        assert response.status == 200
        with pytest.raises(aiohttp.ClientPayloadError):
            await read_on(response.content)

    assert b"".join(received).count(b"data: ") == 2

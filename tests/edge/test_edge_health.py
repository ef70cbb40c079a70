"""What the edge says and does when services come and go. The tests stand in the order of one service's life."""

from __future__ import annotations

import asyncio

import pytest

from tests.edge.harness import Answer, Edge

pytestmark = pytest.mark.asyncio(loop_scope="session")

NOTICE_TIMEOUT_S = 20


async def healthz(edge: Edge, status: int) -> Answer:
    """The health once it has the status."""
    async with asyncio.timeout(NOTICE_TIMEOUT_S):
        while (answer := await edge.ask("GET", "/healthz")).status != status:
            await asyncio.sleep(0.05)
    return answer


async def test_all_services_serve(edge: Edge) -> None:
    answer = await healthz(edge, 200)

    assert answer.json == {
        "status": "SERVING",
        "services": dict.fromkeys(("auth", "prompts", "moderation", "inference"), "SERVING"),
    }


async def test_a_service_that_says_it_does_not_serve_is_named(edge: Edge) -> None:
    await edge.toys.set_serving("moderation", False)

    answer = await healthz(edge, 503)

    assert answer.json["status"] == "NOT_SERVING"
    assert [name for name, state in answer.json["services"].items() if state == "NOT_SERVING"] == ["moderation"]
    assert answer.headers["content-type"] == "application/json"
    assert (await edge.ask("GET", "/livez")).status == 200


async def test_it_is_noticed_when_it_serves_again(edge: Edge) -> None:
    await edge.toys.set_serving("moderation", True)

    assert (await healthz(edge, 200)).json["services"]["moderation"] == "SERVING"


async def test_a_service_that_is_gone_is_503_in_both_shapes_without_inner_detail(edge: Edge) -> None:
    await edge.toys.servers["inference"].stop(0)

    ours = await edge.ask("GET", "/api/v1/models")
    openais = await edge.ask("POST", "/v1/chat/completions", json={})
    answer = await healthz(edge, 503)

    assert (ours.status, ours.json["code"], ours.reason) == (503, 14, "DEPENDENCY_UNAVAILABLE")
    assert (openais.status, openais.json["error"]["code"]) == (503, "dependency_unavailable")
    for body in (ours.body, openais.body):
        assert b"upstream" not in body
        assert b"127.0.0.1" not in body
    assert answer.json["services"] == {
        "auth": "SERVING",
        "prompts": "SERVING",
        "moderation": "SERVING",
        "inference": "NOT_SERVING",
    }


async def test_the_others_serve_on(edge: Edge) -> None:
    assert (await edge.ask("GET", "/api/v1/posts/a")).status == 200

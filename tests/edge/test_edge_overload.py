"""What is admitted when there is too much: connections, and requests under way to one service."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from tests.edge.harness import Edge
from tests.edge.toys import QUIET_POST

pytestmark = pytest.mark.asyncio(loop_scope="session")

MAX_CONNECTIONS = 6


@pytest.fixture(scope="module")
def edge_settings() -> dict[str, Any]:
    return {"max_connections": MAX_CONNECTIONS, "max_requests_per_service": 1}


async def test_one_request_too_many_to_a_service_is_503_and_the_others_serve_on(edge: Edge) -> None:
    async with edge.http.get(f"{edge.url}/api/v1/posts/{QUIET_POST}:watch") as watch:
        await watch.content.readuntil(b"\n\n")

        refused = await edge.ask("GET", "/api/v1/posts")
        other = await edge.ask("GET", "/api/v1/users/me")

    assert (refused.status, refused.reason) == (503, "OVERLOADED")
    assert other.status == 200


async def test_one_connection_too_many_is_closed_at_once(edge: Edge) -> None:
    async with contextlib.AsyncExitStack() as opened:
        answers = []
        for _ in range(MAX_CONNECTIONS + 2):
            reader, writer = await asyncio.open_connection("127.0.0.1", edge.port)
            opened.callback(writer.close)
            writer.write(b"GET /livez HTTP/1.1\r\nhost: edge\r\n\r\n")
            with contextlib.suppress(ConnectionError):
                answers.append(await asyncio.wait_for(reader.read(12), 10))

    assert answers[0] == b"HTTP/1.1 200"
    assert len(answers) < MAX_CONNECTIONS + 2 or answers[-1] == b""
    assert answers.count(b"HTTP/1.1 200") <= MAX_CONNECTIONS

"""On one machine: both addresses of `localhost`, and people led to that one name."""

from __future__ import annotations

from typing import Any

import pytest

from services.local.ports import has_ipv6
from tests.edge.harness import Edge

pytestmark = pytest.mark.asyncio(loop_scope="session")

PERSON = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


@pytest.fixture(scope="module")
def edge_settings() -> dict[str, Any]:
    return {"page_host": "localhost", "listen_also": ["::1"] if has_ipv6() else []}


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no ::1")
async def test_it_listens_on_both_addresses(edge: Edge) -> None:
    for host in ("127.0.0.1", "[::1]"):
        async with edge.http.get(f"http://{host}:{edge.port}/livez") as answer:
            assert answer.status == 200


@pytest.mark.parametrize("path", ["/", "/p/0197c0de-0000-7000-8000-000000000000?x=1", "/posts/new", "/reference"])
@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
async def test_a_person_is_led_to_the_one_name(edge: Edge, host: str, path: str) -> None:
    headers = {**PERSON, "host": f"{host}:{edge.port}"}

    answer = await edge.ask("GET", path, headers=headers, allow_redirects=False)

    assert (answer.status, answer.headers["location"]) == (307, f"http://localhost:{edge.port}{path}")
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("host", ["localhost:{port}", "127.0.0.1:1", "127.0.0.1", "prompts.example.org"])
async def test_at_any_other_name_they_stay(edge: Edge, host: str) -> None:
    answer = await edge.ask("GET", "/", headers={**PERSON, "host": host.format(port=edge.port)}, allow_redirects=False)

    assert answer.status == 200


async def test_programs_are_served_by_any_address(edge: Edge) -> None:
    assert (await edge.ask("GET", "/api/v1/posts", allow_redirects=False)).status == 200
    assert (
        await edge.ask("POST", "/v1/chat/completions", json={}, headers=PERSON, allow_redirects=False)
    ).status == 200

"""Envoy's administration: what its keeper needs is there, and a page in a browser of the same machine gets nothing."""

from __future__ import annotations

import pytest

from tests.edge.harness import Edge

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def status(edge: Edge, verb: str, path: str, **headers: str) -> int:
    url = f"http://127.0.0.1:{edge.admin_port}{path}"
    async with edge.http.request(verb, url, headers=headers) as response:
        await response.read()
        return response.status


@pytest.mark.parametrize("path", ["/ready", "/stats/prometheus", "/stats?filter=^server.live$"])
async def test_its_keeper_is_answered(edge: Edge, path: str) -> None:
    assert await status(edge, "GET", path) == 200
    assert await status(edge, "GET", path, host=f"localhost:{edge.admin_port}") == 200


@pytest.mark.parametrize("host", ["evil.example", "evil.example:{port}", "127.0.0.1.evil.example:{port}"])
async def test_a_site_whose_name_leads_here_is_not(edge: Edge, host: str) -> None:
    assert await status(edge, "GET", "/ready", host=host.format(port=edge.admin_port)) == 404


@pytest.mark.parametrize("header", [{"origin": "https://evil.example"}, {"origin": "null"}, {"sec-fetch-site": "none"}])
async def test_nor_is_a_form_that_a_page_sends(edge: Edge, header: dict[str, str]) -> None:
    assert await status(edge, "POST", "/drain_listeners?graceful&skip_exit", **header) == 403
    assert await status(edge, "GET", "/ready", **header) == 403


@pytest.mark.parametrize(
    ("verb", "path"),
    [
        ("POST", "/quitquitquit"),
        ("POST", "/healthcheck/fail"),
        ("POST", "/runtime_modify?edge.x=1"),
        ("POST", "/logging?level=trace"),
        ("GET", "/config_dump"),
        ("GET", "/certs"),
        ("GET", "/"),
        ("GET", "/drain_listeners"),
        ("POST", "/ready"),
        ("GET", "/ready/../config_dump"),
    ],
)
async def test_nothing_else_of_it_is_there(edge: Edge, verb: str, path: str) -> None:
    assert await status(edge, verb, path) == 404
    assert await status(edge, "GET", "/ready") == 200

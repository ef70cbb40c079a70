"""What only an edge on Kubernetes does: finding services by name, calling them by it, telling metrics, being let go."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from gateway import drain
from services.local.ports import free_ports
from tests.edge.harness import running_edge
from tests.edge.toys import Toys

pytestmark = pytest.mark.asyncio(loop_scope="session")
NAME = "localhost"
"""A name to look up that every machine has."""


@asynccontextmanager
async def plain_service() -> AsyncIterator[tuple[int, list[tuple[str, str]]]]:
    """A service of plain HTTP: its port, and (path, host) of what it was asked."""
    asked: list[tuple[str, str]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := (await reader.readuntil(b"\r\n\r\n")).decode():
            path = head.split(" ")[1]
            lines = [line.partition(": ") for line in head.lower().splitlines()]
            fields = {name: value for name, _, value in lines}
            await reader.readexactly(int(fields.get("content-length", 0)))
            asked.append((path, fields["host"]))
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")

    async def until_gone(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(until_gone, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], asked
    finally:
        server.close()


async def test_a_call_and_a_health_check_bear_the_name_of_the_service(toys: Toys, tmp_path: Path) -> None:
    async with plain_service() as (port, asked):
        (metrics_port,) = free_ports(1)
        clusters = {area: [(NAME, place[1]) for place in places] for area, places in toys.clusters.items()}
        async with running_edge(
            tmp_path,
            toys,
            target="kubernetes",
            clusters=clusters,
            http_clusters={"inference": [(NAME, port)]},
            metrics_port=metrics_port,
        ) as edge:
            answer = await edge.ask("POST", "/v1/chat/completions", json={}, headers={"host": "api.example.com"})
            assert (answer.status, answer.body) == (200, b"{}")
            # By it a sidecar knows where a call belongs; under another it would send it on without a certificate.
            assert ("/v1/chat/completions", NAME) in asked
            assert ("/healthz", NAME) in asked
            assert {host for _, host in asked} == {NAME}
            posts = await edge.ask("GET", "/api/v1/posts", headers={"host": "api.example.com"})
            assert posts.status == 200
            # What a service is told of the host that a browser asked for is that host all the same.
            login = {"email": "a@example.com", "password": "correct horse battery"}
            await edge.ask("POST", "/api/v1/sessions", json=login, headers={"host": "api.example.com"})
            assert toys.seen.metadata["x-promptmesh-authority"] == "api.example.com"

            async with edge.http.get(f"http://127.0.0.1:{metrics_port}/metrics") as metrics:
                assert "envoy_http_downstream_rq_total" in await metrics.text()
            for path in ("/stats", "/quitquitquit", "/config_dump", "/"):
                async with edge.http.get(f"http://127.0.0.1:{metrics_port}{path}") as refused:
                    assert refused.status == 404

            arguments = ["--admin-port", str(edge.admin_port), "--at-least-s", "0", "--at-most-s", "5"]
            assert await asyncio.to_thread(drain.main, arguments) == 0
            # Those who have not heard are served, and told to go.
            async with aiohttp.ClientSession() as session, session.get(f"{edge.url}/livez") as late:
                assert late.status == 200

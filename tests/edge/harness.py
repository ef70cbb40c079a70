"""A real Envoy with the rendered configuration, on ports of its own."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from yarl import URL

from gateway import render
from gateway.settings import EdgeSettings
from services.local.embedded.binaries import envoy
from services.local.ports import free_ports
from tests.edge.toys import Toys

START_TIMEOUT_S = 30
_START_ATTEMPTS = 3


@dataclass
class Edge:
    """A running edge in front of the toys."""

    port: int
    admin_port: int
    toys: Toys
    http: aiohttp.ClientSession
    output: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def target(self) -> str:
        """Address for gRPC channels."""
        return f"127.0.0.1:{self.port}"

    async def ask(self, verb: str, path: str, **options: Any) -> Answer:
        """One request, its answer read whole. `path` is sent as it is."""
        async with self.http.request(verb, URL(self.url + path, encoded=True), **options) as response:
            return Answer(response.status, response.headers, await response.read())

    async def post_bytes(self, path: str, body: bytes) -> Answer:
        """A large JSON body, sent in pieces."""
        return await self.ask("POST", path, data=io.BytesIO(body), headers={"content-type": "application/json"})

    def access_log(self) -> list[dict[str, Any]]:
        """Lines of the access log so far (Envoy writes them out within a second)."""
        return [json.loads(line) for line in self.output.read_text().splitlines() if line.startswith("{")]


@dataclass(frozen=True)
class Answer:
    """Status, headers (case is ignored) and body of an answer."""

    status: int
    headers: Any
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def reason(self) -> str:
        """Reason in the ErrorInfo of an error of ours."""
        return str(self.json["details"][0]["reason"])


@contextlib.asynccontextmanager
async def running_edge(
    folder: Path, toys: Toys, *, target: render.Target = "local", **settings: Any
) -> AsyncIterator[Edge]:
    """Starts Envoy and waits until it listens and knows that all services serve."""
    for attempt in range(_START_ATTEMPTS):
        edge_port, admin_port = free_ports(2)
        output = folder / f"envoy-{attempt}.log"
        process = await _start(folder, output, toys, target, edge_port=edge_port, admin_port=admin_port, **settings)
        try:
            async with aiohttp.ClientSession() as http:
                edge = Edge(edge_port, admin_port, toys, http, output)
                if await _serves(edge, process):
                    yield edge
                    # A script that fails leaves an answer as it found it: that may pass a test, and is a fault.
                    failed = [line for line in output.read_text().splitlines() if "script log" in line]
                    assert not failed, failed[0]
                    return
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()
    raise AssertionError(f"Envoy did not start:\n{output.read_text()}")


async def _start(
    folder: Path, output: Path, toys: Toys, target: render.Target, **settings: Any
) -> asyncio.subprocess.Process:
    configuration = folder / "edge.yaml"
    configuration.write_text(
        render.render(
            target,
            EdgeSettings(
                **{"clusters": toys.clusters, "health_interval_s": 0.2, "health_retry_interval_s": 0.1, **settings}
            ),
        )
    )
    with output.open("wb") as sink:
        return await asyncio.create_subprocess_exec(
            *(str(envoy()), "-c", str(configuration), "--disable-hot-restart", "--concurrency", "1"),
            *("-l", "warning", "--file-flush-interval-msec", "50"),
            stdout=sink,
            stderr=sink,
        )


async def _serves(edge: Edge, process: asyncio.subprocess.Process) -> bool:
    """Whether it came up; False if it ended, as it does when somebody was quicker to take the port."""
    async with asyncio.timeout(START_TIMEOUT_S):
        while process.returncode is None:
            with contextlib.suppress(aiohttp.ClientError):
                if (await edge.ask("GET", "/healthz")).status == 200:
                    return True
            await asyncio.sleep(0.02)
    return False

"""Calls by way of a proxy that the environment names: the same answers and the same faults."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from services.inference.providers.base import AnswerRecord
from services.inference.providers.endpoint import Timeouts
from services.inference.providers.http import HttpClient
from services.inference.providers.openai_compatible import OpenAiCompatible
from services.inference.providers.proxied import ProxiedClient, open_client
from services.mesh.errors import MeshError
from tests.support.provider import FAULTS, Behaviour, Fault, MisbehavingProvider, dead_port
from tests.unit.inference.calls import completed, events, request, streamed, text_of
from tests.unit.inference.test_provider_faults import reason_of

TIMEOUTS = Timeouts(connect_s=2, first_token_s=0.4, idle_s=0.3, total_s=0.8)


class Proxy:
    """Forwards requests in absolute form, byte for byte after their first line."""

    def __init__(self) -> None:
        self.targets: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            method, target, version = (await reader.readuntil(b"\r\n")).split(b" ")
            self.targets.append(target)
            host, _, path = target.removeprefix(b"http://").partition(b"/")
            name, _, port = host.partition(b":")
            onward, outward = await asyncio.open_connection(name.decode(), int(port))
            outward.write(b" ".join((method, b"/" + path, version)))
            absolute = b"POST http://" + host + b"/"  # of further requests on the connection
            pipes = [
                asyncio.create_task(_pipe(reader, outward, absolute)),
                asyncio.create_task(_pipe(onward, writer, absolute)),
            ]
            await asyncio.wait(pipes, return_when=asyncio.FIRST_COMPLETED)
            for end in (outward, writer):
                end.transport.abort()
            await asyncio.wait(pipes)


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, absolute: bytes) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data.replace(absolute, b"POST /"))


@pytest.fixture
async def proxy(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Proxy]:
    proxy = Proxy()
    listening = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    yield proxy
    listening.close()
    await listening.wait_closed()


@pytest.fixture
async def ours(proxy: Proxy, upstream: MisbehavingProvider) -> AsyncIterator[OpenAiCompatible]:
    client = ProxiedClient(connections_max=8)
    yield OpenAiCompatible(client, "mock", upstream.base_url, timeouts=TIMEOUTS)
    await client.close()


async def test_the_environment_decides() -> None:
    for environment, kind in (({}, HttpClient), ({"HTTPS_PROXY": "http://p"}, ProxiedClient), ({"x": "y"}, HttpClient)):
        client = open_client(4, environment)
        assert type(client) is kind
        await client.close()


async def test_answers(proxy: Proxy, upstream: MisbehavingProvider, ours: OpenAiCompatible) -> None:
    for _ in range(2):
        record = AnswerRecord()
        assert (await completed(ours))["choices"][0]["message"]["content"] == upstream.default.text
        assert text_of(events(await streamed(ours, request(), record))) == upstream.default.text
        assert record.sent
        assert record.usage is not None
    assert set(proxy.targets) == {f"{upstream.base_url}/chat/completions".encode()}


NAMES = [
    "rate_limit", "context_openai", "policy_azure", "unauthorized", "server_error", "redirect", "reset_before_headers",
    "silence", "head_only", "stall", "cut", "wrong_content_type", "broken_chunk", "no_finish", "error_body_stalled",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
async def test_faults(upstream: MisbehavingProvider, ours: OpenAiCompatible, name: str) -> None:
    for ask in (completed, streamed):
        upstream.fail(name)
        with pytest.raises(MeshError) as caught:
            await ask(ours)
        assert caught.value.reason == reason_of(FAULTS[name])
    await upstream.until(lambda record: record.running == 0)


async def test_the_total_time_holds_while_nobody_reads(upstream: MisbehavingProvider, ours: OpenAiCompatible) -> None:
    upstream.default = Behaviour(text="word " * 2000, pace_s=0.01)
    stream = ours.stream(request(), AnswerRecord())
    await anext(stream)
    await upstream.calls[0].aborted.wait()
    await stream.aclose()


async def test_closing_early_aborts_upstream(upstream: MisbehavingProvider, ours: OpenAiCompatible) -> None:
    upstream.default = Behaviour(fault=Fault.STALL)
    stream = ours.stream(request(), AnswerRecord())
    await anext(stream)
    await stream.aclose()
    await upstream.calls[0].aborted.wait()


async def test_a_proxy_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    client = ProxiedClient(connections_max=1)
    with dead_port() as port:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{port}")
        with pytest.raises(MeshError, match="proxy") as caught:
            await completed(OpenAiCompatible(client, "mock", "http://127.0.0.1:9/v1"))
    assert caught.value.reason == "PROVIDER_UNAVAILABLE"
    await client.close()

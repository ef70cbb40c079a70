"""What is there is found and offered, without keeping anybody waiting."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import pytest

from services.inference.catalog import Offers
from services.inference.config import Config, parse
from services.inference.discovery import Discovery, ollama_url, sources
from services.inference.providers.http import HttpClient, Timeouts
from tests.support.provider import MisbehavingProvider
from tests.unit.inference.calls import answer_text, request


def offers_of(client: HttpClient, environment: dict[str, str]) -> Offers:
    offers = Offers(client, environment, Timeouts(), 0)
    offers.configure(1, Config(discover=True))
    return offers


@pytest.fixture
def nobody() -> str:
    """An address of this machine where nobody answers, for Ollama."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{taken.getsockname()[1]}"


async def test_without_anything_there_is_the_demo(client: HttpClient, nobody: str) -> None:
    environment = {"OLLAMA_HOST": nobody}
    offers = offers_of(client, environment)
    await Discovery(environment, offers, litellm_installed=lambda: True).probe()
    assert list(offers.catalog.routes) == ["demo"]
    assert offers.catalog.default.name == "demo"
    assert offers.catalog.examples.name == "demo"
    assert offers.catalog.default.targets[0].price is not None
    assert offers.catalog.default.targets[0].price.is_zero


async def test_an_upstream_by_its_address(client: HttpClient, upstream: MisbehavingProvider, nobody: str) -> None:
    environment = {"OPENAI_BASE_URL": upstream.base_url + "/", "OLLAMA_HOST": nobody}
    offers = offers_of(client, environment)
    await Discovery(environment, offers, litellm_installed=lambda: True).probe()
    assert list(offers.catalog.routes) == ["demo", "mock-large", "mock-small"]
    found = offers.catalog.route("mock-small").targets[0]
    assert found.price is None
    assert await answer_text(found.provider, request()) == upstream.default.text
    # Nobody's money is spent unasked: neither by default nor by examples.
    assert offers.catalog.default.name == "demo"
    assert offers.catalog.examples.name == "demo"


async def test_a_context_length_that_is_told_bounds_the_cap(
    client: HttpClient, upstream: MisbehavingProvider, nobody: str
) -> None:
    upstream.max_model_len = 2048
    environment = {"OPENAI_BASE_URL": upstream.base_url, "OLLAMA_HOST": nobody}
    offers = offers_of(client, environment)
    await Discovery(environment, offers, litellm_installed=lambda: False).probe()
    found = offers.catalog.route("mock-small").targets[0]
    assert (found.context_tokens, found.max_output_tokens) == (2048, 1024)


async def test_the_same_name_from_two_sources(client: HttpClient, upstream: MisbehavingProvider) -> None:
    environment = {"OPENAI_BASE_URL": upstream.base_url, "OLLAMA_HOST": f"127.0.0.1:{upstream.port}"}
    offers = offers_of(client, environment)
    await Discovery(environment, offers, litellm_installed=lambda: False).probe()
    assert list(offers.catalog.routes) == [
        "demo", "mock-large", "mock-small", "ollama/mock-large", "ollama/mock-small",
    ]  # fmt: skip
    assert offers.catalog.route("ollama/mock-small").targets[0].upstream_model == "mock-small"


async def test_an_ollama_that_comes_and_goes(
    client: HttpClient, upstream: MisbehavingProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.inference.discovery.LOCAL_INTERVAL_S", 0.0)
    environment = {"OLLAMA_HOST": f"127.0.0.1:{upstream.port}"}
    offers = offers_of(client, environment)
    discovery = Discovery(environment, offers, litellm_installed=lambda: False)
    upstream.models = []
    await discovery.probe()
    assert list(offers.catalog.routes) == ["demo"]
    upstream.models = ["llama:8b"]
    await discovery.probe()
    assert "llama:8b" in offers.catalog.routes
    upstream.models = ["not a name", "x" * 500]
    await discovery.probe()
    assert list(offers.catalog.routes) == ["demo"]


async def test_a_silent_source_keeps_nobody_waiting(
    client: HttpClient, upstream: MisbehavingProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.inference.discovery.PROBE_TIMEOUT_S", 0.2)
    async with _silent_server() as address:
        environment = {"OPENAI_BASE_URL": upstream.base_url, "OLLAMA_HOST": address}
        offers = offers_of(client, environment)
        discovery = Discovery(environment, offers, litellm_installed=lambda: False)
        assert list(offers.catalog.routes) == ["demo"]  # there at once
        await discovery.probe()
    assert "mock-small" in offers.catalog.routes


async def test_nobody_is_asked_unless_the_configuration_wants_it(
    client: HttpClient, upstream: MisbehavingProvider, nobody: str
) -> None:
    environment = {"OPENAI_BASE_URL": upstream.base_url, "OLLAMA_HOST": nobody}
    offers = Offers(client, environment, Timeouts(), 0)
    changed = asyncio.Event()
    offers.on_change(changed.set)
    task = asyncio.create_task(Discovery(environment, offers, litellm_installed=lambda: False).run())
    offers.configure(1, parse("models: [{name: mine, provider: demo}]"))
    await asyncio.sleep(0)
    assert list(offers.catalog.routes) == ["demo", "mine"]
    changed.clear()
    offers.configure(2, Config(discover=True))
    async with asyncio.timeout(10):
        while "mock-small" not in offers.catalog.routes:
            changed.clear()
            await changed.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_what_an_operator_wrote_stands_above_what_was_found(
    client: HttpClient, upstream: MisbehavingProvider, nobody: str
) -> None:
    environment = {"OPENAI_BASE_URL": upstream.base_url, "OLLAMA_HOST": nobody}
    offers = Offers(client, environment, Timeouts(), 0)
    offers.configure(1, parse("discover: true\nmodels: [{name: mock-small, provider: demo}]"))
    await Discovery(environment, offers, litellm_installed=lambda: False).probe()
    assert offers.catalog.route("mock-small").targets[0].provider.name == "demo"
    assert offers.catalog.route("mock-large").targets[0].provider.name == "openai"


def test_sources_by_their_variables() -> None:
    environment = {"OPENAI_API_KEY": "a", "ANTHROPIC_API_KEY": "b", "GEMINI_API_KEY": "c"}
    assert [source.provider.name for source in sources(environment, True)] == [
        "openai", "anthropic", "gemini", "ollama",
    ]  # fmt: skip
    assert [source.provider.name for source in sources(environment, False)] == ["openai", "ollama"]
    assert sources(environment, True)[0].url == "https://api.openai.com/v1/models"
    assert [source.provider.name for source in sources({}, True)] == ["ollama"]


async def test_a_variable_that_is_no_address_is_left_out(client: HttpClient, nobody: str) -> None:
    environment = {"OPENAI_BASE_URL": "not a url", "OLLAMA_HOST": nobody}
    offers = offers_of(client, environment)
    await Discovery(environment, offers, litellm_installed=lambda: False).probe()
    assert list(offers.catalog.routes) == ["demo"]


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("", "http://127.0.0.1:11434"),
        ("0.0.0.0", "http://127.0.0.1:11434"),
        ("box", "http://box:11434"),
        ("box:80", "http://box:80"),
        ("https://box/", "https://box"),
    ],
)
def test_where_ollama_is(host: str, url: str) -> None:
    assert ollama_url(host) == url


async def test_models_that_make_vectors_are_told_by_their_names(
    client: HttpClient, upstream: MisbehavingProvider, nobody: str
) -> None:
    environment = {"OPENAI_BASE_URL": upstream.base_url, "OLLAMA_HOST": nobody}
    upstream.models = ["nomic-embed-text", "text-embedding-3-small", "llama"]
    offers = offers_of(client, environment)
    await Discovery(environment, offers, litellm_installed=lambda: False).probe()
    embeds = {name: route.targets[0].embeds for name, route in offers.catalog.routes.items()}
    assert embeds == {"demo": False, "llama": False, "nomic-embed-text": True, "text-embedding-3-small": True}


@contextlib.asynccontextmanager
async def _silent_server() -> AsyncIterator[str]:
    """Takes connections and says nothing."""

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()

"""One mesh with four replicas of inference for all tests here, which kill its parts: they run alone, and last."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from services.local.testing import LocalMesh, local_mesh
from tests.gateway.world import EDGE_WIDE_OPEN, Gateway, models_yaml, running_gateway
from tests.mesh.client import Client, open_client
from tests.support.provider import RemoteProviders, provider_process


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def providers() -> AsyncIterator[RemoteProviders]:
    """The providers, which count."""
    async with provider_process(keep=0) as running:
        yield running


@pytest.fixture(scope="session")
def mesh(providers: RemoteProviders) -> Iterator[LocalMesh]:
    """The mesh."""
    with local_mesh(models_yaml=models_yaml(providers), edge=EDGE_WIDE_OPEN) as running:
        yield running


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def client(mesh: LocalMesh) -> AsyncIterator[Client]:
    """Whoever asks over HTTP."""
    async with open_client(mesh.url) as opened:
        yield opened


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def gateway(
    mesh: LocalMesh, client: Client, providers: RemoteProviders, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Gateway]:
    """The mesh with its other replicas."""
    async with running_gateway(mesh, client, providers, tmp_path_factory.mktemp("replicas")) as running:
        yield running

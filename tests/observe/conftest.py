"""Prometheus's own programs, and one observed mesh for all tests here."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.local.testing import LocalMesh, local_mesh
from tests.observe.collector import Collector, collecting

HOW_TO_GET = "no Prometheus: apt-get install --no-install-recommends prometheus"
needs_prometheus = pytest.mark.skipif(shutil.which("promtool") is None, reason=HOW_TO_GET)


@pytest.fixture(scope="session")
def collector() -> Iterator[Collector]:
    """Who is sent the spans."""
    with collecting() as running:
        yield running


@pytest.fixture(scope="session")
def mesh(collector: Collector, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalMesh]:
    """A mesh that is observed: Prometheus, its page, and spans for a collector."""
    if shutil.which("prometheus") is None:
        pytest.skip(HOW_TO_GET)
    environment = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.address,
        "OTEL_EXPORTER_OTLP_COMPRESSION": "none",
        "OTEL_BSP_SCHEDULE_DELAY": "200",
        "PROMPTMESH_LOG_LEVEL": "debug",
    }
    folder: Path = tmp_path_factory.mktemp("observed") / "data"
    # Calls of tests say which traces are recorded; tests/edge/test_edge_traces.py has what strangers say.
    edge = {"trust_traceparent": True}
    with local_mesh(folder, environment=environment, edge=edge, observe=True) as running:
        yield running

"""A cluster for a file of tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.redis_cluster.cluster import Cluster, running_cluster


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with running_cluster(tmp_path_factory.mktemp("cluster")) as running:
        yield running

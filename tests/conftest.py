"""Fixtures that every kind of test shares: a real PostgreSQL and a real Redis, started once per test process."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from services.local.embedded.postgres import PostgresCluster, running_postgres, temporary_cluster
from services.local.embedded.redis import RedisServer, running_redis, temporary_redis
from services.mesh.call import enter
from tests.support.databases import Databases
from tests.support.days import wait_for_whole

# Before anything brings gRPC up: its handlers around fork would run in the children that start PostgreSQL and Redis
# (which exec at once), and now and then they hang there (seen: 2 of 75 starts beside a busy gRPC server; 0 of 225 so).
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")


@pytest.fixture(autouse=True)
def outside_of_calls() -> None:
    """Each test begins outside of any call: the tests of a process share a context, and some enter one."""
    enter(None)


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Iterator[PostgresCluster]:
    """A running cluster (fsync off). One initdb serves all xdist workers of a run: each copies what it made."""
    own = tmp_path_factory.mktemp("postgres")
    shared = own if worker_id == "master" else tmp_path_factory.getbasetemp().parent
    cluster = temporary_cluster(own / "data", template=_template(shared))
    with running_postgres(cluster):
        yield cluster


@pytest.fixture(scope="session")
def postgres_url(postgres: PostgresCluster) -> str:
    """DSN of the superuser to the maintenance database."""
    return postgres.url()


@pytest.fixture(scope="session")
def databases(postgres: PostgresCluster) -> Databases:
    """Makes databases in that cluster: empty ones, and ones with a service's schema."""
    return Databases(postgres)


@pytest.fixture(scope="session")
def database_service() -> str | None:
    """The service whose schema is in the database of each test already; folders of tests override it."""
    return None


@pytest.fixture
def database_url(databases: Databases, database_service: str | None) -> Iterator[str]:
    """DSN of the superuser to a database of the test's own, dropped after it (with the connections left open).

    Roles belong to the cluster and stay: create them with names or `IF NOT EXISTS` that bear that.
    """
    with databases.one(database_service) as url:
        yield url


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A running Redis, `noeviction`, shared by the tests of a process: ask for `redis_url` to find it empty."""
    server = temporary_redis(tmp_path_factory.mktemp("redis"))
    with running_redis(server):
        yield server


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """URL of a Redis that is empty when the test begins."""
    with redis.Redis.from_url(redis_server.url()) as client:
        client.flushall()
        client.script_flush()
        client.config_resetstat()
    return redis_server.url()


@pytest.fixture
def one_day(request: pytest.FixtureRequest) -> None:
    """The test sees one day of UTC: half of what it may take at most is left of it, or it begins after midnight.

    For budgets of a day or a month, and partitions: what is spent today is not what is left tomorrow.
    """
    marker = request.node.get_closest_marker("timeout")
    most_s = float(marker.args[0]) if marker else float(request.config.getini("timeout"))
    wait_for_whole(most_s / 2 - 1.0)  # the wait counts as well


def _template(shared: Path) -> Path:
    """A cluster's folder as initdb leaves it, made once below `shared`."""
    cluster = temporary_cluster(shared / "postgres-template")
    with (shared / "postgres-template.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not cluster.initialised:
            cluster.initialise()
    return cluster.folder

"""Databases of tests: made in milliseconds, with a service's schema in them where a test wants one."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import asyncpg

from services.local.database_urls import with_user
from services.local.embedded.postgres import PostgresCluster
from services.mesh.database.provision import role_of
from services.mesh.database.setup import set_up

_SECRET = "secret-of-a-template"


class Databases:
    """Makes and drops databases of one cluster, from fixtures that are no coroutines.

    A service's migrations run once, in a database that each of its tests then gets a copy of: they took longer than
    most tests. What belongs to a database but is not in it (grants on it, settings of roles in it) is not copied: a
    test calls `set_up` as ever, which finds the schema there and mends the rest.
    """

    def __init__(self, cluster: PostgresCluster) -> None:
        self._cluster = cluster
        self._numbers = itertools.count(1)
        self._templates: dict[str, str] = {}

    @contextmanager
    def one(self, service: str | None = None) -> Iterator[str]:
        """The superuser's DSN of a new database, empty or with the service's schema; dropped afterwards."""
        name = f"test_{next(self._numbers)}"
        self._create(name, None if service is None else self._template(service))
        yield self._cluster.url(name)
        self._run(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def _template(self, service: str) -> str:
        if service not in self._templates:
            name = f"template_{service}"
            self._create(name, None)
            owner = self._cluster.url(name)
            _done(_set_up(service, owner))
            self._templates[service] = name
        return self._templates[service]

    def _create(self, name: str, template: str | None) -> None:
        copied = "" if template is None else f"TEMPLATE {template}"
        # Copying the files takes half as long as writing their pages to the log.
        self._run(f"CREATE DATABASE {name} {copied} STRATEGY FILE_COPY")

    def _run(self, sql: str) -> None:
        _done(_execute(self._cluster.url(), sql))


def _done(work: Coroutine[Any, Any, None]) -> None:
    """Runs it on a loop of its own; with a factory, a runner leaves the thread's current loop as it is."""
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        runner.run(work)


async def _set_up(service: str, owner: str) -> None:
    await set_up({service: with_user(owner, role_of(service), _SECRET)}, owner, (service,))


async def _execute(url: str, sql: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(sql)
    finally:
        await connection.close()

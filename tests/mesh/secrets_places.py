"""Where a mesh leaves texts: logs, databases, event streams, spans, command lines, what workers keep on disk."""

from __future__ import annotations

import http.server
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import redis.asyncio

from services.local.data_folder import DataFolder
from services.local.secrets import load_or_make_secrets
from services.local.testing import LocalMesh
from tests.observe.collector import body_of

Place = tuple[str, bytes]
REDISES = ("redis-state", "redis-cache")


@contextmanager
def collector() -> Iterator[tuple[str, list[bytes]]]:
    """A collector of spans: its address, and the bodies that it was sent."""
    bodies: list[bytes] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(body_of(self))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_arguments: object) -> None:
            """Says nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", bodies
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def logs(mesh: LocalMesh) -> Iterator[Place]:
    """What every process printed."""
    for file in sorted((mesh.data / "logs").rglob("*")):
        if file.is_file():
            yield f"the log {file.name}", file.read_bytes()


def kept_by_workers(mesh: LocalMesh) -> Iterator[Place]:
    """Journals and what else workers keep on disk."""
    for file in sorted((mesh.data / "workers").rglob("*")):
        if file.is_file():
            yield f"the file {file.name} of a worker", file.read_bytes()


def command_lines(mesh: LocalMesh) -> Iterator[Place]:
    """What others on the machine see of the processes."""
    for name, process in mesh.processes().items():
        yield f"the command line of {name}", Path(f"/proc/{process['pid']}/cmdline").read_bytes()


async def database(mesh: LocalMesh) -> AsyncIterator[Place]:
    """Every row of every table as text."""
    connection = await asyncpg.connect(mesh.database_url())
    try:
        tables = await connection.fetch(
            "SELECT n.nspname::text AS schema, c.relname::text AS name FROM pg_class c "
            "JOIN pg_namespace n ON n.oid = c.relnamespace "
            "WHERE c.relkind IN ('r', 'p', 'm') AND n.nspname NOT IN ('pg_catalog', 'information_schema')"
        )
        for table in tables:
            rows = await connection.fetch(f'SELECT t::text AS line FROM "{table["schema"]}"."{table["name"]}" t')
            yield f"the table {table['schema']}.{table['name']}", "\n".join(row["line"] for row in rows).encode()
    finally:
        await connection.close()


async def bytes_in_database(mesh: LocalMesh) -> AsyncIterator[Place]:
    """Events as they wait in the outboxes: their texts are readable only as bytes."""
    connection = await asyncpg.connect(mesh.database_url())
    try:
        for schema in ("auth", "prompts", "moderation", "inference"):
            rows = await connection.fetch(f'SELECT envelope FROM "{schema}".outbox')
            yield f"the events of {schema}", b"\n".join(bytes(row["envelope"]) for row in rows)
    finally:
        await connection.close()


async def redis_keys(mesh: LocalMesh) -> AsyncIterator[Place]:
    """Every key of both Redis, streams of events among them."""
    secrets = load_or_make_secrets(DataFolder(mesh.data))
    passwords = (secrets.redis_password, secrets.redis_cache_password)
    for name, password in zip(REDISES, passwords, strict=True):
        port = mesh.processes()[name]["port"]
        client = redis.asyncio.Redis(host="127.0.0.1", port=port, password=password)
        try:
            async for key in client.scan_iter():
                yield f"the key {key!r} of {name}", key + b"\n" + await _value(client, key)
        finally:
            await client.aclose()


async def _value(client: redis.asyncio.Redis, key: bytes) -> bytes:
    kind = await client.type(key)
    commands = {
        b"string": ("GET", key),
        b"hash": ("HGETALL", key),
        b"list": ("LRANGE", key, 0, -1),
        b"set": ("SMEMBERS", key),
        b"zset": ("ZRANGE", key, 0, -1),
        b"stream": ("XRANGE", key, "-", "+"),
    }
    if kind not in commands:  # it ended meanwhile
        return b""
    return b"\n".join(_flat(await client.execute_command(*commands[kind])))  # type: ignore[no-untyped-call]


def _flat(value: object) -> Iterator[bytes]:
    if isinstance(value, bytes):
        yield value
    elif isinstance(value, dict):
        for pair in value.items():
            yield from _flat(pair)
    elif isinstance(value, list | tuple | set):
        for one in value:
            yield from _flat(one)

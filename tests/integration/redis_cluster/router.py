"""What stands between the mesh, whose clients know one address, and a Redis Cluster: as a proxy of one does, it sends
each command to the node that has its first key, goes where that says that the slot is by now, and answers what it said.
Keys of several slots a node refuses."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from redis.crc import key_slot

from tests.integration.redis_cluster.cluster import Cluster

_TO_ALL = {b"SCRIPT", b"FLUSHALL"}
_TO_ANY = {b"PING", b"CLIENT", b"SELECT", b"INFO", b"TIME", b"CONFIG", b"COMMAND", b"ECHO"}
_SECOND = {b"XGROUP", b"XINFO"}
_SCRIPTED = {b"EVAL", b"EVALSHA"}
_REFUSALS = (b"-CROSSSLOT", b"-MOVED", b"-ASK", b"-ERR Script attempted", b"-CLUSTERDOWN")
Reader = asyncio.StreamReader


@dataclass
class Router:
    """What went through. refused: answers by which a cluster says that a command is not of one node."""

    cluster: Cluster
    port: int = 0
    commands: Counter[str] = field(default_factory=Counter)
    scripts: set[str] = field(default_factory=set)
    nodes: Counter[int] = field(default_factory=Counter)
    refused: list[tuple[list[bytes], bytes]] = field(default_factory=list)
    moved: dict[int, int] = field(default_factory=dict)  # slots that nodes said are elsewhere, and where

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    async def serve(self, reader: Reader, writer: asyncio.StreamWriter) -> None:
        """One client. Its commands are answered one after the other, as Redis does."""
        nodes: dict[int, tuple[Reader, asyncio.StreamWriter]] = {}
        try:
            while True:
                command = await _command(reader)
                for answer in await self._answers(nodes, command):
                    last = answer
                if last.startswith(_REFUSALS):
                    self.refused.append((command, last))
                writer.write(last)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            for _, one in [*nodes.values(), (reader, writer)]:
                one.close()

    async def _answers(
        self, nodes: dict[int, tuple[Reader, asyncio.StreamWriter]], command: list[bytes]
    ) -> list[bytes]:
        name = command[0].upper()
        self.commands[name.decode()] += 1
        if name in _SCRIPTED:
            self.scripts.add(command[1].decode())
        if name in _TO_ALL:
            ports = self.cluster.ports
        elif name in _TO_ANY:
            ports = self.cluster.ports[:1]
        else:
            slot = key_slot(_first_key(name, command))
            ports = (self.moved.get(slot) or self.cluster.port_of(slot),)
            self.nodes[ports[0]] += 1
        answers = [await self._asked(nodes, port, command) for port in ports]
        if answers[0].startswith(b"-MOVED "):
            _, told_slot, address = answers[0].split()
            self.moved[int(told_slot)] = port = int(address.rpartition(b":")[2])
            answers = [await self._asked(nodes, port, command)]
        return answers

    async def _asked(
        self, nodes: dict[int, tuple[Reader, asyncio.StreamWriter]], port: int, command: list[bytes]
    ) -> bytes:
        if port not in nodes:
            nodes[port] = await asyncio.open_connection("127.0.0.1", port, limit=2**26)
        reader, writer = nodes[port]
        writer.write(b"*%d\r\n" % len(command) + b"".join(b"$%d\r\n%b\r\n" % (len(one), one) for one in command))
        return await _reply(reader)


def _first_key(name: bytes, command: list[bytes]) -> bytes:
    if name in _SCRIPTED:
        return command[3]
    if name in (b"XREADGROUP", b"XREAD"):
        return command[[one.upper() for one in command].index(b"STREAMS") + 1]
    return command[2 if name in _SECOND else 1]


async def _command(reader: Reader) -> list[bytes]:
    count = int((await reader.readuntil(b"\r\n"))[1:])
    found = []
    for _ in range(count):
        size = int((await reader.readuntil(b"\r\n"))[1:])
        found.append((await reader.readexactly(size + 2))[:-2])
    return found


async def _reply(reader: Reader) -> bytes:
    """An answer as it is on the wire (RESP2)."""
    line = await reader.readuntil(b"\r\n")
    count = int(line[1:]) if line[:1] in b"$*" else 0
    if line[:1] == b"$" and count >= 0:
        return line + await reader.readexactly(count + 2)
    return line + b"".join([await _reply(reader) for _ in range(count)]) if line[:1] == b"*" else line


@asynccontextmanager
async def routing(cluster: Cluster) -> AsyncIterator[Router]:
    """A router that listens on a port of its own."""
    router = Router(cluster)
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: Reader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        with suppress(asyncio.CancelledError):
            await router.serve(reader, writer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=2**26)
    router.port = server.sockets[0].getsockname()[1]
    try:
        yield router
    finally:
        server.close()
        for task in tasks.copy():
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

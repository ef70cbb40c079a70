"""TCP relays in a process of their own: each link between two parts of the mesh is a port, which can be cut.

    relays = await Relays.start(folder, {"prompts-0>postgres": "postgres", …})     # link → port name, or "host:port"
    relays.ports["prompts-0>postgres"]
    await relays.set("prompts-0>postgres", "hole")

What a link does (`MODES`): `open` · `refuse`: nobody listens, and connections are reset · `hole`: connections stay,
and nothing passes until it heals, as where a cable is out and TCP sends again later · `hole_there`, `hole_back`: the
same in one direction · `slow`: each piece takes SLOW_S longer. A connection to what does not run is reset.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from services.local.ports import LOOPBACK, free_ports

MODES = ("open", "refuse", "hole", "hole_there", "hole_back", "slow")
SLOW_S = 0.25
PATIENCE_S = 30.0
_PIECE_BYTES = 65536
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER with no time: close() sends RST
_ROOT = Path(__file__).resolve().parents[2]


class Relays:
    """The process, as seen by who cuts."""

    def __init__(self, process: asyncio.subprocess.Process, ports: Mapping[str, int]) -> None:
        self._process = process
        self._turn = asyncio.Lock()
        self.ports = ports

    @classmethod
    async def start(cls, data: Path, links: Mapping[str, str]) -> Relays:
        """Opens all links. data: of the mesh, whose `ports.json` says where a port name leads, at each connection."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.chaos.relays", str(data), json.dumps(links),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, cwd=_ROOT,
            start_new_session=True,  # Ctrl-C is for who cuts: a mesh ends in order while it can reach its parts
        )  # fmt: skip
        assert process.stdout is not None
        async with asyncio.timeout(PATIENCE_S):
            said = await process.stdout.readline()
        if not said:
            raise RuntimeError("the relays did not start; what they say is on stderr")
        return cls(process, json.loads(said))

    async def set(self, link: str, mode: str) -> None:
        """From now on the link is so."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        async with self._turn:
            self._process.stdin.write(f"{link} {mode}\n".encode())
            async with asyncio.timeout(PATIENCE_S):
                answered = await self._process.stdout.readline()
        if answered != b"ok\n":
            raise RuntimeError(f"the relays answered {answered!r} to {link} {mode}")

    async def stop(self) -> None:
        """Ends the process."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()


class _Link:
    def __init__(self, port: int, target: _Target) -> None:
        self.port, self._target = port, target
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._there, self._back = asyncio.Event(), asyncio.Event()
        self._mode = "open"

    async def set(self, mode: str) -> None:
        if mode not in MODES:
            raise ValueError(mode)
        self._mode = mode
        if mode == "refuse":
            if self._server is not None:
                self._server.close()
                self._server = None
            for writer in list(self._writers):
                _reset(writer)
        elif self._server is None:
            self._server = await asyncio.start_server(self._serve, LOOPBACK, self.port, backlog=512)
        for gate, closed in ((self._there, ("hole", "hole_there")), (self._back, ("hole", "hole_back"))):
            if mode in closed:
                gate.clear()
            else:
                gate.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers = [writer]
        self._writers.add(writer)
        pumps: list[asyncio.Task[None]] = []
        try:
            await self._there.wait()
            answers, asks = await asyncio.open_connection(*self._target.address())
            writers.append(asks)
            self._writers.add(asks)
            if self._mode != "refuse":
                pumps = [
                    asyncio.create_task(self._pump(reader, asks, self._there)),
                    asyncio.create_task(self._pump(answers, writer, self._back)),
                ]
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        except (OSError, LookupError):
            pass  # what it leads to does not run
        finally:
            for one in pumps:
                one.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            for each in writers:
                self._writers.discard(each)
                _reset(each)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, gate: asyncio.Event) -> None:
        """Until one end closes: then the other is closed too, after what was on its way."""
        while piece := await reader.read(_PIECE_BYTES):
            if self._mode == "slow":
                await asyncio.sleep(SLOW_S)
            await gate.wait()
            if writer.is_closing():
                return
            writer.write(piece)
            await writer.drain()
        await gate.wait()
        writer.close()


class _Target:
    def __init__(self, data: Path, name: str) -> None:
        self._ports, self._name = data / "ports.json", name

    def address(self) -> tuple[str, int]:
        host, _, port = self._name.rpartition(":")
        return (host, int(port)) if host else (LOOPBACK, int(json.loads(self._ports.read_text())[self._name]))


def _reset(writer: asyncio.StreamWriter) -> None:
    """A reset, unless it was closed in order before."""
    if writer.is_closing():
        return
    sock = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()


async def _run(data: Path, links: Mapping[str, str]) -> None:
    opened = await _open(data, links)
    sys.stdout.write(json.dumps({name: one.port for name, one in opened.items()}) + "\n")
    sys.stdout.flush()
    async for line in _lines():
        name, mode = line.split()
        await opened[name].set(mode)
        sys.stdout.write("ok\n")
        sys.stdout.flush()


async def _open(data: Path, links: Mapping[str, str]) -> dict[str, _Link]:
    opened = {}
    names: Iterable[tuple[tuple[str, str], int]] = zip(links.items(), free_ports(len(links)), strict=True)
    for (name, target), port in names:
        opened[name] = _Link(port, _Target(data, target))
        await opened[name].set("open")
    return opened


async def _lines() -> Any:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        yield line.decode()


if __name__ == "__main__":
    import uvloop

    uvloop.run(_run(Path(sys.argv[1]), json.loads(sys.argv[2])))

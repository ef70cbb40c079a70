"""What chaos strikes with does what it says: relays, disks, clocks."""

from __future__ import annotations

import asyncio
import errno
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.chaos.clocks import Clocks
from tests.chaos.disks import Disks, can_mount
from tests.chaos.relays import Relays

PATIENCE_S = 30.0


@asynccontextmanager
async def echo_over_a_link(folder: Path) -> AsyncIterator[Relays]:
    """A server that answers what it is sent, and a link to it, `a>b`."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await reader.read(1000):
            writer.write(piece)
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    relays = await Relays.start(folder, {"a>b": f"127.0.0.1:{server.sockets[0].getsockname()[1]}"})
    try:
        yield relays
    finally:
        await relays.stop()
        server.close()


async def connect(relays: Relays) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", relays.ports["a>b"])


async def said_back(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, text: bytes) -> bool:
    """Whether an answer came; nothing does over a link that is a hole."""
    writer.write(text)
    try:
        async with asyncio.timeout(0.5):
            return await reader.readexactly(len(text)) == text
    except TimeoutError:
        return False


@pytest.mark.parametrize("mode", ["hole", "hole_there", "hole_back"])
async def test_over_a_hole_nothing_passes_and_all_arrives_when_it_heals(tmp_path: Path, mode: str) -> None:
    async with echo_over_a_link(tmp_path) as relays, asyncio.timeout(PATIENCE_S):
        reader, writer = await connect(relays)
        writer.write(b"before")
        assert await reader.readexactly(6) == b"before"
        await relays.set("a>b", mode)
        assert not await said_back(reader, writer, b"meanwhile")
        late_reader, late_writer = await connect(relays)  # lets in, and answers nothing
        assert not await said_back(late_reader, late_writer, b"late")
        await relays.set("a>b", "open")
        assert await reader.readexactly(9) == b"meanwhile"
        assert await late_reader.readexactly(4) == b"late"
        for one in (writer, late_writer):
            one.close()


async def test_a_link_that_refuses_resets_and_lets_nobody_in(tmp_path: Path) -> None:
    async with echo_over_a_link(tmp_path) as relays, asyncio.timeout(PATIENCE_S):
        reader, writer = await connect(relays)
        writer.write(b"before")
        assert await reader.readexactly(6) == b"before"
        await relays.set("a>b", "refuse")
        with pytest.raises(ConnectionResetError):
            await reader.read(1)
        with pytest.raises(ConnectionRefusedError):
            await connect(relays)
        await relays.set("a>b", "open")
        reader, writer = await connect(relays)
        writer.write(b"after")
        assert await reader.readexactly(5) == b"after"
        writer.close()


async def test_a_slow_link_passes_all(tmp_path: Path) -> None:
    async with echo_over_a_link(tmp_path) as relays, asyncio.timeout(PATIENCE_S):
        await relays.set("a>b", "slow")
        reader, writer = await connect(relays)
        writer.write(b"slowly")
        assert await reader.readexactly(6) == b"slowly"
        writer.close()
        assert await reader.read() == b""


@pytest.mark.skipif(not can_mount(), reason="no file system can be mounted here (it takes root)")
def test_a_full_disk_takes_not_a_page_more_and_is_free_again(tmp_path: Path) -> None:
    disks = Disks(tmp_path)
    try:
        places = {"data": tmp_path, "journal": tmp_path / "workers", "postgres": tmp_path / "postgres"}
        for name, place in places.items():
            (place / "file").write_bytes(b"x" * 10_000)
            disks.fill(name)
            with pytest.raises(OSError) as caught:
                (place / "file").write_bytes(b"x" * 100_000)
            assert caught.value.errno == errno.ENOSPC
            for other in places.keys() - {name}:
                (places[other] / "other").write_bytes(b"x" * 100_000)
            disks.free(name)
            (place / "file").write_bytes(b"x" * 100_000)
        assert (tmp_path / "postgres" / "PG_VERSION").exists()
    finally:
        disks.unmount()
    assert not (tmp_path / "workers").exists()


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
def test_the_wall_clock_of_one_process_jumps_and_its_monotonic_one_does_not(tmp_path: Path) -> None:
    clocks = Clocks(tmp_path / "clocks")
    program = (
        "import sys, time, datetime\n"
        "for line in sys.stdin:\n"
        "    print(time.time() - float(line), datetime.datetime.now().timestamp() - float(line), flush=True)\n"
        "    before = time.monotonic(); time.sleep(0.01); assert 0.01 <= time.monotonic() - before\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program],
        env=clocks.environment("one"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for ahead_s in (0.0, 900.0, -180.5, 0.0):
            clocks.set("one", ahead_s)
            process.stdin.write("0\n")
            process.stdin.flush()
            for said in process.stdout.readline().split():
                assert abs(float(said) - time.time() - ahead_s) < PATIENCE_S
        process.stdin.close()
        assert process.wait(PATIENCE_S) == 0

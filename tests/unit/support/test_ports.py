"""Ports where nobody answers, each in its own way."""

from __future__ import annotations

import asyncio
import socket

import pytest

from tests.support.provider import dead_port, full_port, mute_port
from tests.unit.support.wire import QUIET_S


async def test_a_dead_port_refuses_and_is_kept() -> None:
    with dead_port() as port:
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind(("127.0.0.1", port))


async def test_a_full_port_neither_takes_nor_refuses() -> None:
    with full_port() as port, pytest.raises(TimeoutError):
        async with asyncio.timeout(QUIET_S):
            await asyncio.open_connection("127.0.0.1", port)


async def test_a_mute_port_takes_connections_and_says_nothing() -> None:
    with mute_port() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(QUIET_S):
                await reader.read(1)
        writer.close()

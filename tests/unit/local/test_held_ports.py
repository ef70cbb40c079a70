"""Ports that nobody may have while no process of the mesh does."""

from __future__ import annotations

import asyncio
import socket

import grpc
import pytest

from services.local.held_ports import HeldPorts
from services.local.ports import free_ports, is_free


@pytest.fixture
def held() -> HeldPorts:
    return HeldPorts()


def test_a_held_port_is_nobodys_and_refuses_who_connects(held: HeldPorts) -> None:
    ports = free_ports(3)
    assert held.hold(ports) == []
    assert held.hold(ports) == [], "again is no error"
    assert not any(is_free(port) for port in ports)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", ports[0]))
    held.release(ports[:1])
    assert [is_free(port) for port in ports] == [True, False, False]
    held.release_all()
    assert all(is_free(port) for port in ports)


@pytest.mark.parametrize("option", [socket.SO_REUSEADDR, socket.SO_REUSEPORT])
def test_no_option_gets_a_held_port(held: HeldPorts, option: int) -> None:
    (port,) = free_ports(1)
    held.hold([port])
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, option, 1)
        with pytest.raises(OSError, match="in use"):
            other.bind(("127.0.0.1", port))
    held.release_all()


def test_a_port_of_another_program_is_told(held: HeldPorts) -> None:
    mine, others = free_ports(2)
    with socket.create_server(("127.0.0.1", others)):
        assert held.hold([others, mine]) == [others]
    assert not is_free(mine)
    other = HeldPorts()
    assert other.hold([mine]) == [mine], "two meshes never hold the same"
    held.release_all()


def test_a_port_whose_connections_are_closing_still_is_held(held: HeldPorts) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client:
            accepted, _ = server.accept()
            accepted.close()  # the server first: TIME_WAIT is on its side
            assert client.recv(1) == b""
    assert held.hold([port]) == []
    assert not is_free(port)
    held.release_all()


async def test_grpc_listens_once_it_is_released(held: HeldPorts) -> None:
    (port,) = free_ports(1)
    held.hold([port])
    held.release([port])
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    assert server.add_insecure_port(f"127.0.0.1:{port}") == port
    await server.start()
    try:
        assert await asyncio.to_thread(held.hold, [port]) == [port]
    finally:
        await server.stop(None)

"""Who calls a process has a connection to the next one before it goes."""

from __future__ import annotations

import os
import socket

import grpc

from services.local.held_ports import HeldPorts
from services.local.peers import not_connected, ports_connected_to
from services.local.ports import free_ports
from services.mesh.client import service_config

OLD, NEW = 10, 12


async def test_a_peer_is_waited_for_until_it_has_a_connection_to_the_new_one() -> None:
    seen = [{OLD}, {OLD, 99}, {OLD, NEW}]
    assert await not_connected({"prompts-0": 1}, OLD, NEW, 60.0, lambda _: seen.pop(0)) == []
    assert seen == []


async def test_who_does_not_call_the_old_one_is_not_waited_for() -> None:
    assert await not_connected({"prompts-0": 1, "edge": 2}, OLD, NEW, 60.0, lambda _: {99}) == []


async def test_one_that_never_connects_is_named() -> None:
    ports = {1: {OLD}, 2: {OLD, NEW}}
    assert await not_connected({"prompts-0": 1, "auth-0": 2}, OLD, NEW, 0.0, lambda pid: ports[pid]) == ["prompts-0"]


def test_connections_of_a_process_are_seen() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert port not in ports_connected_to(os.getpid()), "to listen is no connection"
        with socket.create_connection(("127.0.0.1", port)):
            assert port in ports_connected_to(os.getpid())


async def listening(port: int = 0) -> tuple[grpc.aio.Server, int]:
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    port = server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    return server, port


async def test_a_channel_finds_who_listens_on_a_port_that_was_held() -> None:
    """As between services: the next process starts beside the old one, which then goes."""
    held = HeldPorts()
    (spare,) = free_ports(1)
    held.hold([spare])
    old, port = await listening()
    options = [("grpc.service_config", service_config()), ("grpc.max_reconnect_backoff_ms", 100)]
    target = f"ipv4:127.0.0.1:{port},127.0.0.1:{spare}"
    async with grpc.aio.insecure_channel(target, options=options) as channel:
        await channel.channel_ready()
        pids = {"prompts-0": os.getpid()}
        assert await not_connected(pids, port, spare, 0.0) == ["prompts-0"], "a held port takes no connection"
        held.release([spare])
        new, _ = await listening(spare)
        assert await not_connected(pids, port, spare, 60.0) == []
        await old.stop(None)
        await channel.channel_ready()
    await new.stop(None)


async def test_a_stand_in_is_called_only_when_the_first_one_ends() -> None:
    """As between services with one worker each: an idle channel tries no port where nobody listens."""
    (old, port), (new, spare) = await listening(), await listening()
    options = [("grpc.service_config", service_config("pick_first")), ("grpc.max_reconnect_backoff_ms", 100)]
    async with grpc.aio.insecure_channel(f"ipv4:127.0.0.1:{port},127.0.0.1:{spare}", options=options) as channel:
        await channel.channel_ready()
        assert ports_connected_to(os.getpid()) & {port, spare} == {port}
        await old.stop(None)
        await channel.channel_ready()
        assert spare in ports_connected_to(os.getpid())
    await new.stop(None)


def test_a_process_that_is_gone_has_none() -> None:
    assert ports_connected_to(2**22 + 1) == frozenset()

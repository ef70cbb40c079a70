"""Who calls a process has a connection to the next one before it goes."""

from __future__ import annotations

import os
import socket

from services.local.peers import not_connected, ports_connected_to

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


def test_a_process_that_is_gone_has_none() -> None:
    assert ports_connected_to(2**22 + 1) == frozenset()

"""A real Redis Cluster on this machine: three nodes that share the slots, made without redis-cli."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import redis

from services.local.embedded.binaries import redis_server

SLOTS = 16384
NODES = 3
PATIENCE_S = 60.0
BUS_OFFSET = 10_000  # where nodes talk to each other: a port that far above their own


@dataclass(frozen=True)
class Cluster:
    """Ports of the nodes on 127.0.0.1; node i has the slots of `share(i)`."""

    ports: tuple[int, ...]

    def move_slot(self, slot: int) -> None:
        """Gives a slot and its keys to the next node, as `redis-cli --cluster reshard` does."""
        clients = [redis.Redis(port=port) for port in self.ports]
        owner = next(index for index in range(NODES) if slot in share(index))
        target = (owner + 1) % NODES
        ids = [one.execute_command("CLUSTER", "MYID").decode() for one in clients]
        clients[target].execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[owner])
        clients[owner].execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[target])
        while keys := clients[owner].execute_command("CLUSTER", "GETKEYSINSLOT", slot, 100):
            port = self.ports[target]
            clients[owner].execute_command("MIGRATE", "127.0.0.1", port, "", 0, 5000, "KEYS", *keys)
        for index in (target, owner, 3 - target - owner):
            clients[index].execute_command("CLUSTER", "SETSLOT", slot, "NODE", ids[target])
        for one in clients:
            one.close()

    def port_of(self, slot: int) -> int:
        """Where a slot is."""
        (found,) = [port for index, port in enumerate(self.ports) if slot in share(index)]
        return found


def share(node: int) -> range:
    """The slots of a node."""
    return range(SLOTS * node // NODES, SLOTS * (node + 1) // NODES)


@contextmanager
def running_cluster(folder: Path) -> Iterator[Cluster]:
    """Three nodes, all slots served. They end with the block."""
    ports = _free_ports()
    with ExitStack() as stack:
        for port in ports:
            own = folder / str(port)
            own.mkdir(parents=True)
            log = stack.enter_context((own / "log").open("w"))
            command = [str(redis_server()), "--port", str(port), "--bind", "127.0.0.1", "--dir", str(own), "--save", ""]
            command += ["--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf", "--daemonize", "no"]
            process = subprocess.Popen(command, stdout=log)
            stack.callback(process.wait, PATIENCE_S)
            stack.callback(process.terminate)
        clients = [stack.enter_context(redis.Redis(port=port, decode_responses=True)) for port in ports]
        _wait(lambda: all(_answers(one) for one in clients), "nodes that answer")
        for index, client in enumerate(clients):
            client.execute_command("CLUSTER", "ADDSLOTS", *share(index))
        for port in ports[1:]:
            clients[0].execute_command("CLUSTER", "MEET", "127.0.0.1", port)
        _wait(lambda: all(_whole(one) for one in clients), "a cluster that is whole")
        yield Cluster(ports)


def _free_ports() -> tuple[int, ...]:
    """Ports whose other one, of the bus, is free too."""
    found: list[int] = []
    with ExitStack() as stack:
        while len(found) < NODES:
            first = stack.enter_context(socket.socket())
            first.bind(("127.0.0.1", 0))
            port = first.getsockname()[1]
            bus = stack.enter_context(socket.socket())
            try:
                if port + BUS_OFFSET < 65_536:
                    bus.bind(("127.0.0.1", port + BUS_OFFSET))
                    found.append(port)
            except OSError:
                continue
    return tuple(found)


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False


def _whole(client: redis.Redis) -> bool:
    told = client.execute_command("CLUSTER", "INFO")
    # redis-py makes a map of it, or leaves the text as it is, by its version.
    lines = told if isinstance(told, dict) else dict(line.split(":", 1) for line in str(told).split())
    return lines["cluster_state"] == "ok" and int(lines["cluster_known_nodes"]) == NODES


def _wait(condition: object, what: str) -> None:
    assert callable(condition)
    ends = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < ends, f"not there in time: {what}"
        time.sleep(0.05)

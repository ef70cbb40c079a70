"""The ports of a mesh: chosen once, kept in the data folder, chosen again where another process has taken one."""

from __future__ import annotations

from collections.abc import Sequence

from services.local.data_folder import DataFolder
from services.local.errors import PlainError
from services.local.files import read_json, write_private_json
from services.local.ports import LOOPBACK_6, free_ports, has_ipv6, is_free
from services.local.settings import DEFAULT_EDGE_PORT

EDGE = "edge"


class PortTakenError(PlainError):
    """The port that was asked for by name is in use."""


def choose_ports(data: DataFolder, names: Sequence[str], edge_port: int | None) -> dict[str, int]:
    """A free port for each name: the kept one where it is still free. `edge_port` is the operator's wish, a must.

    Ports of names that are not asked for (workers of a larger run) are kept for later, and avoided.
    """
    stored = read_json(data.ports) or {}
    kept = {name: port for name, port in stored.items() if isinstance(port, int) and 0 < port < 65536}
    ports = {name: kept[name] for name in names if name in kept and _is_free(name, kept[name])}
    if EDGE in names:
        if edge_port is not None:
            if not _is_free(EDGE, edge_port):
                raise PortTakenError(
                    f"Port {edge_port} is in use by another program. Choose another with --edge-port, or leave the "
                    f"option out and a free one is found. (`ss -ltnp` shows who listens.)"
                )
            ports[EDGE] = edge_port
        elif EDGE not in kept and _is_free(EDGE, DEFAULT_EDGE_PORT):
            ports[EDGE] = DEFAULT_EDGE_PORT
    taken = frozenset(ports.values())
    ports = {name: port for name, port in ports.items() if name == EDGE or port != ports.get(EDGE)}
    missing = [name for name in names if name not in ports]
    found = free_ports(len(missing), avoid=taken | frozenset(kept.values()))
    ports |= dict(zip(missing, found, strict=True))
    if kept | ports != kept:
        write_private_json(data.ports, kept | ports)
    return ports


def _is_free(name: str, port: int) -> bool:
    """The edge listens on both addresses of `localhost`: else that name could lead to another program."""
    return is_free(port) and (name != EDGE or not has_ipv6() or is_free(port, LOOPBACK_6))

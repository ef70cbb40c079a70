"""Where the processes of each service are, in files that the edge reads again whenever one is replaced (EDS).

Who is in the file gets calls once they pass its health check; who is taken out gets nothing new, and ends what is
under way (`gateway/edge.yaml.j2`).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from services.local.edge_admin import ask
from services.local.errors import PlainError
from services.local.files import write_private
from services.local.ports import LOOPBACK

TIMEOUT_S = 20.0  # two health checks of a process, on a machine that does much else
POLL_S = 0.05

Endpoints = Mapping[str, Sequence[int]]
"""Cluster → ports on this machine."""


class EdgeDeafError(PlainError):
    """An edge did not take what it was told in time."""


def write_endpoints(folder: Path, endpoints: Endpoints) -> None:
    """Replaces the file of each cluster, or on a full disk none. Raises OSError."""
    folder.mkdir(mode=0o700, exist_ok=True)
    for cluster, ports in endpoints.items():
        write_private(folder / f"{cluster}.next", json.dumps(_discovered(cluster, ports)) + "\n", durable=False)
    for cluster in endpoints:
        (folder / f"{cluster}.next").replace(folder / f"{cluster}.json")


async def until_taken(
    admin_port: int, endpoints: Endpoints, fresh: Collection[int], timeout_s: float = TIMEOUT_S
) -> None:
    """Waits until the edge with this administration sends calls to just these, and found the `fresh` ones healthy.
    Raises EdgeDeafError.

    An edge that nobody reaches has died, and reads the files when it is started again. One that is too busy to answer a
    question is asked again.
    """
    try:
        async with asyncio.timeout(timeout_s):
            while not await asyncio.to_thread(_taken_or_dead, admin_port, endpoints, fresh):  # noqa: ASYNC110 -- nobody tells
                await asyncio.sleep(POLL_S)
    except TimeoutError as error:
        raise EdgeDeafError(
            f"After {timeout_s:.0f} s the edge still does not send calls to {dict(endpoints)} alone. Its log says "
            f"why, if it could not read the files or what listens there fails its health check."
        ) from error


def _taken_or_dead(admin_port: int, endpoints: Endpoints, fresh: Collection[int]) -> bool:
    try:
        return taken(ask(admin_port, "GET", "/clusters"), endpoints, fresh)
    except (ConnectionRefusedError, FileNotFoundError):
        return True
    except OSError:  # among them the end of one question's time
        return False


def taken(clusters: str, endpoints: Endpoints, fresh: Collection[int]) -> bool:
    """Reads `auth::127.0.0.1:20001::health_flags::healthy`."""
    found: dict[str, dict[int, str]] = {cluster: {} for cluster in endpoints}
    for line in clusters.splitlines():
        cluster, _, rest = line.partition("::")
        place, _, rest = rest.partition("::")
        key, _, value = rest.partition("::")
        if key == "health_flags" and cluster in found:
            found[cluster][int(place.rpartition(":")[2])] = value
    return all(found[cluster].keys() == set(ports) for cluster, ports in endpoints.items()) and all(
        health == "healthy" for places in found.values() for port, health in places.items() if port in fresh
    )


def _discovered(cluster: str, ports: Sequence[int]) -> dict[str, object]:
    """Envoy's DiscoveryResponse of one cluster."""
    places = [
        {"endpoint": {"address": {"socket_address": {"address": LOOPBACK, "port_value": port}}}} for port in ports
    ]
    assignment = {
        "@type": "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
        "cluster_name": cluster,
        "endpoints": [{"lb_endpoints": places}],
    }
    return {"version_info": "1", "resources": [assignment]}

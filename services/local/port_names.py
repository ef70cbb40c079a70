"""The ports of a mesh by their names, two of each where a restart needs a second process beside the first.

`auth-0` has the ports `auth-0` and `auth-0-metrics`, and `auth-0-spare` and `auth-0-spare-metrics` for the process that
takes its place: peers and the edge know both from the beginning. With the next restart the two change places again.
While nobody listens on the spare ones, the supervisor holds them (`held_ports.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from services.local.observe import specs as observe
from services.local.port_book import EDGE
from services.local.settings import SERVICES, MeshSettings
from services.local.specs import ProcessSpec
from services.local.state import ProcessState

POSTGRES, REDIS_STATE, REDIS_CACHE = "postgres", "redis-state", "redis-cache"
EDGE_ADMIN = "edge-admin"
MAIL = "mail"
SPARE = "spare"
SMTP_HOST = "PROMPTMESH_SMTP_HOST"
PLAIN_HTTP = ("inference",)  # services with methods of raw bodies


def port_names(settings: MeshSettings) -> list[str]:
    """The names of the ports that a plan needs."""
    names = [EDGE, EDGE_ADMIN, f"{EDGE_ADMIN}-{SPARE}"]
    names += [observe.PROMETHEUS, observe.PAGE] if settings.observe else []
    names += [MAIL] if catches_mail(settings) else []
    names += [] if settings.database_url else [POSTGRES]
    names += [] if settings.redis_url else [REDIS_STATE]
    names += [] if settings.redis_cache_url else [REDIS_CACHE]
    for service in SERVICES:
        for worker in workers_of(service, settings):
            names += [worker, *(f"{worker}-{use}" for use in uses_of(service))]
    return names


def uses_of(service: str) -> tuple[str, ...]:
    """What a worker has ports for beside gRPC; `spare` is gRPC of who takes its place."""
    own = ("metrics", "http") if service in PLAIN_HTTP else ("metrics",)
    return (*own, SPARE, *(f"{SPARE}-{use}" for use in own))


def workers_of(service: str, settings: MeshSettings) -> list[str]:
    """The names of a service's processes."""
    return [f"{service}-{index}" for index in range(settings.workers)]


def catches_mail(settings: MeshSettings) -> bool:
    """Unless the operator's environment names a server that mail goes to."""
    return SMTP_HOST not in settings.shared_environment


def listens_on(spec: ProcessSpec) -> frozenset[int]:
    """The ports that a process itself has."""
    return frozenset({spec.port, *(port for use, port in spec.more_ports.items() if SPARE not in use)})


def spare_ports(spec: ProcessSpec) -> frozenset[int]:
    """The ports of who takes its place, where others try them: the edge's are known to nobody before."""
    if spec.service is None:
        return frozenset()
    return frozenset(port for use, port in spec.more_ports.items() if SPARE in use)


def ports_of(processes: Sequence[ProcessState]) -> dict[str, int]:
    """The ports, by the names of `port_names`, of a mesh that runs."""
    ports: dict[str, int] = {}
    for one in processes:
        ports[one.name] = one.port
        ports |= {f"{one.name}-{use}": port for use, port in one.more_ports.items()}
    return ports


def turned(ports: Mapping[str, int], processes: Iterable[str]) -> dict[str, int]:
    """The ports when these processes listen on their spare ones; what were their own are spare then."""
    result = dict(ports)
    for process in processes:
        base = EDGE_ADMIN if process == EDGE else process
        spare = f"{base}-{SPARE}"
        for name in ports:
            if name == spare or name.startswith(f"{spare}-"):
                own = base + name.removeprefix(spare)
                result[own], result[name] = ports[name], ports[own]
    return result

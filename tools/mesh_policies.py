"""Writes k8s/istio/policies.yaml and traffic.yaml: `python -m tools.mesh_policies`. A test fails while they are others.

Who may call what comes from the contracts' access options and from who calls whom (tools/mesh_clients.py); how often
a call is made again, and how long it may take, from whether it changes something and from the edge's own settings.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml

from gateway.contracts import Contracts, Method, load
from gateway.render import DEADLINE_MARGIN_S
from gateway.routes import COMMON_METHODS, COMMON_SERVICES_AREA
from gateway.settings import AREAS, EdgeSettings
from services.mesh.methods import is_read
from tools.mesh_clients import Client, clients

FOLDER = Path(__file__).resolve().parent.parent / "k8s" / "istio"
NAMESPACE = "promptmesh"
TRUST_DOMAIN = "cluster.local"
GATEWAY = "promptmesh"
GATEWAY_ACCOUNT = "promptmesh-istio"
"""Service account that Istio makes for the Gateway."""
EDGE = "edge"
EDGE_PORT, GRPC_PORT, PLAIN_PORT = 8080, 50051, 8081
HEALTH = "/grpc.health.v1.Health/Check"
PLAIN_HEALTH = "/healthz"
# Asked again by a sidecar, of another pod: a write only if it cannot have arrived. An answer of UNAVAILABLE is its
# caller's to ask again (edge and clients do, reads alone), or each layer would multiply the other's tries.
READ_RETRY_ON = "connect-failure,refused-stream,reset"
WRITE_RETRY_ON = "connect-failure,refused-stream"
HEAD = (
    "# Made by `python -m tools.mesh_policies` from the contracts and from who calls whom in the code. Do not edit.\n"
)

Thing = dict[str, Any]


# Who may call what


def policies(contracts: Contracts, known: Iterable[Client]) -> list[Thing]:
    """Nobody may call anything; then whoever is outside the Gateway; then, for each pair of caller and called, what it
    may."""
    found = [_thing("AuthorizationPolicy", "nobody", {}), _to_the_gateway()]
    found.append(_policy(EDGE, GATEWAY_ACCOUNT, [{"operation": {"ports": [str(EDGE_PORT)]}}]))
    for target in AREAS:
        found.append(_policy(target, EDGE, _of_the_edge(contracts, target)))
        for name in AREAS:
            called = {one.service for one in known if (one.name, one.target) == (name, target)}
            if paths := sorted(
                method.path
                for service in contracts.services
                if service.name in called
                for method in service.methods
                if admits(method, name)
            ):
                found.append(_policy(target, name, [_grpc(paths)]))
    return found


def admits(method: Method, service: str) -> bool:
    """Whether the method's contract names the service, or any, as a caller."""
    return bool({"*", service} & set(method.access.services))


def edge_paths(contracts: Contracts, area: str) -> list[str]:
    """Paths of gRPC that the edge passes on to a service."""
    paths = {
        method.path
        for each in contracts.services
        if each.area == area
        for method in each.methods
        if not method.internal
    }
    paths |= {HEALTH}
    paths |= {path for path, _ in COMMON_METHODS} if area == COMMON_SERVICES_AREA else set()
    return sorted(paths)


def plain_paths(contracts: Contracts, area: str) -> list[str]:
    """Paths of plain HTTP that the edge POSTs to a service."""
    methods = [method for each in contracts.services if each.area == area for method in each.methods]
    return sorted(path for method in methods if (path := method.plain_path))


def _of_the_edge(contracts: Contracts, area: str) -> list[Thing]:
    rules = [_grpc(edge_paths(contracts, area))]
    if plain := plain_paths(contracts, area):
        rules.append({"operation": {"ports": [str(PLAIN_PORT)], "methods": ["POST"], "paths": plain}})
        rules.append({"operation": {"ports": [str(PLAIN_PORT)], "methods": ["GET"], "paths": [PLAIN_HEALTH]}})
    return rules


def _grpc(paths: Sequence[str]) -> Thing:
    return {"operation": {"ports": [str(GRPC_PORT)], "methods": ["POST"], "paths": list(paths)}}


def _to_the_gateway() -> Thing:
    """Anyone, without a certificate: who it is the services find out. `nobody` holds for the Gateway's pods too, which
    Istio makes in this namespace, and no selector of ours can name them; `targetRefs` does.

    Its pods listen on the ports of its listeners themselves (Istio's Service for it has no other targetPort), so these
    are the ports that its proxy sees, as the NetworkPolicy of the Gateway has them.
    """
    spec = {
        "targetRefs": [{"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": GATEWAY}],
        "action": "ALLOW",
        "rules": [{"to": [{"operation": {"ports": [str(port) for port in listener_ports()]}}]}],
    }
    return _thing("AuthorizationPolicy", "gateway-from-outside", spec)


def listener_ports() -> list[int]:
    """Ports on which the Gateway listens, from its manifest."""
    things = yaml.safe_load_all((FOLDER / "gateway.yaml").read_text())
    (gateway,) = [one for one in things if one["kind"] == "Gateway" and one["metadata"]["name"] == GATEWAY]
    return sorted({listener["port"] for listener in gateway["spec"]["listeners"]})


def _policy(target: str, account: str, to: list[Thing]) -> Thing:
    principal = f"{TRUST_DOMAIN}/ns/{NAMESPACE}/sa/{account}"
    spec = {
        "selector": {"matchLabels": {"app.kubernetes.io/name": target}},
        "action": "ALLOW",
        "rules": [{"from": [{"source": {"principals": [principal]}}], "to": to}],
    }
    return _thing("AuthorizationPolicy", f"{target}-from-{'gateway' if account == GATEWAY_ACCOUNT else account}", spec)


# How calls go


def traffic(contracts: Contracts) -> list[Thing]:
    """A VirtualService and a DestinationRule for each service. The edge's limits and times hold here too."""
    clusters = {area: [(_host(area), GRPC_PORT)] for area in AREAS}
    edge = EdgeSettings.model_validate({"edge_port": EDGE_PORT, "admin_port": 9901, "clusters": clusters})
    return [make(contracts, area, edge) for area in AREAS for make in (_virtual_service, _destination_rule)]


def _virtual_service(contracts: Contracts, area: str, edge: EdgeSettings) -> Thing:
    host = _host(area)
    methods = [method for each in contracts.services if each.area == area for method in each.methods]
    groups: dict[tuple[str, str], list[str]] = {}
    for method in methods:
        groups.setdefault((timeout(method, edge), retry_on(method)), []).append(method.path)
    routes = [
        {
            "match": [{"port": GRPC_PORT, "uri": {"exact": path}} for path in sorted(paths)],
            **_route(host, GRPC_PORT, *key),
        }
        for key, paths in sorted(groups.items())
    ]
    # What every service has: health, reflection, and the events that it replays (a read, and a stream).
    routes.append({"match": [{"port": GRPC_PORT}], **_route(host, GRPC_PORT, "", READ_RETRY_ON)})
    if plain_paths(contracts, area):
        routes.append({"match": [{"port": PLAIN_PORT}], **_route(host, PLAIN_PORT, "", WRITE_RETRY_ON)})
    return _thing("VirtualService", area, {"hosts": [host], "exportTo": ["."], "http": routes})


def retry_on(method: Method) -> str:
    """What of a call may be tried again."""
    return READ_RETRY_ON if method.safe or is_read(method.name) else WRITE_RETRY_ON


def timeout(method: Method, edge: EdgeSettings) -> str:
    """How long a call may take; "": as long as its stream lives. Later than the edge, whose answer says why."""
    if method.server_streaming or method.client_streaming:
        return ""
    seconds = edge.answer_idle_timeout_s if method.path in edge.long_methods else edge.unary_timeout_s
    return f"{seconds + DEADLINE_MARGIN_S:g}s"


def _route(host: str, port: int, timeout: str, retry_on: str) -> Thing:
    return {
        "route": [{"destination": {"host": host, "port": {"number": port}}}],
        # Istio's CRD refuses 0s (duration(self) >= duration('1ms')): none is no timeout.
        **({"timeout": timeout} if timeout else {}),
        "retries": {"attempts": 2, "retryOn": retry_on},
    }


def _destination_rule(contracts: Contracts, area: str, edge: EdgeSettings) -> Thing:
    policy = _traffic_policy(edge, connections_max=1024)
    if plain_paths(contracts, area):
        # HTTP/1.1: a connection for each call under way, let go of before the service does (PROMPTMESH_HTTP_IDLE_S).
        plain = _traffic_policy(edge, connections_max=edge.max_requests_per_service)
        plain["connectionPool"]["http"]["idleTimeout"] = "60s"
        plain.pop("retryBudget")
        policy["portLevelSettings"] = [{"port": {"number": PLAIN_PORT}, **plain}]
    return _thing("DestinationRule", area, {"host": _host(area), "exportTo": ["."], "trafficPolicy": policy})


def _traffic_policy(edge: EdgeSettings, connections_max: int) -> Thing:
    return {
        "connectionPool": {
            "tcp": {"maxConnections": connections_max, "connectTimeout": f"{edge.connect_timeout_s:g}s"},
            "http": {"http1MaxPendingRequests": 1024, "http2MaxRequests": edge.max_requests_per_service},
        },
        "loadBalancer": {
            "simple": "LEAST_REQUEST",
            # The zone of the caller first, and others when its pods are ejected or gone.
            "localityLbSetting": {
                "enabled": True,
                "failoverPriority": ["topology.kubernetes.io/region", "topology.kubernetes.io/zone"],
            },
        },
        # As the edge does it: only what is broken on the way ejects a pod. An answer of UNAVAILABLE mostly tells of
        # something behind all of them, and ejecting its messengers mends nothing.
        "outlierDetection": {
            "splitExternalLocalOriginErrors": True,
            "consecutiveLocalOriginFailures": 5,
            "consecutive5xxErrors": 0,
            "consecutiveGatewayErrors": 0,
            "interval": "5s",
            "baseEjectionTime": "5s",
            "maxEjectionPercent": 50,
        },
        "retryBudget": {"percent": 20, "minRetryConcurrency": 3},
    }


def _host(area: str) -> str:
    return f"{area}.{NAMESPACE}.svc.cluster.local"


def _thing(kind: str, name: str, spec: Thing) -> Thing:
    group = "security" if kind == "AuthorizationPolicy" else "networking"
    return {"apiVersion": f"{group}.istio.io/v1", "kind": kind, "metadata": {"name": name}, "spec": spec}


class _Dumper(yaml.SafeDumper):
    """Without anchors: what is alike is written out, since people read it."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def as_yaml(things: Iterable[Thing]) -> str:
    """The documents of a file."""
    return HEAD + yaml.dump_all(things, Dumper=_Dumper, sort_keys=False, width=120)


def files() -> dict[Path, str]:
    """Path → text, as they are now."""
    contracts = load()
    return {
        FOLDER / "policies.yaml": as_yaml(policies(contracts, clients())),
        FOLDER / "traffic.yaml": as_yaml(traffic(contracts)),
    }


if __name__ == "__main__":
    for path, text in files().items():
        path.write_text(text)

"""Real Envoys that enforce the shipped AuthorizationPolicies, as Istio's sidecars do: one in front of each workload.

A policy becomes an RBAC filter in the way that Istio documents and does it: a principal is the certificate's URI with
`spiffe://` before it, a port the one that was connected to, a path the URL's without its query. So that ports are those
of the manifests, each Envoy listens on a loopback address of its own.
"""

from __future__ import annotations

import json
import socket
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from services.local.embedded.binaries import envoy
from tests.k8s.certificates import Identity

TRUST_DOMAIN = "cluster.local"
NAME_LABEL = "app.kubernetes.io/name"
GATEWAY = "Gateway/"
PATIENCE_S = 60.0

Thing = dict[str, Any]


class UntranslatableError(Exception):
    """A policy says what this does not translate: no test may pass because it was left out."""


def policies_for(workload: str, objects: Iterable[Thing]) -> tuple[bool, dict[str, Thing]]:
    """(whether the workload takes nothing that no rule lets through, its rules as policies of the RBAC filter).

    workload: the label `app.kubernetes.io/name` of its pods, or GATEWAY and the name of a Gateway, whose pods have no
    such label.
    """
    closed, rules = False, {}
    for policy in (one for one in objects if one["kind"] == "AuthorizationPolicy"):
        name, spec = policy["metadata"]["name"], policy["spec"]
        unknown = set(spec) - {"selector", "targetRefs", "action", "rules"}
        if unknown or spec.get("action", "ALLOW") != "ALLOW":
            raise UntranslatableError(f"{name}: {unknown or spec['action']}")
        if not _attaches(name, spec, workload):
            continue
        closed = True  # an ALLOW policy that is for a workload closes it to all that no rule lets through
        for index, rule in enumerate(spec.get("rules", [])):
            rules[f"ns[promptmesh]-policy[{name}]-rule[{index}]"] = _rule(name, rule, anyone="targetRefs" in spec)
    return closed, rules


def _attaches(name: str, spec: Thing, workload: str) -> bool:
    """As Istio decides it: by reference where there is one, else by labels; without either it is for the namespace."""
    if "targetRefs" in spec:
        if "selector" in spec:
            raise UntranslatableError(f"{name}: by reference and by labels")
        for reference in spec["targetRefs"]:
            of = {key: value for key, value in reference.items() if key != "name"}
            if of != {"group": "gateway.networking.k8s.io", "kind": "Gateway"}:
                raise UntranslatableError(f"{name}: {reference}")
        return workload in {GATEWAY + reference["name"] for reference in spec["targetRefs"]}
    selector = spec.get("selector", {"matchLabels": {}})
    if set(selector) != {"matchLabels"} or set(selector["matchLabels"]) - {NAME_LABEL}:
        raise UntranslatableError(f"{name}: {selector}")
    return bool(selector["matchLabels"].get(NAME_LABEL, workload) == workload)


def _rule(name: str, rule: Thing, anyone: bool) -> Thing:
    """anyone: whether the rule may leave out from whom; a Gateway's may, and no sidecar's."""
    if not {"to"} <= set(rule) <= {"from", "to"} or ("from" not in rule and not anyone):
        raise UntranslatableError(f"{name}: {set(rule)}")
    callers = (
        {"or_ids": {"ids": [_source(name, one["source"]) for one in rule["from"]]}} if "from" in rule else {"any": True}
    )
    return {
        "principals": [callers],
        "permissions": [{"or_rules": {"rules": [_operation(name, one["operation"]) for one in rule["to"]]}}],
    }


def _source(name: str, source: Thing) -> Thing:
    if set(source) != {"principals"}:
        raise UntranslatableError(f"{name}: {set(source)}")
    ids = [{"authenticated": {"principal_name": _exact(name, f"spiffe://{one}")}} for one in source["principals"]]
    return {"or_ids": {"ids": ids}}


def _operation(name: str, operation: Thing) -> Thing:
    if unknown := set(operation) - {"ports", "methods", "paths"}:
        raise UntranslatableError(f"{name}: {unknown}")
    every: list[Thing] = [{"or_rules": {"rules": [{"destination_port": int(port)} for port in operation["ports"]]}}]
    if methods := operation.get("methods"):
        headers = [{"header": {"name": ":method", "string_match": _exact(name, one)}} for one in methods]
        every.append({"or_rules": {"rules": headers}})
    if paths := operation.get("paths"):
        every.append({"or_rules": {"rules": [{"url_path": {"path": _exact(name, one)}} for one in paths]}})
    return {"and_rules": {"rules": every}}


def _exact(name: str, value: str) -> Thing:
    if "*" in value or "{" in value:
        raise UntranslatableError(f"{name}: {value} is a pattern")
    return {"exact": value}


def configuration(
    address: str, ports: Mapping[int, tuple[int, bool]], identity: Identity, closed: bool, rules: Thing
) -> Thing:
    """Of one sidecar. ports: that it listens on → where its process listens on 127.0.0.1, and whether as HTTP/2."""
    listeners, clusters = [], []
    for port, (upstream, http2) in ports.items():
        listeners.append(_listener(address, port, identity, closed, rules))
        clusters.append(_cluster(port, upstream, http2))
    return {"static_resources": {"listeners": listeners, "clusters": clusters}}


def _listener(address: str, port: int, identity: Identity, closed: bool, rules: Thing) -> Thing:
    filters = [typed("envoy.filters.http.router", "filters.http.router.v3.Router", {})]
    if closed:
        rbac = {"rules": {"action": "ALLOW", "policies": rules}}
        filters.insert(0, typed("envoy.filters.http.rbac", "filters.http.rbac.v3.RBAC", rbac))
    manager = {
        "stat_prefix": f"inbound_{port}",
        # As Istio's inbound listeners have it: who connects is told to the process, behind whatever else was told.
        "forward_client_cert_details": "APPEND_FORWARD",
        "set_current_client_cert_details": {"subject": True, "uri": True},
        "normalize_path": True,
        "merge_slashes": False,
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": f"inbound_{port}", "timeout": "0s"}}],
                }
            ]
        },
        "http_filters": filters,
    }
    tls = {
        "require_client_certificate": True,
        "common_tls_context": {
            "alpn_protocols": ["h2", "http/1.1"],
            "tls_certificates": [
                {
                    "certificate_chain": {"filename": str(identity.certificate)},
                    "private_key": {"filename": str(identity.key)},
                }
            ],
            "validation_context": {
                "trusted_ca": {"filename": str(identity.ca)},
                "match_typed_subject_alt_names": [
                    {"san_type": "URI", "matcher": {"prefix": f"spiffe://{TRUST_DOMAIN}/"}}
                ],
            },
        },
    }
    return {
        "name": f"inbound_{port}",
        "address": {"socket_address": {"address": address, "port_value": port}},
        "filter_chains": [
            {
                "transport_socket": typed(
                    "envoy.transport_sockets.tls", "transport_sockets.tls.v3.DownstreamTlsContext", tls
                ),
                "filters": [
                    typed(
                        "envoy.filters.network.http_connection_manager",
                        "filters.network.http_connection_manager.v3.HttpConnectionManager",
                        manager,
                    )
                ],
            }
        ],
    }


def _cluster(port: int, upstream: int, http2: bool) -> Thing:
    endpoint = {"address": {"socket_address": {"address": "127.0.0.1", "port_value": upstream}}}
    protocol: Thing = {"http2_protocol_options": {}} if http2 else {"http_protocol_options": {}}
    options = {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": protocol,
    }
    return {
        "name": f"inbound_{port}",
        "connect_timeout": "5s",
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options},
        "load_assignment": {
            "cluster_name": f"inbound_{port}",
            "endpoints": [{"lb_endpoints": [{"endpoint": endpoint}]}],
        },
    }


def typed(name: str, message: str, value: Thing) -> Thing:
    """A part of a configuration, by its name and message."""
    return {
        "name": name,
        "typed_config": {"@type": f"type.googleapis.com/envoy.extensions.{message}", **value},
    }


@contextmanager
def running(folder: Path, configurations: Mapping[str, Thing]) -> Iterator[None]:
    """An Envoy for each configuration, by its workload's name."""
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        started = []
        for name, each in configurations.items():
            file, log = folder / f"{name}.json", folder / f"{name}.log"
            file.write_text(json.dumps(each))
            command = [str(envoy()), "-c", str(file), "--use-dynamic-base-id", "--concurrency", "1", "-l", "warning"]
            process = subprocess.Popen(command, stderr=stack.enter_context(log.open("w")))
            stack.callback(_end, process)
            started.append((process, log, each))
        for process, log, each in started:
            _wait(process, log, each)
        yield


def _wait(process: subprocess.Popen[bytes], log: Path, configuration: Thing) -> None:
    ends = time.monotonic() + PATIENCE_S
    places = [one["address"]["socket_address"] for one in configuration["static_resources"]["listeners"]]
    while not all(_listens(one["address"], one["port_value"]) for one in places):
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < ends, log.read_text()
        time.sleep(0.05)


def _listens(address: str, port: int) -> bool:
    try:
        with socket.create_connection((address, port), timeout=1):
            return True
    except OSError:
        return False


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    process.wait(PATIENCE_S)

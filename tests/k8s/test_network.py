"""Who may connect to whom: each connection that the mesh needs is open, and a stranger has none."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from itertools import product
from typing import Any

import pytest

from tests.k8s.built import MESHED, each_overlay, labels, of_kind, pod, selects

pytestmark = each_overlay
WORLD = "203.0.113.7"
SERVICES = ("auth", "prompts", "moderation", "inference")
GATEWAY = {"promptmesh.dev/runs": "gateway"}
STRANGER = {"app.kubernetes.io/name": "stranger"}


def reaches(overlay: str, source: dict[str, str], target: dict[str, str], port: str) -> bool:
    """Whether a pod of this namespace may connect to a port, by its name, of another."""
    policies = policies_of(overlay, "Ingress")
    holding = [each for each in policies if selects(each["podSelector"], target)]
    assert holding, "without a policy everyone may"
    return any(
        port in {one["port"] for one in rule["ports"]} and any(_from(each, source) for each in rule.get("from", [{}]))
        for each in holding
        for rule in each.get("ingress", [])
    )


def policies_of(overlay: str, direction: str) -> list[dict[str, Any]]:
    found = [each["spec"] for each in of_kind(overlay, "NetworkPolicy")]
    return [each for each in found if direction in each["policyTypes"]]


def leaves(overlay: str, source: dict[str, str], port: int, *, pod: dict[str, str] | None = None, at: str = "") -> bool:
    """Whether a pod may connect to a port of a pod of this namespace, or of an address outside of the cluster."""
    holding = [each for each in policies_of(overlay, "Egress") if selects(each["podSelector"], source)]
    assert holding, "without a policy it may go anywhere"
    return any(
        port in {one["port"] for one in rule["ports"]}
        and ("to" not in rule or any(_to(each, pod, at) for each in rule["to"]))
        for each in holding
        for rule in each.get("egress", [])
    )


def _to(peer: dict[str, Any], pod: dict[str, str] | None, at: str) -> bool:
    if block := peer.get("ipBlock"):
        address = ip_address(at) if at else None
        within = address is not None and address in ip_network(block["cidr"])
        return within and not any(address in ip_network(one) for one in block.get("except", []))
    return pod is not None and "namespaceSelector" not in peer and selects(peer["podSelector"], pod)


def _from(peer: dict[str, Any], source: dict[str, str]) -> bool:
    if not peer:
        return True
    return "namespaceSelector" not in peer and selects(peer["podSelector"], source)


def pods(overlay: str) -> dict[str, dict[str, str]]:
    found = {
        labels(each)["app.kubernetes.io/name"]: labels(each)
        for each in of_kind(overlay, "Deployment", "StatefulSet", "Job")
    }
    return found | {"gateway": GATEWAY, "stranger": STRANGER}


def expected(overlay: str, source: str, target: str, port: str) -> bool:
    if port in ("grpc", "http-openai"):
        return target in SERVICES and source in (*SERVICES, "edge")
    if port == "http2":
        return source == "gateway" and overlay in MESHED
    if port in ("tcp-postgres", "tcp-redis"):
        return source in (*SERVICES, "migrate")
    if port == "http":
        return (source, target) == ("inference", "vllm")
    assert port == "http-metrics"
    return False


def test_each_connection_of_the_mesh_is_open_and_no_other(overlay: str) -> None:
    everyone = pods(overlay)
    asked = set()
    for workload in of_kind(overlay, "Deployment", "StatefulSet"):
        target = labels(workload)["app.kubernetes.io/name"]
        ports = {port["name"]: port["containerPort"] for each in pod(workload)["containers"] for port in each["ports"]}
        for source, port in product(everyone, ports):
            # Both ends have to let it through.
            open_ = reaches(overlay, everyone[source], labels(workload), port) and leaves(
                overlay, everyone[source], ports[port], pod=labels(workload)
            )
            assert open_ is expected(overlay, source, target, port), f"{source} to {port} of {target}"
            asked.add(open_)
    assert asked == {True, False}


def test_the_gateway_is_reached_from_outside_on_its_ports_and_reaches_the_edge_alone(overlay: str) -> None:
    everyone = pods(overlay)
    for gateway in of_kind(overlay, "Gateway"):
        assert gateway["spec"]["infrastructure"]["labels"] == GATEWAY  # Istio gives them to its pods
        listens = {listener["port"] for listener in gateway["spec"]["listeners"]}
        for port in (80, 443, 8080, 50051, 15012, 15021):
            assert from_outside(overlay, GATEWAY, port) is (port in listens), port
            assert not leaves(overlay, GATEWAY, port, at=WORLD), port
        for name, of in everyone.items():
            assert leaves(overlay, GATEWAY, 8080, pod=of) is (name == "edge"), name
            assert not leaves(overlay, GATEWAY, 50051, pod=of), name
    for name, of in everyone.items():
        if name != "gateway":
            assert not any(from_outside(overlay, of, port) for port in (80, 443, 8080, 50051, 8081, 9464)), name


def from_outside(overlay: str, target: dict[str, str], port: int) -> bool:
    """Whether an address outside of the cluster may connect to a pod: a rule that says from whom names pods alone."""
    holding = [each for each in policies_of(overlay, "Ingress") if selects(each["podSelector"], target)]
    rules = [rule for each in holding for rule in each.get("ingress", [])]
    assert not any("ipBlock" in peer for rule in rules for peer in rule.get("from", []))
    return not holding or any(port in {one["port"] for one in rule["ports"]} for rule in rules if "from" not in rule)


def test_every_proxy_reaches_istio(overlay: str) -> None:
    if overlay not in MESHED:
        return
    proxied = {
        labels(each)["app.kubernetes.io/name"]: labels(each)
        for each in of_kind(overlay, "Deployment", "StatefulSet")
        if labels(each).get("sidecar.istio.io/inject") != "false"
    } | {"gateway": GATEWAY}
    for name, of in proxied.items():
        assert to_istio(overlay, of) == {15012}, name
    assert to_istio(overlay, STRANGER) == set()


def to_istio(overlay: str, source: dict[str, str]) -> set[int]:
    """Ports of pods in Istio's namespace that a pod may connect to."""
    istio = {"matchLabels": {"kubernetes.io/metadata.name": "istio-system"}}
    return {
        port["port"]
        for each in policies_of(overlay, "Egress")
        if selects(each["podSelector"], source)
        for rule in each.get("egress", [])
        if any(peer.get("namespaceSelector") == istio for peer in rule.get("to", []))
        for port in rule["ports"]
    }


def test_nobody_is_let_in_whom_no_policy_names(overlay: str) -> None:
    (nobody,) = [each["spec"] for each in of_kind(overlay, "NetworkPolicy") if each["metadata"]["name"] == "nobody"]
    assert nobody == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


# Who goes out of the cluster, by the port: what each asks for there stands in docs/kubernetes.md.
OUTSIDE = {
    443: {"auth", "inference", "vllm"},
    587: {"mail"},
    465: {"mail"},
    5432: {*SERVICES, "migrate", "mail"},
    6379: {*SERVICES, "migrate", "mail"},
    80: set(),
    22: set(),
    25: set(),
}


@pytest.mark.parametrize("at", ["203.0.113.7", "2001:db8::7", "10.20.30.40"])
def test_out_of_the_cluster_goes_who_has_something_to_ask_there(overlay: str, at: str) -> None:
    everyone = pods(overlay)
    for port, allowed in OUTSIDE.items():
        found = {name for name in everyone if leaves(overlay, everyone[name], port, at=at)}
        if ":" in at:
            allowed = allowed - {"vllm"}
        assert found == allowed & set(everyone), port


@pytest.mark.parametrize("at", ["169.254.169.254", "fd00:ec2::254", "fe80::a9fe:a9fe"])
def test_nobody_asks_the_cloud_for_the_machine_s_credentials(overlay: str, at: str) -> None:
    everyone = pods(overlay)
    assert [name for name in everyone if leaves(overlay, everyone[name], 443, at=at)] == []
    assert [name for name in everyone if leaves(overlay, everyone[name], 80, at=at)] == []


def test_everybody_may_ask_for_names(overlay: str) -> None:
    (names,) = [each["spec"] for each in of_kind(overlay, "NetworkPolicy") if each["metadata"]["name"] == "to-names"]
    assert names["podSelector"] == {}
    assert {(one["port"], one["protocol"]) for one in names["egress"][0]["ports"]} == {(53, "UDP"), (53, "TCP")}

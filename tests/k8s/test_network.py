"""Who may connect to whom: each connection that the mesh needs is open, and a stranger has none."""

from __future__ import annotations

from itertools import product
from typing import Any

from tests.k8s.built import each_overlay, labels, needs_kubectl, of_kind, pod, selects

pytestmark = [needs_kubectl, each_overlay]
SERVICES = ("auth", "prompts", "moderation", "inference")
GATEWAY = {"promptmesh.dev/runs": "gateway"}
STRANGER = {"app.kubernetes.io/name": "stranger"}


def reaches(overlay: str, source: dict[str, str], target: dict[str, str], port: str) -> bool:
    """Whether a pod of this namespace may connect to a port, by its name, of another."""
    policies = [each["spec"] for each in of_kind(overlay, "NetworkPolicy")]
    holding = [each for each in policies if selects(each["podSelector"], target)]
    assert holding, "without a policy everyone may"
    return any(
        port in {one["port"] for one in rule["ports"]} and any(_from(each, source) for each in rule.get("from", [{}]))
        for each in holding
        for rule in each.get("ingress", [])
    )


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


def expected(source: str, target: str, port: str) -> bool:
    if port in ("grpc", "http-openai"):
        return target in SERVICES and source in (*SERVICES, "edge")
    if port == "http2":
        return source == "gateway"
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
        ports = [port["name"] for each in pod(workload)["containers"] for port in each["ports"]]
        for source, port in product(everyone, ports):
            open_ = reaches(overlay, everyone[source], labels(workload), port)
            assert open_ is expected(source, target, port), f"{source} to {port} of {target}"
            asked.add(open_)
    assert asked == {True, False}


def test_nobody_is_let_in_whom_no_policy_names(overlay: str) -> None:
    (nobody,) = [each["spec"] for each in of_kind(overlay, "NetworkPolicy") if each["metadata"]["name"] == "nobody"]
    assert nobody == {"podSelector": {}, "policyTypes": ["Ingress"]}

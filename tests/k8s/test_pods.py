"""Rules that every pod of every overlay keeps."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.k8s.built import WORKLOADS, Container, containers, each_overlay, labels, of_kind, pod, selects

pytestmark = each_overlay
SERVES = ("Deployment", "StatefulSet")
RUNS = "promptmesh.dev/runs"


def ours(workload: dict[str, Any]) -> bool:
    """Whether it runs the mesh, and is no store of overlays/local."""
    return RUNS in labels(workload)


def faults(overlay: str, wrong: Any) -> list[str]:
    return [each.name for each in containers(overlay) if wrong(each)]


def test_nobody_is_root_or_may_become_it(overlay: str) -> None:
    for workload in of_kind(overlay, *WORKLOADS):
        context = pod(workload)["securityContext"]
        assert context["runAsNonRoot"] is True, workload["metadata"]["name"]
        assert context["runAsUser"] >= 999
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod(workload))
    assert faults(overlay, lambda each: each.spec["securityContext"].get("allowPrivilegeEscalation") is not False) == []
    assert faults(overlay, lambda each: each.spec["securityContext"]["capabilities"] != {"drop": ["ALL"]}) == []
    assert faults(overlay, lambda each: each.spec["securityContext"].get("privileged")) == []


def test_nothing_is_written_but_where_it_is_said(overlay: str) -> None:
    assert faults(overlay, lambda each: each.spec["securityContext"].get("readOnlyRootFilesystem") is not True) == []
    for workload in of_kind(overlay, *WORKLOADS):
        for volume in pod(workload).get("volumes", []):
            assert "hostPath" not in volume
            if "emptyDir" in volume:
                assert volume["emptyDir"].get("sizeLimit"), f"{workload['metadata']['name']}: {volume['name']}"


def test_every_mount_has_its_volume_and_every_volume_is_mounted(overlay: str) -> None:
    for workload in of_kind(overlay, *WORKLOADS):
        there = {volume["name"] for volume in pod(workload).get("volumes", [])}
        there |= {claim["metadata"]["name"] for claim in workload["spec"].get("volumeClaimTemplates", [])}
        every = pod(workload)["containers"] + pod(workload).get("initContainers", [])
        mounted = {mount["name"] for each in every for mount in each.get("volumeMounts", [])}
        assert mounted == there, workload["metadata"]["name"]


def test_nobody_talks_to_kubernetes(overlay: str) -> None:
    for workload in of_kind(overlay, *WORKLOADS):
        assert pod(workload)["automountServiceAccountToken"] is False
        # Variables such as AUTH_PORT, made from the names of Services, are nobody's settings.
        assert pod(workload)["enableServiceLinks"] is False


def test_everything_is_bounded_and_asks_for_what_it_takes(overlay: str) -> None:
    for each in containers(overlay):
        resources = each.spec["resources"]
        for kind in ("requests", "limits"):
            assert {"cpu", "memory"} <= set(resources[kind]), each.name


def test_images_have_a_version(overlay: str) -> None:
    for each in containers(overlay):
        _, _, tag = each.spec["image"].rpartition("/")[2].partition(":")
        assert tag, f"{each.name}: {each.spec['image']}"
        assert tag != "latest"


def test_every_port_has_a_name_that_says_its_protocol(overlay: str) -> None:
    protocol = re.compile(r"(grpc|http|http2|tcp)(-[a-z0-9]+)?")
    for each in containers(overlay):
        for port in each.spec.get("ports", []):
            assert protocol.fullmatch(port.get("name", "")), each.name
    for service in of_kind(overlay, "Service"):
        for port in service["spec"]["ports"]:
            assert protocol.fullmatch(port.get("name", "")), service["metadata"]["name"]
            assert port["appProtocol"]


def test_what_serves_says_so_and_is_asked_whether_it_lives(overlay: str) -> None:
    for each in containers(overlay, initial=False):
        if each.workload["kind"] in SERVES:
            for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                assert probe in each.spec, f"{each.name}: {probe}"
            assert _patience_s(each, "livenessProbe") >= 60, f"{each.name}: restarts too soon"


def test_liveness_of_a_service_is_not_its_readiness(overlay: str) -> None:
    for each in services(overlay):
        assert each.spec["livenessProbe"]["grpc"] == {"port": 50051, "service": "liveness"}
        assert each.spec["startupProbe"]["grpc"] == {"port": 50051, "service": "liveness"}
        assert each.spec["readinessProbe"]["grpc"] == {"port": 50051}


def test_a_start_ends_by_itself_before_it_is_killed(overlay: str) -> None:
    """It says why then, and is started again later and later; killed, it says nothing."""
    from services.mesh.database.starting import LAST_TRY_S, START_TIMEOUT_S

    grace_s = 15  # until Python has read its modules, on a node where everything starts: 3 s of CPU
    workers = [each for each in containers(overlay, initial=False) if labels(each.workload).get(RUNS) == "worker"]
    for each in [*services(overlay), *workers]:
        assert _patience_s(each, "startupProbe") > START_TIMEOUT_S + LAST_TRY_S + grace_s, each.name


def services(overlay: str) -> list[Container]:
    found = [each for each in containers(overlay, initial=False) if labels(each.workload).get(RUNS) == "service"]
    assert len(found) == 4
    return found


def test_pods_of_ours_are_spread_and_go_one_at_a_time(overlay: str) -> None:
    budgets = of_kind(overlay, "PodDisruptionBudget")
    for workload in of_kind(overlay, *SERVES):
        if not ours(workload) and workload["metadata"]["name"] != "vllm":
            continue
        name = workload["metadata"]["name"]
        spread = {each["topologyKey"]: each for each in pod(workload)["topologySpreadConstraints"]}
        assert "topology.kubernetes.io/zone" in spread, name
        for each in spread.values():
            assert selects(each["labelSelector"], labels(workload)), name
        (budget,) = [one for one in budgets if selects(one["spec"]["selector"], labels(workload))]
        assert budget["spec"]["maxUnavailable"] == 1
        if workload["kind"] == "Deployment":
            assert workload["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}


def test_selectors_select_their_own_pods_and_nobody_else(overlay: str) -> None:
    workloads = of_kind(overlay, *WORKLOADS)
    for service in of_kind(overlay, "Service"):
        found = [each for each in workloads if selects({"matchLabels": service["spec"]["selector"]}, labels(each))]
        assert len(found) == 1, service["metadata"]["name"]
        for port in service["spec"]["ports"]:
            ports = [port["name"] for one in pod(found[0])["containers"] for port in one["ports"]]
            assert port["targetPort"] in ports
    for workload in of_kind(overlay, *SERVES):
        assert selects(workload["spec"]["selector"], labels(workload))


def test_accounts_are_one_each(overlay: str) -> None:
    accounts = {each["metadata"]["name"] for each in of_kind(overlay, "ServiceAccount")}
    used = [pod(each)["serviceAccountName"] for each in of_kind(overlay, *WORKLOADS) if ours(each)]
    assert sorted(used) == sorted(set(used))
    assert set(used) <= accounts


def _patience_s(each: Container, probe: str) -> int:
    spec = each.spec[probe]
    patience: int = spec.get("periodSeconds", 10) * spec.get("failureThreshold", 3)
    return patience


def test_a_reader_of_a_variable_in_another_comes_after_it(overlay: str) -> None:
    for each in containers(overlay):
        known: set[str] = set()
        for variable in each.spec.get("env", []):
            assert set(re.findall(r"\$\((\w+)\)", variable.get("value", ""))) <= known, each.name
            known.add(variable["name"])


@pytest.mark.parametrize("kind", ["configMap", "secret"])
def test_every_configmap_and_secret_that_is_read_is_there(overlay: str, kind: str) -> None:
    there = provided(overlay, kind)
    for name, key, optional in references(overlay, kind):
        if optional and name not in there:
            continue
        assert name in there, f"{kind} {name}"
        assert key is None or key in there[name], f"{kind} {name} has no {key}"


def provided(overlay: str, kind: str) -> dict[str, set[str]]:
    if kind == "configMap":
        return {each["metadata"]["name"]: set(each["data"]) for each in of_kind(overlay, "ConfigMap")}
    if overlay == "local":
        from tools.k8s_secrets import documents

        return {one["metadata"]["name"]: set(one["stringData"]) for one in documents() if one["kind"] == "Secret"}
    return {
        each["spec"]["target"]["name"]: {item["secretKey"] for item in each["spec"].get("data", [])}
        for each in of_kind(overlay, "ExternalSecret")
        if "data" in each["spec"]
    }


def references(overlay: str, kind: str) -> list[tuple[str, str | None, bool]]:
    """(name, key, optional) of whatever a pod reads."""
    found: list[tuple[str, str | None, bool]] = []
    for each in containers(overlay):
        for source in each.spec.get("envFrom", []):
            if ref := source.get(f"{kind}Ref"):
                found.append((ref["name"], None, ref.get("optional", False)))
        for variable in each.spec.get("env", []):
            if ref := variable.get("valueFrom", {}).get(f"{kind}KeyRef"):
                found.append((ref["name"], ref["key"], ref.get("optional", False)))
    for workload in of_kind(overlay, *WORKLOADS):
        for volume in pod(workload).get("volumes", []):
            if ref := volume.get(kind):
                name = ref["secretName"] if kind == "secret" else ref["name"]
                optional = ref.get("optional", False)
                found += [(name, item["key"], optional) for item in ref.get("items", [])] or [(name, None, optional)]
    assert found
    return found

"""Every object of every overlay against the schemas of those who read it."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest

from tests.k8s.built import MESHED, each_overlay, objects, one
from tests.k8s.cel_rules import rule_faults
from tests.k8s.schemas import (
    CRD_GROUPS,
    CRDS_SETTING,
    crd_faults,
    crd_folder,
    crd_schemas,
    custom_faults,
    is_custom,
    kubernetes_faults,
)

VERSIONS = ("1.30.0", "1.37.0")
"""The oldest Kubernetes that these manifests are for (preStop: sleep), and the newest whose schemas there are."""


def native(overlay: str) -> list[dict[str, object]]:
    return [each for each in objects(overlay) if not is_custom(each)]


def of_crd(api_version: str) -> bool:
    return api_version.partition("/")[0].endswith(CRD_GROUPS)


@each_overlay
@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_takes_every_object(overlay: str, version: str) -> None:
    assert [fault for each in native(overlay) for fault in kubernetes_faults(each, version)] == []


def test_a_field_that_is_not_there_is_found() -> None:
    wrong = copy.deepcopy(one("local", "Deployment", "auth"))
    wrong["spec"]["template"]["spec"]["containers"][0]["livenessProb"] = {}
    assert kubernetes_faults(wrong, VERSIONS[0]) != []


class TestCustomResources:
    def test_whose_they_are_takes_every_one(self) -> None:
        theirs = [each for overlay in MESHED for each in objects(overlay) if is_custom(each)]
        assert {each["kind"] for each in theirs} == {
            *("AuthorizationPolicy", "PeerAuthentication", "VirtualService", "DestinationRule", "Telemetry", "Sidecar"),
            *("Gateway", "HTTPRoute"),
            *("Certificate", "ExternalSecret", "PodMonitor", "PrometheusRule", "ScaledObject"),
            *("Cluster", "ScheduledBackup", "ObjectStore"),
        }
        assert custom_faults(theirs) == []

    def test_what_is_wrong_with_one_is_found(self) -> None:
        """In each kind: a field that is not there, at the top and far below, a value of another type, and of none."""
        theirs = {each["kind"]: each for each in (*objects("production-postgres"), *objects("production-gpu"))}
        theirs = {kind: each for kind, each in theirs.items() if is_custom(each)}
        wrong = [copy.deepcopy(each) for each in theirs.values()]
        for each in wrong:
            each["spec"]["notThere"] = 1
        deep = copy.deepcopy(theirs["DestinationRule"])
        deep["spec"]["trafficPolicy"]["loadBalancer"]["simpel"] = "LEAST_REQUEST"
        choice = copy.deepcopy(theirs["PeerAuthentication"])
        choice["spec"]["mtls"]["mode"] = "SOMETIMES"
        kind = copy.deepcopy(theirs["ScaledObject"])
        kind["spec"]["minReplicaCount"] = "none"
        without = copy.deepcopy(theirs["Certificate"])
        del without["spec"]["secretName"]
        store = copy.deepcopy(theirs["ObjectStore"])
        store["spec"]["retentionPolicy"] = "35 days"
        cluster = copy.deepcopy(theirs["Cluster"])
        cluster["spec"]["postgresql"]["synchronous"]["dataDurability"] = "perhaps"
        wrong += [deep, choice, kind, without, store, cluster]
        found = custom_faults(wrong)
        for each in theirs:
            assert any(fault.startswith(each) and "notThere" in fault for fault in found), each
        for word in ("simpel", "mode", "minReplicaCount", "secretName", "retentionPolicy", "dataDurability"):
            assert any(word in fault for fault in found), word


@pytest.mark.skipif(
    crd_folder() is None,
    reason=f"{CRDS_SETTING} names no folder with Istio's and the Gateway API's CRDs, and ../shared/crds is not there",
)
class TestFilesOfCrds:
    @pytest.mark.parametrize("overlay", MESHED)
    def test_istio_and_the_gateway_api_take_theirs(self, overlay: str) -> None:
        folder = crd_folder()
        assert folder
        theirs = [each for each in objects(overlay) if of_crd(each["apiVersion"])]
        assert {each["kind"] for each in theirs} >= {
            *("AuthorizationPolicy", "PeerAuthentication", "VirtualService", "DestinationRule", "Telemetry"),
            *("Gateway", "HTTPRoute"),
        }
        assert [fault for each in theirs for fault in crd_faults(each, folder)] == []

    def test_a_field_that_is_not_there_is_found(self) -> None:
        folder = crd_folder()
        assert folder
        wrong = copy.deepcopy(one("production", "DestinationRule", "auth"))
        wrong["spec"]["trafficPolicy"]["loadBalancer"]["simpel"] = "LEAST_REQUEST"
        assert crd_faults(wrong, folder) != []

    def test_their_rules_in_cel_hold(self) -> None:
        folder = crd_folder()
        assert folder
        for overlay in MESHED:
            theirs = [copy.deepcopy(each) for each in objects(overlay) if of_crd(each["apiVersion"])]
            asked = 0
            for each in theirs:
                schema = crd_schemas(folder)[each["kind"], each["apiVersion"]]
                for rule, holds in rule_faults(schema, each, f"{each['kind']} {each['metadata']['name']}"):
                    assert holds, rule
                    asked += 1
            print(f"{overlay}: {len(theirs)} objects, {asked} rules in CEL")  # docs/kubernetes.md; seen with -s
            assert asked > 200

    def test_a_gateway_s_policy_that_goes_by_labels_too_is_refused(self) -> None:
        folder = crd_folder()
        assert folder
        wrong = copy.deepcopy(one("production", "AuthorizationPolicy", "gateway-from-outside"))
        wrong["spec"]["selector"] = {"matchLabels": {"app.kubernetes.io/name": "edge"}}
        schema = crd_schemas(folder)["AuthorizationPolicy", wrong["apiVersion"]]
        assert any("targetRefs" in rule and not holds for rule, holds in rule_faults(schema, wrong, "wrong"))

    def test_a_rule_in_cel_that_is_broken_is_found(self) -> None:
        folder = crd_folder()
        assert folder
        wrong = copy.deepcopy(one("production", "VirtualService", "auth"))
        wrong["spec"]["http"][0]["timeout"] = "0s"
        schema = crd_schemas(folder)["VirtualService", wrong["apiVersion"]]
        assert any("1ms" in rule and not holds for rule, holds in rule_faults(schema, wrong, "auth"))


def test_the_folder_is_the_one_named_or_else_the_one_beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(CRDS_SETTING, raising=False)
    assert crd_folder(tmp_path / "nowhere") is None
    assert crd_folder(tmp_path) == tmp_path
    monkeypatch.setenv(CRDS_SETTING, str(tmp_path / "named"))
    assert crd_folder(tmp_path) == tmp_path / "named"


@each_overlay
def test_every_object_has_a_name_of_its_own_and_stands_in_the_namespace(overlay: str) -> None:
    keys = [(each["kind"], each["metadata"]["name"]) for each in objects(overlay)]
    assert len(keys) == len(set(keys))
    outside = {each["kind"] for each in objects(overlay) if each["metadata"].get("namespace") != "promptmesh"}
    assert outside == {"Namespace"}

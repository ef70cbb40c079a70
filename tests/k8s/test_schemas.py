"""Every object of every overlay against the schemas of those who read it."""

from __future__ import annotations

import copy

import pytest

from tests.k8s.built import MESHED, each_overlay, needs_kubectl, objects, of_kind, one
from tests.k8s.schemas import CRD_GROUPS, CRDS_SETTING, WITHOUT_SCHEMA, crd_faults, crd_folder, kubernetes_faults

pytestmark = needs_kubectl
VERSIONS = ("1.30.0", "1.37.0")
"""The oldest Kubernetes that these manifests are for (preStop: sleep), and the newest whose schemas there are."""


def native(overlay: str) -> list[dict[str, object]]:
    return [each for each in objects(overlay) if not of_crd(each["apiVersion"]) and each["kind"] not in WITHOUT_SCHEMA]


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


@pytest.mark.skipif(
    crd_folder() is None, reason=f"{CRDS_SETTING} names no folder with Istio's and the Gateway API's CRDs"
)
class TestCustomResources:
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


@each_overlay
def test_what_has_no_schema_here_is_known_and_of_the_version_that_is_meant(overlay: str) -> None:
    for kind, api_version in WITHOUT_SCHEMA.items():
        assert {each["apiVersion"] for each in of_kind(overlay, kind)} <= {api_version}


@each_overlay
def test_every_object_has_a_name_of_its_own_and_stands_in_the_namespace(overlay: str) -> None:
    keys = [(each["kind"], each["metadata"]["name"]) for each in objects(overlay)]
    assert len(keys) == len(set(keys))
    outside = {each["kind"] for each in objects(overlay) if each["metadata"].get("namespace") != "promptmesh"}
    assert outside == {"Namespace"}

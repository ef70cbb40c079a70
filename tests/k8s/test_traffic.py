"""How the service mesh passes calls on: what it tries again, how long it waits, where it sends them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from gateway.contracts import Method, load
from gateway.routes import COMMON_METHODS
from gateway.settings import AREAS, EdgeSettings
from services.mesh.settings import MeshSettings
from tests.k8s.built import MESHED, of_kind, one

pytestmark = pytest.mark.parametrize("overlay", MESHED)
CONTRACTS = load()
TIMES = {"timeout", "perTryTimeout", "connectTimeout", "idleTimeout", "interval", "baseEjectionTime", "time"}
# Of a call that may have arrived, whatever became of it.
NEVER_REACHED = {"connect-failure", "refused-stream"}
WRITES = {
    *("CreatePost", "UpdatePost", "DeletePost", "LikePost", "UnlikePost", "Generate", "Embed", "ChatCompletions"),
    *(
        "Responses",
        "Embeddings",
        "CreateSession",
        "Register",
        "RefreshSession",
        "ResolveCase",
        "ApplyConfig",
        "SetLimits",
    ),
}


def route(overlay: str, area: str, port: int, path: str) -> dict[str, Any]:
    """The first that matches, as Istio takes it."""
    for each in one(overlay, "VirtualService", area)["spec"]["http"]:
        for match in each.get("match", [{}]):
            if match.get("port", port) == port and match.get("uri", {"exact": path})["exact"] == path:
                found: dict[str, Any] = each
                return found
    raise AssertionError(f"no route for {path}")


def methods() -> list[tuple[str, Method]]:
    return [(each.area, method) for each in CONTRACTS.services for method in each.methods if each.area in AREAS]


def test_a_write_is_tried_again_only_if_it_never_arrived(overlay: str) -> None:
    seen = set()
    for area, method in methods():
        if method.name in WRITES:
            seen.add(method.name)
            retries = route(overlay, area, 50051, method.path)["retries"]
            assert set(retries["retryOn"].split(",")) <= NEVER_REACHED, method.path
    assert seen == WRITES


def test_so_is_every_method_that_is_not_a_get(overlay: str) -> None:
    for area, method in methods():
        retry_on = set(route(overlay, area, 50051, method.path)["retries"]["retryOn"].split(","))
        if not retry_on <= NEVER_REACHED:
            assert method.safe or method.internal or method.name in ("Screen", "BatchScreen"), method.path


def test_plain_calls_of_models_are_writes(overlay: str) -> None:
    for area, method in methods():
        if method.plain_path:
            found = route(overlay, area, 8081, method.plain_path)
            assert set(found["retries"]["retryOn"].split(",")) <= NEVER_REACHED
            assert "timeout" not in found
            assert found["route"][0]["destination"]["port"]["number"] == 8081


def test_nobody_falls_to_what_istio_would_try_again_by_itself(overlay: str) -> None:
    for service in of_kind(overlay, "VirtualService"):
        for each in service["spec"]["http"]:
            assert "retries" in each, service["metadata"]["name"]
            assert each["retries"]["attempts"] == 0 or each["retries"]["retryOn"]
            assert "unavailable" not in each["retries"].get("retryOn", "")
    (edge,) = [each for each in of_kind(overlay, "HTTPRoute") if each["metadata"]["name"] == "edge"]
    (rule,) = edge["spec"]["rules"]
    assert {"name": "x-envoy-max-retries", "value": "0"} in rule["filters"][0]["requestHeaderModifier"]["set"]
    assert rule["timeouts"] == {"request": "0s"}


def test_streams_are_unbounded_and_unary_calls_wait_longer_than_the_edge(overlay: str) -> None:
    edge = EdgeSettings.model_fields
    for area, method in methods():
        found = route(overlay, area, 50051, method.path)
        if method.server_streaming or method.client_streaming:
            assert "timeout" not in found, method.path
        else:
            timeout_s = float(found["timeout"].removesuffix("s"))
            assert timeout_s > edge["unary_timeout_s"].default
            assert timeout_s > MeshSettings.model_fields["client_timeout_s"].default
    for path, stream in COMMON_METHODS:
        if stream:
            assert "timeout" not in route(overlay, "prompts", 50051, path)
    embed = route(overlay, "inference", 50051, "/promptmesh.inference.v1.InferenceService/Embed")
    assert float(embed["timeout"].removesuffix("s")) > edge["answer_idle_timeout_s"].default


def test_a_sidecar_knows_this_namespace_and_lets_out_what_is_not_of_the_mesh(overlay: str) -> None:
    """Whatever the mesh's own default is: with REGISTRY_ONLY nobody would reach PostgreSQL."""
    (sidecar,) = of_kind(overlay, "Sidecar")
    assert "workloadSelector" not in sidecar["spec"]
    assert "./*" in sidecar["spec"]["egress"][0]["hosts"]
    assert sidecar["spec"]["outboundTrafficPolicy"] == {"mode": "ALLOW_ANY"}


def test_istio_takes_every_time_that_is_given(overlay: str) -> None:
    """Its CRDs refuse, by a rule in CEL, what is below a millisecond; 0s too, which people write for no timeout."""
    for each in of_kind(overlay, "VirtualService", "DestinationRule"):
        for name, text in times(each["spec"]):
            assert re.fullmatch(r"[1-9][0-9]*(ms|s|m|h)", text), f"{each['metadata']['name']}: {name} {text}"


def times(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, each in value.items():
            yield from times(each, key)
    elif isinstance(value, list):
        for each in value:
            yield from times(each, name)
    elif isinstance(value, str) and name in TIMES:
        yield name, value


def test_every_service_has_its_rule(overlay: str) -> None:
    hosts = {f"{each['metadata']['name']}.promptmesh.svc.cluster.local" for each in of_kind(overlay, "Service")}
    rules = {each["spec"]["host"]: each["spec"]["trafficPolicy"] for each in of_kind(overlay, "DestinationRule")}
    assert set(rules) <= hosts
    for area in AREAS:
        policy = rules[f"{area}.promptmesh.svc.cluster.local"]
        for each in (policy, *policy.get("portLevelSettings", [])):
            assert each["loadBalancer"]["simple"] == "LEAST_REQUEST"
            assert each["loadBalancer"]["localityLbSetting"]["enabled"] is True
            # Without it localities never fail over.
            assert each["outlierDetection"]["consecutiveLocalOriginFailures"] > 0
            # An answer of a process that stands before a broken database is no reason to eject it.
            assert each["outlierDetection"]["consecutive5xxErrors"] == 0
            assert each["connectionPool"]["http"]["http2MaxRequests"] > 0


def test_connections_are_let_go_of_before_the_service_does(overlay: str) -> None:
    (plain,) = one(overlay, "DestinationRule", "inference")["spec"]["trafficPolicy"]["portLevelSettings"]
    idle_s = float(plain["connectionPool"]["http"]["idleTimeout"].removesuffix("s"))
    assert idle_s < MeshSettings.model_fields["http_idle_s"].default

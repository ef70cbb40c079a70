"""The service mesh's policies against the contracts: each call that the mesh makes is let through, and no other.

What the calls are is said here once more, by the services themselves: which handlers they register, and what they call.
"""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest
from promptmesh.access.v1 import access_pb2

from gateway.contracts import Method, load
from gateway.settings import AREAS
from tests.k8s.built import MESHED, labels, objects, of_kind, pod
from tests.k8s.istio_model import PREFIX, Model, Request
from tools.mesh_clients import Client, ClientsError, clients
from tools.mesh_policies import EDGE, EDGE_PORT, GATEWAY_ACCOUNT, GRPC_PORT, PLAIN_PORT, files

METHODS = load().methods
REPLAY = "/promptmesh.events.v1.EventSourceService/Replay"
HEALTH = "/grpc.health.v1.Health/Check"
IDENTITIES = (
    "/promptmesh.auth.v1.AuthService/WatchIdentities",
    "/promptmesh.auth.v1.AuthService/ResolveApiKey",
    "/promptmesh.auth.v1.AuthService/ReportKeyUses",
)
SCREEN = tuple(f"/promptmesh.moderation.v1.ModerationService/{name}" for name in ("Screen", "BatchScreen"))
# Who calls what of whom, between services; the code that does stands beside it.
BETWEEN = {
    *(("prompts", "auth", path) for path in IDENTITIES),  # mesh.follow_identities()
    *(("moderation", "auth", path) for path in IDENTITIES),
    *(("inference", "auth", path) for path in IDENTITIES),
    *(("inference", "moderation", path) for path in SCREEN),  # services/inference/main.py
    *((name, "auth", REPLAY) for name in ("prompts", "moderation", "inference")),  # people who are gone
    ("prompts", "moderation", REPLAY),  # mesh.consume(…) of each main.py
    ("prompts", "inference", REPLAY),
    ("moderation", "prompts", REPLAY),
    ("inference", "prompts", REPLAY),
    *(("auth", target, REPLAY) for target in ("prompts", "moderation", "inference")),  # services/auth/audit/wiring.py
    *((name, "auth", REPLAY) for name in ("prompts", "moderation", "inference")),
    *((name, "auth", "/promptmesh.auth.v1.PlanService/WatchPlans") for name in ("prompts", "inference")),
}


def area(method: Method) -> str:
    return method.service.split(".")[1]


def test_the_files_are_what_the_contracts_and_the_code_say() -> None:
    for path, text in files().items():
        assert path.read_text() == text, f"{path.name} is another; run `python -m tools.mesh_policies`"


def test_clients_are_read_from_the_code() -> None:
    assert {(one.name, one.target, one.service) for one in clients()} == {
        *((name, "auth", "AuthService") for name in ("prompts", "moderation", "inference")),
        *((name, "auth", "EventSourceService") for name in ("prompts", "moderation", "inference")),
        ("inference", "moderation", "ModerationService"),
        ("prompts", "moderation", "EventSourceService"),
        ("prompts", "inference", "EventSourceService"),
        ("moderation", "prompts", "EventSourceService"),
        ("inference", "prompts", "EventSourceService"),
        *(("auth", target, "EventSourceService") for target in ("prompts", "moderation", "inference")),
        *((name, "auth", "EventSourceService") for name in ("prompts", "moderation", "inference")),
        *((name, "auth", "PlanService") for name in ("prompts", "inference")),
    }


@pytest.mark.parametrize(
    "line", ["mesh.channel('auth')", "FooStub(mesh.channel(name))", "mesh.consume(producer, group='x')"]
)
def test_a_client_that_cannot_be_read_is_no_client_overlooked(tmp_path: Path, line: str) -> None:
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / "main.py").write_text(line)
    with pytest.raises(ClientsError, match=r"main\.py:1"):
        clients(tmp_path)


def test_a_stub_is_a_client(tmp_path: Path) -> None:
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / "main.py").write_text("pb2_grpc.FooServiceStub(mesh.channel('auth'))")
    assert clients(tmp_path) == [Client("prompts", "auth", "FooService")]


def truth(request: Request) -> bool:
    """Whether the mesh makes such a call."""
    if request.target == EDGE:
        return request.source == GATEWAY_ACCOUNT and request.port == EDGE_PORT
    if request.port == PLAIN_PORT:
        plain = {method.plain_path for method in METHODS if area(method) == request.target} - {None}
        return (
            request.source == EDGE
            and bool(plain)
            and (request.path, request.method)
            in {
                ("/healthz", "GET"),
                *((path, "POST") for path in plain),
            }
        )
    if request.port != GRPC_PORT or request.method != "POST":
        return False
    if request.source == EDGE:
        open_ = {method.path for method in METHODS if area(method) == request.target and not _internal(method)}
        common = (
            {
                "/grpc.health.v1.Health/Watch",
                "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
                "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
            }
            if request.target == "prompts"
            else set()
        )
        return request.path in open_ | common | {HEALTH}
    return (request.source, request.target, request.path) in BETWEEN


def _internal(method: Method) -> bool:
    return bool(method.access.audience == access_pb2.AUDIENCE_SERVICE)


@pytest.mark.parametrize("overlay", MESHED)
class TestPolicies:
    def test_each_call_of_the_mesh_is_let_through_and_no_other(self, overlay: str) -> None:
        model = Model(objects(overlay))
        assert model.denies_by_default
        accounts = [each["metadata"]["name"] for each in of_kind(overlay, "ServiceAccount")]
        paths = [method.path for method in METHODS] + [path for method in METHODS if (path := method.plain_path)]
        paths += [
            *(HEALTH, "/grpc.health.v1.Health/Watch", "/healthz", "/", "/metrics"),
            *(f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo" for version in ("v1", "v1alpha")),
            HEALTH + "/", HEALTH.lower(), "/promptmesh.auth.v1.AuthService/",
        ]  # fmt: skip
        asked = {True: 0, False: 0}
        for source, target, port, path, verb in product(
            (*accounts, GATEWAY_ACCOUNT, "default", None),
            (*AREAS, EDGE),
            (GRPC_PORT, PLAIN_PORT, EDGE_PORT, 9464),
            dict.fromkeys(paths),
            ("POST", "GET"),
        ):
            request = Request(source, target, port, path, verb)
            expected = truth(request)
            assert model.allows(request) is expected, request
            asked[expected] += 1
        assert min(asked.values()) > 50

    def test_every_rule_lets_something_through_that_no_other_does(self, overlay: str) -> None:
        model = Model(objects(overlay))
        for rule in model.rules:
            for source, port, path, verb in product(
                sorted(rule.sources), sorted(rule.ports), sorted(rule.paths) or ["/"], sorted(rule.methods) or ["GET"]
            ):
                request = Request(source.removeprefix(PREFIX), rule.target, int(port), path, verb)
                assert [one.policy for one in model.rules if one.allows(request)] == [rule.policy], request

    def test_every_account_named_is_that_of_the_pods_meant(self, overlay: str) -> None:
        accounts = {each["metadata"]["name"] for each in of_kind(overlay, "ServiceAccount")}
        (gateway,) = of_kind(overlay, "Gateway")
        assert f"{gateway['metadata']['name']}-{gateway['spec']['gatewayClassName']}" == GATEWAY_ACCOUNT
        pods = {
            labels(each)["app.kubernetes.io/name"]: pod(each)["serviceAccountName"]
            for each in of_kind(overlay, "Deployment", "StatefulSet")
        }
        for rule in Model(objects(overlay)).rules:
            assert rule.target in pods
            assert {source.removeprefix(PREFIX) for source in rule.sources} <= accounts | {GATEWAY_ACCOUNT}
        for target in AREAS:
            assert pods[target] == target
        assert pods[EDGE] == EDGE

    def test_nothing_goes_without_a_certificate(self, overlay: str) -> None:
        (strict,) = of_kind(overlay, "PeerAuthentication")
        assert strict["spec"] == {"mtls": {"mode": "STRICT"}}
        for each in of_kind(overlay, "Deployment", "StatefulSet"):
            if labels(each).get("promptmesh.dev/runs") == "worker":
                continue  # nobody may connect to it, by NetworkPolicy, and whom it calls is outside of the mesh
            template = each["spec"]["template"]["metadata"]
            assert template["labels"].get("sidecar.istio.io/inject") != "false"
            # Beside the mesh stands only what a NetworkPolicy leaves to Prometheus.
            excluded = template["annotations"].get("traffic.sidecar.istio.io/excludeInboundPorts", "")
            assert excluded in ("9464", "")
        for rule in of_kind(overlay, "DestinationRule"):
            assert "tls" not in rule["spec"]["trafficPolicy"]

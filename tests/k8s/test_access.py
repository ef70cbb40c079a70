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
from tests.k8s.built import MESHED, labels, objects, of_kind, one, pod
from tests.k8s.istio_model import GATEWAY, PREFIX, Model, Request
from tools.mesh_clients import Client, ClientsError, clients
from tools.mesh_policies import EDGE, EDGE_PORT, GATEWAY_ACCOUNT, GRPC_PORT, PLAIN_PORT, files

METHODS = load().methods
DOOR = GATEWAY + "promptmesh"
DOOR_PORTS = (80, 443)
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
    """Whether the mesh makes such a call, or takes it from outside."""
    if request.target == DOOR:
        return request.port in DOOR_PORTS
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


def proxied(overlay: str) -> set[str]:
    """Everything that has a proxy of Istio: pods with a sidecar, and Gateways, which are nothing else."""
    workloads = of_kind(overlay, "Deployment", "StatefulSet", "Job")
    everyone = one(overlay, "Namespace", "promptmesh")["metadata"]["labels"].get("istio-injection") == "enabled"
    return {
        labels(each)["app.kubernetes.io/name"]
        for each in workloads
        if labels(each).get("sidecar.istio.io/inject", str(everyone).lower()) == "true"
    } | {GATEWAY + each["metadata"]["name"] for each in of_kind(overlay, "Gateway")}


@pytest.mark.parametrize(
    "spec",
    [
        {"selector": {"matchLabels": {"app.kubernetes.io/name": "auth"}}, "action": "ALLOW"},  # and of anyone
        {"targetRefs": [{"group": "", "kind": "Service", "name": "auth"}], "action": "ALLOW"},
        {"targetRefs": [{"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "a"}], "action": "DENY"},
    ],
)
def test_what_the_model_does_not_read_it_refuses(spec: dict[str, object]) -> None:
    rules = [{"to": [{"operation": {"ports": ["1"]}}]}]
    with pytest.raises(AssertionError):
        Model([{"kind": "AuthorizationPolicy", "metadata": {"name": "a"}, "spec": {**spec, "rules": rules}}])


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
            (*AREAS, EDGE, DOOR),
            (GRPC_PORT, PLAIN_PORT, EDGE_PORT, 9464, *DOOR_PORTS),
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
                sorted(rule.sources or {""}),
                sorted(rule.ports),
                sorted(rule.paths) or ["/"],
                sorted(rule.methods) or ["GET"],
            ):
                request = Request(source.removeprefix(PREFIX) or None, rule.target, int(port), path, verb)
                assert [one.policy for one in model.rules if one.allows(request)] == [rule.policy], request

    def test_every_proxy_has_a_policy_that_lets_somebody_through(self, overlay: str) -> None:
        """`nobody` holds for each of them, the Gateway's pods too, which Istio makes in this namespace."""
        rules = Model(objects(overlay)).rules
        assert {rule.target for rule in rules} == proxied(overlay)
        assert {*AREAS, EDGE, DOOR} <= proxied(overlay)

    def test_the_gateway_takes_everybody_on_the_ports_of_its_listeners(self, overlay: str) -> None:
        (gateway,) = of_kind(overlay, "Gateway")
        assert {each["port"] for each in gateway["spec"]["listeners"]} == {*DOOR_PORTS}
        (rule,) = [each for each in Model(objects(overlay)).rules if each.target == DOOR]
        assert (rule.policy, rule.sources) == ("gateway-from-outside", None)
        assert rule.ports == {str(port) for port in DOOR_PORTS}
        assert not rule.methods | rule.paths
        # No policy that goes by labels is the Gateway's by accident.
        assert "app.kubernetes.io/name" not in gateway["spec"]["infrastructure"]["labels"]

    def test_without_its_policy_nobody_comes_in(self, overlay: str) -> None:
        without = Model(one for one in objects(overlay) if one["metadata"]["name"] != "gateway-from-outside")
        assert not without.allows(Request(None, DOOR, 443, "/"))
        assert Model(objects(overlay)).allows(Request(None, DOOR, 443, "/"))

    def test_every_account_named_is_that_of_the_pods_meant(self, overlay: str) -> None:
        accounts = {each["metadata"]["name"] for each in of_kind(overlay, "ServiceAccount")}
        (gateway,) = of_kind(overlay, "Gateway")
        assert f"{gateway['metadata']['name']}-{gateway['spec']['gatewayClassName']}" == GATEWAY_ACCOUNT
        pods = {
            labels(each)["app.kubernetes.io/name"]: pod(each)["serviceAccountName"]
            for each in of_kind(overlay, "Deployment", "StatefulSet")
        }
        doors = {GATEWAY + each["metadata"]["name"] for each in of_kind(overlay, "Gateway")}
        for rule in Model(objects(overlay)).rules:
            assert rule.target in pods.keys() | doors
            assert (rule.sources is None) is (rule.target in doors), (
                "who comes from outside has no account, all else has"
            )
            assert {source.removeprefix(PREFIX) for source in rule.sources or ()} <= accounts | {GATEWAY_ACCOUNT}
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

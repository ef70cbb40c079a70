"""The shipped AuthorizationPolicies on real Envoys, before the real services: each rule lets its calls through, and
nothing else comes through.

Each workload has an Envoy that ends mutual TLS and enforces what `kubectl kustomize` built for it (sidecars.py), on the
ports of the manifests. What a service itself would answer (mostly that it wants a credential) is of no interest here: a
call is let through if the process behind the Envoy answered it, and denied if the Envoy did.
"""

from __future__ import annotations

import asyncio
import http.client
import itertools
import os
import ssl
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc
import pytest

from services.local.data_folder import DataFolder
from services.local.port_names import ports_of
from services.local.state import read_state
from services.local.testing import LocalMesh, local_mesh
from tests.k8s.built import MESHED, containers, objects, of_kind, one
from tests.k8s.certificates import SERVER_NAME, Authority, Identity
from tests.k8s.gateways import asked_from_outside, gateway
from tests.k8s.istio_model import PREFIX, Model, Rule
from tests.k8s.sidecars import GATEWAY, UntranslatableError, configuration, policies_for, running
from tools.mesh_policies import GATEWAY_ACCOUNT

pytestmark = [pytest.mark.timeout(600)]
OVERLAY = "production-gpu"  # has every policy that there is, which a test holds
DOOR = GATEWAY + "promptmesh"
SERVICES = ("auth", "prompts", "moderation", "inference")
GRPC_PORT = 50051
UPSTREAM = "x-envoy-upstream-service-time"  # of answers that came from behind an Envoy
DENIED = "RBAC: access denied"
GATEWAY_REFERENCE = {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "promptmesh"}
STRANGERS = ("default", "stranger")
DEADLINE_S = 20.0
AT_ONCE = 32


@dataclass(frozen=True)
class World:
    """Workload → the address of its Envoy; service account → its certificate; who is not of the mesh."""

    addresses: dict[str, str]
    identities: dict[str, Identity]
    elsewhere: dict[str, Identity]

    def address(self, workload: str, port: int) -> str:
        return f"{self.addresses[workload]}:{port}"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("sidecars")
    authority, foreign = Authority(folder / "ca"), Authority(folder / "ca", "foreign")
    accounts = {one["metadata"]["name"] for one in of_kind(OVERLAY, "ServiceAccount")}
    accounts |= {each.removeprefix(PREFIX) for rule in rules() for each in sources(rule)} | {*STRANGERS}
    identities = {name: authority.identity(f"spiffe://{PREFIX}{name}") for name in sorted(accounts)}
    elsewhere = {
        "foreign": foreign.identity(f"spiffe://{PREFIX}edge"),
        "other-domain": authority.identity("spiffe://elsewhere.example/ns/promptmesh/sa/edge"),
        "other-namespace": authority.identity("spiffe://cluster.local/ns/other/sa/edge"),
    }
    environment = one(OVERLAY, "ConfigMap", "promptmesh")["data"]
    wanted = {name: environment[name] for name in ("PROMPTMESH_FORWARDED_CERTIFICATES", "PROMPTMESH_WORKLOADS")}
    with local_mesh(environment=wanted) as mesh, standing_in_for_vllm() as vllm:
        addresses = own_addresses([*SERVICES, "edge", "vllm", "gateway", "gateway-closed", "gateway-of-another"])
        behind = upstreams(mesh) | {"vllm": {8000: (vllm, False)}}
        configurations = {
            name: configuration(
                addresses[name], behind[name], identities.get(name, identities["default"]),
                *policies_for(name, objects(OVERLAY)),
            )
            for name in behind
        }  # fmt: skip
        configurations |= gateways(addresses, identities)
        with running(folder / "envoys", configurations):
            yield World(addresses, identities, elsewhere)


def own_addresses(names: list[str]) -> dict[str, str]:
    """Loopback addresses that no other process of these tests has: ports stand in the manifests, and are the same."""
    pid = os.getpid()
    # Ten of each process, of which nine are used: 25 processes within the last byte, 250 times as many in the third.
    net = f"127.{100 + pid // 6250 % 100}.{1 + pid // 25 % 250}"
    return {name: f"{net}.{1 + pid % 25 * 10 + index}" for index, name in enumerate(names)}


def gateways(addresses: dict[str, str], identities: dict[str, Identity]) -> dict[str, dict[str, Any]]:
    """Before the edge's sidecar: the Gateway as it is shipped, without the policy that names it, and with another's
    account."""
    edge = (addresses["edge"], 8080)
    shipped = policies_for(DOOR, objects(OVERLAY))
    before = [each for each in objects(OVERLAY) if "targetRefs" not in each.get("spec", {})]
    mine = identities[GATEWAY_ACCOUNT]
    return {
        "gateway": gateway(addresses["gateway"], mine, edge, *shipped),
        "gateway-closed": gateway(addresses["gateway-closed"], mine, edge, *policies_for(DOOR, before)),
        "gateway-of-another": gateway(addresses["gateway-of-another"], identities["stranger"], edge, *shipped),
    }


def upstreams(mesh: LocalMesh) -> dict[str, dict[int, tuple[int, bool]]]:
    """Workload → port of the manifests → (where the process of this machine listens, whether it takes HTTP/2)."""
    state = read_state(DataFolder(mesh.data).state)
    assert state is not None
    ports_here = ports_of(state.processes)
    found: dict[str, dict[int, tuple[int, bool]]] = {
        name: {GRPC_PORT: (ports_here[f"{name}-0"], True)} for name in SERVICES
    }
    found["inference"][8081] = (ports_here["inference-0-http"], False)
    found["edge"] = {8080: (mesh.edge_port, False)}
    for name, ports in found.items():
        (container,) = [
            each for each in containers(OVERLAY, initial=False) if each.workload["metadata"]["name"] == name
        ]
        # Every port, but that of metrics, which NetworkPolicies guard, and no Envoy stands before.
        named = {port["containerPort"] for port in container.spec["ports"] if port["name"] != "http-metrics"}
        assert set(ports) == named, name
    return found


class standing_in_for_vllm:  # noqa: N801 - used like a function
    """An HTTP server that answers whatever it is asked."""

    def __enter__(self) -> int:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("content-length", 0)))
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            do_GET = do_POST  # noqa: N815

            def log_message(self, *_: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        return int(self._server.server_address[1])

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def rules() -> list[Rule]:
    """Those of the mesh; who comes from outside to the Gateway has a test of its own."""
    found = Model(objects(OVERLAY)).rules
    assert {rule.policy for rule in found if rule.sources is None} == {"gateway-from-outside"}
    return [rule for rule in found if rule.sources is not None]


def sources(rule: Rule) -> frozenset[str]:
    assert rule.sources is not None
    return rule.sources


# What is asked


@asynccontextmanager
async def channel(world: World, identity: Identity | None, workload: str) -> AsyncIterator[grpc.aio.Channel]:
    address = world.address(workload, GRPC_PORT)
    if identity is None:
        async with grpc.aio.insecure_channel(address) as plain:
            yield plain
        return
    credentials = grpc.ssl_channel_credentials(
        world.identities["edge"].ca.read_bytes(), identity.key.read_bytes(), identity.certificate.read_bytes()
    )
    options = [("grpc.ssl_target_name_override", SERVER_NAME)]
    async with grpc.aio.secure_channel(address, credentials, options) as opened:
        yield opened


async def asked(opened: grpc.aio.Channel, path: str) -> str:
    """ "through", "denied", or the status of a call that nobody answered. It is asked with an empty message."""
    call = opened.unary_stream(path)(b"", timeout=DEADLINE_S)
    try:
        headers = dict(await call.initial_metadata())
        if UPSTREAM in headers:
            call.cancel()
            return "through"
        async for _ in call:
            pass
    except grpc.aio.AioRpcError as error:
        told = {**dict(error.initial_metadata() or {}), **dict(error.trailing_metadata() or {})}
        if UPSTREAM in told:
            return "through"
        return "denied" if DENIED in (error.details() or "") else str(error.code().name)
    trailers = dict(await call.trailing_metadata())
    if UPSTREAM in trailers:
        return "through"
    return "denied" if DENIED in await call.details() else str((await call.code()).name)


def asked_plainly(world: World, identity: Identity | None, workload: str, port: int, method: str, path: str) -> str:
    """The same of HTTP/1.1; "refused" where no connection came to be."""
    context = ssl.create_default_context(cafile=str(world.identities["edge"].ca))
    context.check_hostname = False
    if identity is not None:
        context.load_cert_chain(identity.certificate, identity.key)
    host = world.addresses[workload]
    connection = http.client.HTTPSConnection(host, port, timeout=DEADLINE_S, context=context)
    try:
        connection.request(method, path, body=b"{}", headers={"content-type": "application/json"})
        answer = connection.getresponse()
        body = answer.read(1024) if answer.status == 403 else b""
    except (OSError, http.client.HTTPException):
        return "refused"
    finally:
        connection.close()
    if answer.getheader(UPSTREAM) is not None:
        return "through"
    return "denied" if answer.status == 403 and DENIED.encode() in body else str(answer.status)


# Walks


def test_every_policy_of_every_overlay_is_walked_here() -> None:
    def policies(overlay: str) -> dict[str, object]:
        return {each["metadata"]["name"]: each["spec"] for each in of_kind(overlay, "AuthorizationPolicy")}

    for overlay in MESHED:
        assert policies(overlay).items() <= policies(OVERLAY).items(), overlay
    assert {rule.target for rule in rules()} == {*SERVICES, "edge", "vllm"}


async def test_each_path_of_grpc_is_open_to_whom_a_rule_names_and_to_nobody_else(world: World) -> None:
    """Every account of the mesh, and strangers, ask each service for every path that a rule of it names, and others."""
    counted = {"through": 0, "denied": 0}
    for target in SERVICES:
        mine = [rule for rule in rules() if rule.target == target and str(GRPC_PORT) in rule.ports]
        paths = sorted({path for rule in mine for path in rule.paths})
        wrong = [*(path + "/" for path in paths[:2]), paths[0].lower(), "/", "/promptmesh.auth.v1.AuthService/Nothing"]
        for account, identity in world.identities.items():
            allowed = {path for rule in mine if PREFIX + account in sources(rule) for path in rule.paths}
            async with channel(world, identity, target) as opened:
                for some in batches([*paths, *wrong]):
                    answers = await asyncio.gather(*(asked(opened, path) for path in some))
                    for path, answer in zip(some, answers, strict=True):
                        expected = "through" if path in allowed else "denied"
                        assert answer == expected, f"{account} to {target}, {path}: {answer}"
                        counted[answer] += 1
    assert counted["through"] == sum(
        len(rule.paths) * len(sources(rule)) for rule in rules() if str(GRPC_PORT) in rule.ports
    )
    assert counted["denied"] > counted["through"]


async def test_each_plain_rule_is_open_to_whom_it_names_and_to_nobody_else(world: World) -> None:
    """Those of HTTP: OpenAI's paths and health of inference, whatever it is of the edge, vLLM's own."""
    plain = [rule for rule in rules() if str(GRPC_PORT) not in rule.ports]
    assert {(rule.target, port) for rule in plain for port in rule.ports} == {
        ("inference", "8081"), ("edge", "8080"), ("vllm", "8000")
    }  # fmt: skip
    counted = {"through": 0, "denied": 0}
    for rule, account in itertools.product(plain, world.identities):
        (port,) = rule.ports
        others = [one for one in plain if one.target == rule.target]
        for path, method in itertools.product([*sorted(rule.paths), "/", "/elsewhere"], ("GET", "POST")):
            expected = any(
                PREFIX + account in sources(one)
                and (not one.paths or path in one.paths)
                and (not one.methods or method in one.methods)
                for one in others
            )
            answer = await asyncio.to_thread(
                asked_plainly, world, world.identities[account], rule.target, int(port), method, path
            )
            assert answer == ("through" if expected else "denied"), f"{account} to {rule.target}, {method} {path}"
            counted[answer] += 1
    assert min(counted.values()) > len(plain)


@pytest.mark.parametrize("rule", rules() if MESHED else [], ids=lambda rule: rule.policy)
async def test_no_rule_is_of_use_without_its_certificate(world: World, rule: Rule) -> None:
    """Without TLS, without a certificate, with one of another CA, trust domain or namespace."""
    path = min(rule.paths, default="/livez")
    (port,) = rule.ports
    method = "GET" if rule.methods == {"GET"} else "POST"
    bare = {name: world.elsewhere[name] for name in ("foreign", "other-domain")}
    if port == str(GRPC_PORT):
        for who, identity in {"plain": None, **bare}.items():
            async with channel(world, identity, rule.target) as opened:
                assert await asked(opened, path) == "UNAVAILABLE", who
        async with channel(world, world.elsewhere["other-namespace"], rule.target) as opened:
            assert await asked(opened, path) == "denied"
        return
    for who, identity in {"none": None, **bare}.items():
        answer = await asyncio.to_thread(asked_plainly, world, identity, rule.target, int(port), method, path)
        assert answer == "refused", who
    other = world.elsewhere["other-namespace"]
    assert await asyncio.to_thread(asked_plainly, world, other, rule.target, int(port), method, path) == "denied"


@pytest.mark.parametrize("path", ["/livez", "/livez?x=1"])
def test_whoever_is_outside_comes_in_through_the_gateway_and_nowhere_else(world: World, path: str) -> None:
    """TLS without a certificate of one's own, to the Gateway, by mutual TLS to the sidecar of the edge, to the edge."""
    secure = ssl.create_default_context(cafile=str(world.identities["edge"].ca))
    secure.check_hostname = False
    here = world.addresses

    through = asked_from_outside(here["gateway"], 443, secure, path)
    assert through.status == 200
    plain = asked_from_outside(here["gateway"], 80, None, path)
    assert (plain.status, plain.location) == (301, f"https://promptmesh.example.com{path}")

    denied = {
        "a port that no listener has": asked_from_outside(here["gateway"], 8443, secure, path),
        "the same in plain": asked_from_outside(here["gateway"], 8080, None, path),
        "no policy that names the Gateway": asked_from_outside(here["gateway-closed"], 443, secure, path),
        "the same, in plain": asked_from_outside(here["gateway-closed"], 80, None, path),
        "a Gateway of another account, at the edge": asked_from_outside(here["gateway-of-another"], 443, secure, path),
    }
    assert {why: (one.status, one.body) for why, one in denied.items()} == dict.fromkeys(denied, (403, DENIED.encode()))
    # Past the Gateway, straight to the edge: no certificate, no connection.
    assert asked_plainly(world, None, "edge", 8080, "GET", path) == "refused"


async def test_a_service_knows_another_by_its_certificate_alone(world: World) -> None:
    """With the shipped PROMPTMESH_WORKLOADS, behind an Envoy that tells who connects: no token goes with the call."""
    watch = "/promptmesh.auth.v1.AuthService/WatchIdentities"
    async with channel(world, world.identities["prompts"], "auth") as opened:
        first = await asyncio.wait_for(opened.unary_stream(watch)(b"", timeout=DEADLINE_S).read(), DEADLINE_S)
        assert isinstance(first, bytes)
    # Who comes through the edge is not thereby known, whatever else it says of itself.
    me = "/promptmesh.auth.v1.AuthService/GetMe"
    said = (("x-forwarded-client-cert", f"URI=spiffe://{PREFIX}prompts"),)
    async with channel(world, world.identities["edge"], "auth") as opened:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await opened.unary_unary(me)(b"", timeout=DEADLINE_S, metadata=said)
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_a_policy_that_is_not_understood_is_no_policy_that_passes() -> None:
    for spec in (
        {"action": "DENY", "rules": [{}]},
        {"rules": [{"from": [{"source": {"principals": ["*"]}}], "to": [{"operation": {"ports": ["1"]}}]}]},
        {"rules": [{"from": [{"source": {"namespaces": ["a"]}}], "to": [{"operation": {"ports": ["1"]}}]}]},
        {"rules": [{"to": [{"operation": {"ports": ["1"]}}]}]},
        {"selector": {"matchLabels": {"x": "y"}}, "rules": []},
        {"targetRefs": [{"group": "", "kind": "Service", "name": "auth"}], "rules": []},
        {"targetRefs": [GATEWAY_REFERENCE], "selector": {"matchLabels": {}}, "rules": []},
    ):
        wrong = {"kind": "AuthorizationPolicy", "metadata": {"name": "wrong"}, "spec": spec}
        with pytest.raises(UntranslatableError):
            policies_for("auth", [wrong])


def test_a_policy_of_a_gateway_is_of_no_sidecar_and_of_no_other_gateway() -> None:
    spec = {"targetRefs": [GATEWAY_REFERENCE], "rules": [{"to": [{"operation": {"ports": ["443"]}}]}]}
    policy = {"kind": "AuthorizationPolicy", "metadata": {"name": "open"}, "spec": spec}
    assert [policies_for(each, [policy])[0] for each in (DOOR, "promptmesh", "edge", GATEWAY + "other")] == [
        True, False, False, False,
    ]  # fmt: skip


def batches(paths: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(paths), AT_ONCE):
        yield paths[start : start + AT_ONCE]

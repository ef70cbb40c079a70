"""The edge of each overlay: its settings rendered as its pod does it, and the real Envoy's opinion of the result."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import yaml

from gateway import render
from services.local.embedded.binaries import envoy
from tests.k8s.built import each_overlay, objects, of_kind, one, pod
from tests.k8s.schemas import kubernetes_faults
from tools.k8s_build import edge_settings

pytestmark = each_overlay
HEALTH_CHECKS_S = 30  # until a load balancer has seen that a node has no pod any more: three of 10 s
ISTIO_DRAIN_S = 45  # drainDuration, its default: then Envoy closes its listeners


def configured(overlay: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(edge_settings(objects(overlay)))
    return found


def test_envoy_takes_what_its_pod_renders(overlay: str, tmp_path: Path) -> None:
    settings, out = tmp_path / "edge.json", tmp_path / "edge.yaml"
    settings.write_text(edge_settings(objects(overlay)))
    arguments = pod(one(overlay, "Deployment", "edge"))["initContainers"][0]["args"]
    assert arguments[0] == "render"
    here = {"/etc/promptmesh/edge/edge.json": str(settings), "/run/promptmesh/edge.yaml": str(out)}
    assert set(here) <= set(arguments)
    arguments = [here.get(each, each) for each in arguments[1:]]

    assert render.main(arguments) == 0

    validated = subprocess.run(
        [
            str(envoy()),
            "--mode",
            "validate",
            "-c",
            str(tmp_path / "edge.yaml"),
            "--disable-hot-restart",
            "-l",
            "warning",
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert validated.returncode == 0, validated.stderr
    assert "warning" not in validated.stderr, validated.stderr


def test_envoy_takes_the_arguments_of_the_pod(overlay: str, tmp_path: Path) -> None:
    (container,) = pod(one(overlay, "Deployment", "edge"))["containers"]
    arguments = container["args"]
    assert arguments[:3] == ["envoy", "--config-path", "/run/promptmesh/edge.yaml"]
    (tmp_path / "empty.yaml").write_text(yaml.safe_dump({"static_resources": {}}))
    validated = subprocess.run(
        [str(envoy()), "--mode", "validate", "--config-path", str(tmp_path / "empty.yaml"), *arguments[3:]],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert validated.returncode == 0, validated.stderr


def test_it_listens_where_its_pod_says(overlay: str) -> None:
    (container,) = pod(one(overlay, "Deployment", "edge"))["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    settings = configured(overlay)
    assert ports == {"http2": settings["edge_port"], "http-metrics": settings["metrics_port"]}
    assert settings["listen_host"] == "0.0.0.0"
    drain = container["lifecycle"]["preStop"]["exec"]["command"]
    assert drain[drain.index("--admin-port") + 1] == str(settings["admin_port"])


def test_it_calls_services_that_are_there(overlay: str) -> None:
    services = {each["metadata"]["name"]: each["spec"] for each in of_kind(overlay, "Service")}
    meshed = bool(of_kind(overlay, "PeerAuthentication"))
    settings = configured(overlay)
    for clusters, port_name in ((settings["clusters"], "grpc"), (settings["http_clusters"], "http-openai")):
        for area, ((host, port),) in clusters.items():
            name, _, rest = host.partition(".")
            assert rest == "promptmesh.svc.cluster.local"
            assert name.removesuffix("-pods") == area
            assert (port_name, port) in {(each["name"], each["port"]) for each in services[name]["ports"]}
            # Where sidecars spread the calls it names the service; elsewhere it sees each pod and its health.
            assert (services[name].get("clusterIP") == "None") is not meshed
    assert set(settings["clusters"]) == {"auth", "prompts", "moderation", "inference"}
    assert set(settings["http_clusters"]) == {"inference"}


def test_it_believes_as_many_proxies_as_stand_in_front(overlay: str) -> None:
    assert configured(overlay)["trusted_hops"] == len(of_kind(overlay, "Gateway"))


def test_it_records_as_many_traces_as_the_services_and_for_no_stranger(overlay: str) -> None:
    services = one(overlay, "ConfigMap", "promptmesh")["data"].get("PROMPTMESH_TRACE_RATIO", "0")
    settings = configured(overlay)
    assert settings.get("trace_ratio", 0) == float(services)
    assert not settings.get("trust_traceparent", False)


def test_its_heap_fits_its_limit(overlay: str) -> None:
    from gateway.settings import EdgeSettings

    (container,) = pod(one(overlay, "Deployment", "edge"))["containers"]
    limit_mib = int(container["resources"]["limits"]["memory"].removesuffix("Mi"))
    assert limit_mib > configured(overlay).get("max_heap_mib", EdgeSettings.model_fields["max_heap_mib"].default) * 1.25
    assert container["args"][container["args"].index("--concurrency") + 1] == container["resources"]["limits"]["cpu"]


def test_one_name_leads_in(overlay: str) -> None:
    public = one(overlay, "ConfigMap", "promptmesh")["data"]["PROMPTMESH_PUBLIC_URL"]
    host = public.partition("://")[2].partition(":")[0]
    for gateway in of_kind(overlay, "Gateway"):
        assert {listener["hostname"] for listener in gateway["spec"]["listeners"]} == {host}
        (https,) = [each for each in gateway["spec"]["listeners"] if each["protocol"] == "HTTPS"]
        secrets = {each["name"] for each in https["tls"]["certificateRefs"]}
        certificates = of_kind(overlay, "Certificate")
        assert {each["spec"]["secretName"] for each in certificates} == secrets
        assert [each["spec"]["dnsNames"] for each in certificates] == [[host]]
    for route in of_kind(overlay, "HTTPRoute"):
        for backend in (each for rule in route["spec"]["rules"] for each in rule.get("backendRefs", [])):
            (port,) = one(overlay, "Service", backend["name"])["spec"]["ports"]
            assert backend["port"] == port["port"]


def test_what_is_laid_over_the_gateway_is_there_and_can_be_laid(overlay: str) -> None:
    for gateway in of_kind(overlay, "Gateway"):
        reference = gateway["spec"]["infrastructure"]["parametersRef"]
        data = laid_over(overlay, reference["name"])
        # The edge counts calls by their callers' addresses, which another policy would replace by those of nodes.
        assert data["service"]["spec"]["externalTrafficPolicy"] == "Local"
        stays_s = data["deployment"]["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
        assert stays_s >= pod(one(overlay, "Deployment", "edge"))["terminationGracePeriodSeconds"]
        (proxy,) = data["deployment"]["spec"]["template"]["spec"]["containers"]
        told = {each["name"]: each["value"] for each in proxy["env"]}
        # Until a load balancer has found out by its health checks. Envoy takes connections no longer than Istio has it.
        takes_s = int(told["MINIMUM_DRAIN_DURATION"].removesuffix("s"))
        assert HEALTH_CHECKS_S <= takes_s < ISTIO_DRAIN_S
        assert told["EXIT_ON_ZERO_ACTIVE_CONNECTIONS"] == "true"
        # What begins at the end of that may still stream as long as at the edge.
        assert stays_s >= takes_s + at_most_s(overlay)
        (namespace,) = of_kind(overlay, "Namespace")
        assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
        context = data["deployment"]["spec"]["template"]["spec"]["securityContext"]
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        for kind, patch in data.items():
            assert kubernetes_faults(_whole(kind, patch), "1.30.0") == []


def laid_over(overlay: str, name: str = "gateway") -> dict[str, Any]:
    """Kind → what is laid over the object that Istio makes of it for the Gateway."""
    return {key: yaml.safe_load(text) for key, text in one(overlay, "ConfigMap", name)["data"].items()}


def at_most_s(overlay: str) -> float:
    """How long the edge drains at most."""
    (container,) = pod(one(overlay, "Deployment", "edge"))["containers"]
    command = container["lifecycle"]["preStop"]["exec"]["command"]
    return float(command[command.index("--at-most-s") + 1])


def _whole(kind: str, patch: dict[str, Any]) -> dict[str, Any]:
    """The patch with what Istio's own object has and a schema asks for."""
    whole: dict[str, Any] = {
        "apiVersion": {"service": "v1", "deployment": "apps/v1"}[kind],
        "kind": kind.capitalize(),
        "metadata": {"name": "made-by-istio"},
        **patch,
    }
    if kind == "deployment":
        whole["spec"]["selector"] = {}
    return whole

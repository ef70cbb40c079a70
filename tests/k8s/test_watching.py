"""What is scraped, drawn and alerted on: every metric that is named is one that our code makes."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.k8s.built import MESHED, containers, labels, of_kind, selects

ROOT = Path(__file__).resolve().parents[2]
OURS = re.compile(r"\b(?:promptmesh|rpc_server|rpc_client|gen_ai)_\w+")
LABELS_OF_OURS = re.compile(r"\b(?:gen_ai_(?:operation_name|provider_name|request_model|token_type))\b")
RECORDED = re.compile(r"\bpromptmesh:\w+(?::\w+)?")
NOT_OURS = re.compile(r"\b(?:vllm:|up\{|process_|envoy_|vector\(|cnpg_|barman_cloud_|certmanager_)")
"""What engines, the client library, Envoy, PostgreSQL's operator, cert-manager and Prometheus itself make."""
SUFFIXES = {"Counter": ("_total",), "Gauge": ("",), "Histogram": ("_bucket", "_sum", "_count")}
pytestmark = pytest.mark.parametrize("overlay", MESHED)


@cache
def made() -> frozenset[str]:
    """Names of the series that services make."""
    return frozenset(_made())


def _made() -> Iterator[str]:
    for file in (ROOT / "services").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.args:
                kind = node.func.id.removesuffix("MetricFamily")
                name = node.args[0].value if isinstance(node.args[0], ast.Constant) else None
                if kind in SUFFIXES and isinstance(name, str):
                    base = name.removesuffix("_total") if kind == "Counter" else name
                    yield from (base + suffix for suffix in SUFFIXES[kind])


def named(overlay: str) -> dict[str, str]:
    """Where → expression in Prometheus's language."""
    found = {}
    for rule in of_kind(overlay, "PrometheusRule"):
        for group in rule["spec"]["groups"]:
            for number, each in enumerate(group["rules"]):
                found[f"{group['name']} {number} {each.get('alert') or each['record']}"] = each["expr"]
    for config in of_kind(overlay, "ConfigMap"):
        if config["metadata"].get("labels", {}).get("grafana_dashboard") == "1":
            for text in config["data"].values():
                dashboard = json.loads(text)
                for panel in dashboard["panels"]:
                    where = f"{dashboard['uid']} {panel['title']}"
                    found |= {f"{where} {one['refId']}": one["expr"] for one in panel["targets"]}
    for scaled in of_kind(overlay, "ScaledObject"):
        for number, trigger in enumerate(scaled["spec"]["triggers"]):
            if "query" in trigger["metadata"]:
                found[f"{scaled['metadata']['name']} {number}"] = trigger["metadata"]["query"]
    return found


def test_every_metric_is_one_that_we_make(overlay: str) -> None:
    expressions = named(overlay)
    assert len(expressions) > 100
    for where, expression in expressions.items():
        names = set(OURS.findall(expression)) - set(LABELS_OF_OURS.findall(expression)) - recorded(overlay)
        assert names or NOT_OURS.search(expression) or RECORDED.search(expression), where
        assert names <= made(), f"{where}: {names - made()}"


def test_every_recorded_series_is_one_that_a_rule_records(overlay: str) -> None:
    read = {name for expression in named(overlay).values() for name in RECORDED.findall(expression)}
    assert read <= recorded(overlay), read - recorded(overlay)


def recorded(overlay: str) -> set[str]:
    """Names of the series that rules make."""
    groups = [group for rule in of_kind(overlay, "PrometheusRule") for group in rule["spec"]["groups"]]
    return {rule["record"] for group in groups for rule in group["rules"] if "record" in rule}


def test_every_alert_says_what_is_wrong(overlay: str) -> None:
    for rule in of_kind(overlay, "PrometheusRule"):
        for each in (one for group in rule["spec"]["groups"] for one in group["rules"] if "alert" in one):
            assert each["annotations"]["summary"].endswith((".", "?"))
            assert each["labels"]["severity"] in ("page", "ticket")


def test_every_process_of_ours_is_scraped(overlay: str) -> None:
    monitors = [each["spec"] for each in of_kind(overlay, "PodMonitor")]
    (rules,) = [each["spec"] for each in of_kind(overlay, "NetworkPolicy") if each["metadata"]["name"] == "metrics"]
    open_ = {port["port"] for each in rules["ingress"] for port in each["ports"]}
    for each in containers(overlay, initial=False):
        for port in each.spec.get("ports", []):
            if port["name"] == "http-metrics":
                (monitor,) = [one for one in monitors if selects(one["selector"], labels(each.workload))]
                assert [one["port"] for one in monitor["podMetricsEndpoints"]] == ["http-metrics"]
                assert selects(rules["podSelector"], labels(each.workload))
                assert "http-metrics" in open_


def test_the_gateway_is_scraped_and_its_alert_asks_for_what_its_monitor_gives(overlay: str) -> None:
    """Istio makes its pods, with these labels; its agent listens on 15020."""
    (gateway,) = of_kind(overlay, "Gateway")
    name = "gateway.networking.k8s.io/gateway-name"
    made = {name: gateway["metadata"]["name"], **gateway["spec"]["infrastructure"]["labels"]}
    (monitor,) = [each["spec"] for each in of_kind(overlay, "PodMonitor") if selects(each["spec"]["selector"], made)]
    (end,) = monitor["podMetricsEndpoints"]
    assert (end["portNumber"], end["path"]) == (15020, "/stats/prometheus")
    open_to_prometheus = [
        rule["ports"]
        for each in of_kind(overlay, "NetworkPolicy")
        if selects(each["spec"]["podSelector"], made)
        for rule in each["spec"].get("ingress", [])
        if rule.get("from") == [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}]
    ]
    assert open_to_prometheus == [[{"port": 15020}, {"port": 15090}]]

    expression = alert(overlay, "PromptmeshGatewayGone")["expr"]
    assert monitor["podTargetLabels"] == [name]
    assert f'{re.sub("[^a-zA-Z0-9_]", "_", name)}="{gateway["metadata"]["name"]}"' in expression
    assert f'namespace="{gateway["metadata"]["namespace"]}"' in expression


def test_the_gateway_s_certificate_is_the_one_that_is_watched(overlay: str) -> None:
    (gateway,), (certificate,) = of_kind(overlay, "Gateway"), of_kind(overlay, "Certificate")
    served = {
        reference["name"]
        for each in gateway["spec"]["listeners"]
        for reference in each.get("tls", {}).get("certificateRefs", [])
    }
    assert served == {certificate["spec"]["secretName"]}
    expression = alert(overlay, "PromptmeshCertificateExpires")["expr"]
    assert f'name="{certificate["metadata"]["name"]}"' in expression
    assert f'exported_namespace="{certificate["metadata"]["namespace"]}"' in expression


def test_targets_of_the_mesh_have_the_job_that_its_alert_knows_a_mesh_by(overlay: str) -> None:
    """<namespace>/<name of the PodMonitor>, as the operator has it where the monitor names no other."""
    (monitor,) = [each for each in of_kind(overlay, "PodMonitor") if each["metadata"]["name"] == "promptmesh"]
    assert "jobLabel" not in monitor["spec"]
    (known,) = set(re.findall(r'job=~"([^"]+)"', alert(overlay, "PromptmeshServiceGone")["expr"]))
    assert re.fullmatch(known, f"{monitor['metadata']['namespace']}/{monitor['metadata']['name']}")
    for other in of_kind(overlay, "PodMonitor"):
        if other is not monitor:
            assert not re.fullmatch(known, f"{other['metadata']['namespace']}/{other['metadata']['name']}")


def test_no_alert_of_the_mesh_mixes_namespaces(overlay: str) -> None:
    """A Prometheus may hold series of several meshes: whatever is summed up keeps them apart, or is of one alone."""
    asked = 0
    for rule in (one for each in of_kind(overlay, "PrometheusRule") for one in rules_of(each)):
        for by in re.findall(
            r"\b(?:sum|min|max|count)\b(?! by)\s*\(|\b(?:sum|min|max|count) by \(([^)]*)\)", rule["expr"]
        ):
            asked += 1
            ours_alone = 'namespace="promptmesh"' in rule["expr"]
            assert ours_alone or "namespace" in by.split(", "), rule["expr"]
    assert asked > 50


def rules_of(rule: dict[str, Any]) -> list[dict[str, Any]]:
    return [one for group in rule["spec"]["groups"] for one in group["rules"]]


def alert(overlay: str, name: str) -> dict[str, Any]:
    (found,) = [
        one for each in of_kind(overlay, "PrometheusRule") for one in rules_of(each) if one.get("alert") == name
    ]
    return found


def test_every_endpoint_of_a_monitor_is_a_port_that_its_pods_declare(overlay: str) -> None:
    """Prometheus looks for it among the ports that containers declare: of one that is not there it has no target."""
    for monitor in of_kind(overlay, "PodMonitor"):
        pods = [each for each in containers(overlay) if selects(monitor["spec"]["selector"], labels(each.workload))]
        ports = [port for each in pods for port in each.spec.get("ports", [])]
        for end in monitor["spec"]["podMetricsEndpoints"]:
            # Pods of operators are not in the manifests.
            assert not pods or any(
                end.get("port") == port.get("name") or end.get("portNumber") == port["containerPort"] for port in ports
            ), monitor["metadata"]["name"]

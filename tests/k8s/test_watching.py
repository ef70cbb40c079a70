"""What is scraped, drawn and alerted on: every metric that is named is one that our code makes."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.k8s.built import MESHED, containers, labels, of_kind, selects

ROOT = Path(__file__).resolve().parents[2]
OURS = re.compile(r"\b(?:promptmesh|rpc_server|rpc_client|gen_ai)_\w+")
LABELS_OF_OURS = re.compile(r"\b(?:gen_ai_(?:operation_name|provider_name|request_model|token_type))\b")
RECORDED = re.compile(r"\bpromptmesh:\w+(?::\w+)?")
NOT_OURS = re.compile(r"\b(?:vllm:|up\{|process_|envoy_|vector\(|cnpg_|barman_cloud_)")
"""What engines, the client library, Envoy, PostgreSQL's operator and Prometheus itself make."""
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

"""The rules by Prometheus' own tools: they are valid, each alert fires when it should, and not when it should not."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from services.local.observe.specs import RULES, rule_groups
from tests.observe.alert_cases import CASES, Case
from tests.observe.conftest import needs_prometheus
from tools.observability.__main__ import files
from tools.observability.alerts import ALERTS, RUNBOOKS
from tools.observability.backup import backup_records
from tools.observability.slos import BURNS, SLOS, WINDOWS

ROOT = Path(__file__).resolve().parents[2]
NAMES = sorted({one["alert"] for one in ALERTS})
SHIPPED = sorted(path for path in files() if path.name == RULES.name)


def shipped_groups() -> list[dict[str, Any]]:
    """Those of the mesh, and of what only a cluster has."""
    return [group for path in SHIPPED for group in rule_groups(path)["groups"]]


def promtool(*arguments: str, folder: Path) -> str:
    done = subprocess.run(
        ["promtool", *arguments], cwd=folder, capture_output=True, text=True, check=False, timeout=100
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    file = tmp_path / "rules.json"
    file.write_text(json.dumps({"groups": shipped_groups()}))
    return file


def test_what_is_shipped_is_what_the_code_makes() -> None:
    for path, text in files().items():
        assert path.read_text() == text, f"{path.relative_to(ROOT)}: run `python -m tools.observability`"
    shipped = set((ROOT / "k8s/components/grafana").glob("*.json"))
    assert shipped == {path for path in files() if path.suffix == ".json"}
    assert set((ROOT / "k8s").rglob(RULES.name)) == set(SHIPPED)


def test_what_only_a_cluster_has_wakes_nobody_on_one_machine() -> None:
    read = {rule["alert"] for group in rule_groups(RULES)["groups"] for rule in group["rules"] if "alert" in rule}
    assert set(NAMES) - read == {"PromptmeshGatewayGone", "PromptmeshCertificateExpires"}


@needs_prometheus
def test_prometheus_takes_the_rules(rules: Path) -> None:
    said = promtool("check", "rules", "--lint-fatal", rules.name, folder=rules.parent)
    recorded = len(SLOS) * (1 + 3 * len(WINDOWS)) + len(backup_records()["rules"])
    assert f"{recorded + len(ALERTS)} rules found" in said


@needs_prometheus
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.alert}-{'fires' if case.fires else 'rests'}")
def test_an_alert_fires_when_it_should_and_only_then(case: Case, rules: Path) -> None:
    (rules.parent / "test.json").write_text(json.dumps(_unit_test(case, rules.name)))
    promtool("test", "rules", "test.json", folder=rules.parent)


def test_each_alert_is_seen_to_fire_and_to_rest() -> None:
    assert {case.alert for case in CASES if case.fires} == set(NAMES)
    assert {case.alert for case in CASES if not case.fires} == set(NAMES)


def test_burns_look_at_windows_that_are_recorded() -> None:
    for severity, long, short, times in BURNS:
        assert {long, short} <= set(WINDOWS)
        assert severity in ("page", "ticket")
        # What would use up more than there is could never be reached.
        assert all(times * slo.budget < 1 for slo in SLOS)


@pytest.mark.parametrize("alert", NAMES)
def test_an_alert_names_its_page(alert: str) -> None:
    for group in shipped_groups():
        for rule in group["rules"]:
            if rule.get("alert") == alert:
                assert rule["annotations"]["runbook"] == f"{RUNBOOKS}/{alert}.md"


def _unit_test(case: Case, rules: str) -> dict[str, Any]:
    """The alert's labels are filled in from the rules: a case names those that it is about."""
    return {
        "rule_files": [rules],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": name, "values": values} for name, values in case.series.items()],
                "promql_expr_test": [
                    {
                        "expr": f"count by ({', '.join(sorted({'severity', *wanted}))})"
                        f' (ALERTS{{alertname="{case.alert}",alertstate="firing",'
                        + ",".join(f'{label}="{value}"' for label, value in wanted.items())
                        + "})",
                        "eval_time": f"{case.at}m",
                        "exp_samples": [{"labels": _labels(case.alert, wanted), "value": 1}],
                    }
                    for wanted in case.fires
                ]
                + [
                    {
                        "expr": f'count(ALERTS{{alertname="{case.alert}",alertstate="firing"}}) or vector(0)',
                        "eval_time": f"{case.at}m",
                        "exp_samples": [{"labels": "{}", "value": len(case.fires)}],
                    }
                ],
            }
        ],
    }


def _labels(alert: str, wanted: dict[str, str]) -> str:
    severity = wanted.get("severity") or next(one["labels"]["severity"] for one in ALERTS if one["alert"] == alert)
    labels = {"severity": severity, **wanted}
    return "{" + ",".join(f'{name}="{value}"' for name, value in sorted(labels.items())) + "}"

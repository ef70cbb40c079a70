"""Writes rules, dashboards and the table of metrics to where they are taken from: `python -m tools.observability`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from tools.observability.alerts import component_groups, groups
from tools.observability.dashboards import dashboards
from tools.observability.reference import written_into

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "observability.md"
K8S = ROOT / "k8s"
COMPONENTS = K8S / "components"
HEAD = "# Made by `python -m tools.observability` from tools/observability: change it there.\n"


class _Plain(yaml.SafeDumper):
    """YAML without references: each rule is read alone."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _rules(name: str, of_it: list[dict[str, Any]]) -> str:
    rule = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": name},
        "spec": {"groups": of_it},
    }
    return HEAD + yaml.dump(rule, Dumper=_Plain, sort_keys=False, width=120)


def files() -> dict[Path, str]:
    """Every file, with what belongs into it."""
    made = {COMPONENTS / "prometheus" / "rules.yaml": _rules("promptmesh", groups())}
    for folder, of_it in component_groups().items():
        made[K8S / folder / "rules.yaml"] = _rules(folder.rpartition("/")[2], of_it)
    for name, one in dashboards().items():
        made[COMPONENTS / "grafana" / f"{name}.json"] = json.dumps(one, indent=1) + "\n"
    made[PAGE] = written_into(PAGE.read_text(encoding="utf-8"))
    return made


def main() -> None:
    """Writes them."""
    for path, text in files().items():
        path.write_text(text, encoding="utf-8")
        print(path.relative_to(ROOT))


if __name__ == "__main__":
    main()

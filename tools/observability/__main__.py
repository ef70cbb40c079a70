"""Writes rules, dashboards and the table of metrics to where they are taken from: `python -m tools.observability`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from tools.observability.alerts import groups
from tools.observability.dashboards import dashboards
from tools.observability.reference import written_into

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "observability.md"
COMPONENTS = ROOT / "k8s" / "components"
HEAD = "# Made by `python -m tools.observability` from tools/observability: change it there.\n"


class _Plain(yaml.SafeDumper):
    """YAML without references: each rule is read alone."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def files() -> dict[Path, str]:
    """Every file, with what belongs into it."""
    rules = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "promptmesh"},
        "spec": {"groups": groups()},
    }
    made = {
        COMPONENTS / "prometheus" / "rules.yaml": HEAD + yaml.dump(rules, Dumper=_Plain, sort_keys=False, width=120),
    }
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

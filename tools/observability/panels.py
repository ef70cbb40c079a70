"""Panels of Grafana, in few words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
WIDTH, HEIGHT, COLUMNS = 12, 8, 24


@dataclass(frozen=True, slots=True)
class Panel:
    """A chart. queries: PromQL with what names its lines; exemplars: whether its points lead to traces."""

    title: str
    unit: str
    queries: Sequence[tuple[str, str]]
    kind: str = "timeseries"
    note: str = ""
    exemplars: bool = False
    decimals: int | None = None


def dashboard(uid: str, title: str, panels: Sequence[Panel]) -> dict[str, Any]:
    """A dashboard, two panels beside each other."""
    return {
        "uid": uid,
        "title": title,
        "schemaVersion": 39,
        "editable": False,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "tags": ["promptmesh"],
        "links": [
            {"type": "dashboards", "title": "Promptmesh", "tags": ["promptmesh"], "asDropdown": True, "keepTime": True}
        ],
        "templating": {"list": [{"name": "datasource", "type": "datasource", "query": "prometheus"}]},
        "annotations": {
            "list": [
                {
                    "name": "Alerts",
                    "enable": True,
                    "datasource": DATASOURCE,
                    "expr": 'ALERTS{alertname=~"Promptmesh.*",alertstate="firing"}',
                    "titleFormat": "{{alertname}}",
                    "iconColor": "red",
                }
            ]
        },
        "panels": [_panel(number, one) for number, one in enumerate(panels)],
    }


def _panel(number: int, panel: Panel) -> dict[str, Any]:
    per_row = COLUMNS // WIDTH
    place = {"h": HEIGHT, "w": WIDTH, "x": number % per_row * WIDTH, "y": number // per_row * HEIGHT}
    defaults: dict[str, Any] = {"unit": panel.unit, "min": 0}
    if panel.decimals is not None:
        defaults["decimals"] = panel.decimals
    return {
        "id": number + 1,
        "type": panel.kind,
        "title": panel.title,
        **({"description": panel.note} if panel.note else {}),
        "gridPos": place,
        "datasource": DATASOURCE,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "targets": [
            {
                "refId": chr(ord("A") + index),
                "datasource": DATASOURCE,
                "expr": query,
                "legendFormat": legend,
                **({"exemplar": True} if panel.exemplars else {}),
            }
            for index, (query, legend) in enumerate(panel.queries)
        ],
    }

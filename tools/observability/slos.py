"""What is promised, and the rules that tell how fast the budget of each promise is being used up.

After Google's SRE workbook, "Alerting on SLOs": an alert wants a long window (something real was lost) and a short one
(it is still being lost). 14.4 times the even pace for an hour uses 2 % of a budget of 30 days, 6 times for six hours
5 %, 3 times for a day 10 %, the even pace itself for three days 10 %.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

SERVICE = "app_kubernetes_io_name"
# One Prometheus may hold several meshes, each in a namespace of its own: none may hide another. On one machine there is
# no such label, and all is one mesh.
NAMESPACE = "namespace"
EACH_SERVICE = f"{NAMESPACE}, {SERVICE}"
CALLS = "rpc_server_call_duration_seconds_count"
# What a caller did wrong, or a limit refused, is no failure of ours. A deadline is its caller's own.
FAILED = 'rpc_response_status_code=~"INTERNAL|UNAVAILABLE|UNKNOWN|DATA_LOSS"'
# Of what the edge asks services: not of /healthz, which says 503 as long as one of them starts. Other Envoys, the
# Gateway's and sidecars, count their own.
EDGE = f'{SERVICE}="edge",envoy_cluster_name!="edge_admin"'
WINDOWS = ("5m", "30m", "1h", "2h", "6h", "1d", "3d")
SLOW_WINDOWS = ("2h", "6h", "1d", "3d")
"""Read a lot: evaluated less often."""
BURNS = (
    ("page", "1h", "5m", 14.4),
    ("page", "6h", "30m", 6.0),
    ("ticket", "1d", "2h", 3.0),
    ("ticket", "3d", "6h", 1.0),
)
BAD_MIN = 10
"""So many must have gone wrong within the long window: at night one failure is 100 % of a minute."""
_SECONDS = {"1h": 3600, "6h": 21600, "1d": 86400, "3d": 259200}


@dataclass(frozen=True, slots=True)
class Sli:
    """How what went wrong is counted: two expressions in which `$w` is the window."""

    bad: str
    all: str


@dataclass(frozen=True, slots=True)
class Slo:
    """A promise. objective: the share that goes well, over 30 days."""

    name: str
    title: str
    objective: float
    sli: Sli
    alert: str
    says: str

    @property
    def budget(self) -> float:
        """The share that may go wrong."""
        return round(1 - self.objective, 6)


def _slower_than(histogram: str, bucket: str, matching: str = "") -> Sli:
    """Bad is what took longer than a bound of the histogram's buckets: a pattern, for 5 may be written as 5.0."""
    within = f'le=~"{bucket}"' + (f",{matching}" if matching else "")
    everything, quick = (
        f"sum by ({NAMESPACE}) (rate({histogram}_{which}[$w]))"
        for which in (f"count{{{matching}}}", f"bucket{{{within}}}")
    )
    return Sli(f"{everything} - {quick}", everything)


def _each_service(series: str) -> str:
    return f"sum by ({EACH_SERVICE}) (rate({series}[$w]))"


_CALLS_ALL = _each_service(CALLS)
_EDGE_ALL = _each_service(f"envoy_cluster_upstream_rq_xx{{{EDGE}}}")
_EDGE_FAILED = _each_service(f'envoy_cluster_upstream_rq_xx{{{EDGE},envoy_response_code_class="5"}}')
SLOS = (
    Slo(
        "availability",
        "Requests that do not fail by our fault",
        0.999,
        # Services by themselves, and the edge as people see it: with a service gone, only the edge counts what it would
        # have answered.
        Sli(
            f"{_each_service(f'{CALLS}{{{FAILED}}}')} or 0 * {_CALLS_ALL} or {_EDGE_FAILED}",
            f"{_CALLS_ALL} or {_EDGE_ALL}",
        ),
        "PromptmeshAvailabilityBudgetBurns",
        "Requests to {{ $labels.app_kubernetes_io_name }} fail by its own fault",
    ),
    Slo(
        "publish",
        "Posts decided within 5 s of their submission",
        0.99,
        _slower_than("promptmesh_publish_duration_seconds", "5|5[.]0", 'decided_by="policy"'),
        "PromptmeshPublishBudgetBurns",
        "Posts take longer than 5 s to be published",
    ),
    Slo(
        "first_token",
        "Streams whose first token comes within 2.5 s",
        0.95,
        _slower_than("gen_ai_server_time_to_first_token_seconds", "2[.]5"),
        "PromptmeshFirstTokenBudgetBurns",
        "First tokens take longer than 2.5 s",
    ),
)


def recording_groups() -> list[dict[str, Any]]:
    """What the alerts and the dashboards read."""
    fast = [one for one in WINDOWS if one not in SLOW_WINDOWS]
    objectives = [
        {"record": "promptmesh:slo_objective", "expr": f"vector({slo.objective})", "labels": {"slo": slo.name}}
        for slo in SLOS
    ]
    return [
        {"name": "promptmesh-slo", "rules": [*objectives, *(rule for one in fast for rule in _recorded(one))]},
        {
            "name": "promptmesh-slo-slow",
            "interval": "2m",
            "rules": [rule for one in SLOW_WINDOWS for rule in _recorded(one)],
        },
    ]


def _recorded(window: str) -> list[dict[str, Any]]:
    rules = []
    for slo in SLOS:
        labels = {"slo": slo.name}
        for record, expression in (("slo_bad", slo.sli.bad), ("slo_all", slo.sli.all)):
            text = expression.replace("$w", window)
            rules.append({"record": f"promptmesh:{record}:rate{window}", "expr": text, "labels": labels})
    for slo in SLOS:
        of = f'{{slo="{slo.name}"}}'
        text = f"promptmesh:slo_bad:rate{window}{of} / promptmesh:slo_all:rate{window}{of}"
        rules.append({"record": f"promptmesh:slo_errors:ratio_rate{window}", "expr": text, "labels": {"slo": slo.name}})
    return rules


def burn_alerts() -> list[dict[str, Any]]:
    """For each promise a page and a ticket."""
    return [_burn(slo, severity) for slo in SLOS for severity in ("page", "ticket")]


def _burn(slo: Slo, severity: str) -> dict[str, Any]:
    of = f'{{slo="{slo.name}"}}'
    parts = []
    for wanted, long, short, times in BURNS:
        if wanted == severity:
            bound = f"{times:g} * {slo.budget:g}"
            parts.append(
                f"(promptmesh:slo_errors:ratio_rate{long}{of} > {bound}"
                f" and promptmesh:slo_errors:ratio_rate{short}{of} > {bound}"
                f" and promptmesh:slo_bad:rate{long}{of} * {_SECONDS[long]} >= {BAD_MIN})"
            )
    pace = "within hours" if severity == "page" else "within days"
    return {
        "alert": slo.alert,
        "expr": "\nor\n".join(parts),
        "labels": {"severity": severity, "slo": slo.name},
        "annotations": {
            "summary": f"{slo.says}: {{{{ $value | humanizePercentage }}}} of late, where {slo.budget * 100:g} % may."
            f" At this pace the budget of 30 days is gone {pace}."
        },
    }

"""Moderation: what is found, and who waits for a person."""

from __future__ import annotations

from tools.observability.panels import Panel
from tools.observability.queries import RPC, quantile, rate, share

MODERATION = (
    Panel(
        "Texts screened per second, by verdict",
        "none",
        [(rate("promptmesh_moderation_screenings_total", "verdict"), "{{verdict}}")],
    ),
    Panel(
        "Texts screened per second, by what they are",
        "none",
        [(rate("promptmesh_moderation_screenings_total", "surface"), "{{surface}}")],
    ),
    Panel(
        "Share of posts not allowed",
        "percentunit",
        [
            (
                share("promptmesh_moderation_screenings_total", "", 'verdict!="allow"', 'surface="post"'),
                "held or rejected",
            )
        ],
    ),
    Panel(
        "Findings per second, by category",
        "none",
        [(rate("promptmesh_moderation_findings_total", "category"), "{{category}}")],
    ),
    Panel(
        "How long a batch takes",
        "s",
        [(quantile(q, "promptmesh_moderation_batch_seconds"), f"p{q * 100:g}") for q in (0.5, 0.99)],
    ),
    Panel(
        "Screening calls, p95",
        "s",
        [
            (
                quantile(0.95, RPC, "rpc_method", 'rpc_method=~"promptmesh.moderation.v1.ModerationService/.*Screen"'),
                "{{rpc_method}}",
            )
        ],
        exemplars=True,
    ),
    Panel("Cases that wait", "none", [("max(promptmesh_moderation_cases_open)", "waiting")], decimals=0),
    Panel("Age of the oldest case", "s", [("max(promptmesh_moderation_oldest_case_seconds)", "oldest")]),
    Panel(
        "Decisions of people per hour",
        "none",
        [(f"3600 * {rate('promptmesh_moderation_decisions_total', 'decision')}", "{{decision}}")],
    ),
    Panel(
        "Age of cases when decided, p50",
        "s",
        [
            (
                "histogram_quantile(0.5, sum by (le) (increase(promptmesh_moderation_decision_seconds_bucket[1d])))",
                "p50 of a day",
            )
        ],
    ),
    Panel(
        "Calls of models: texts screened on the way",
        "none",
        [(rate("promptmesh_screening_texts_total", "result"), "{{result}}")],
    ),
    Panel(
        "Calls that ended because moderation could not say",
        "none",
        [("sum(rate(promptmesh_screening_unavailable_total[$__rate_interval]))", "calls")],
    ),
    Panel(
        "Values masked before a call left",
        "none",
        [("sum(rate(promptmesh_screening_masked_total[$__rate_interval]))", "values")],
    ),
    Panel(
        "Posts decided per minute, by whom",
        "none",
        [(f"60 * {rate('promptmesh_publish_duration_seconds_count', 'decided_by')}", "{{decided_by}}")],
    ),
)

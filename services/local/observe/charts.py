"""The charts of the page: what one looks at first. Dashboards with all the rest are for Grafana."""

from __future__ import annotations

from dataclasses import dataclass

SERVICE = "app_kubernetes_io_name"
_FAILED = 'rpc_response_status_code=~"INTERNAL|UNAVAILABLE|UNKNOWN|DATA_LOSS"'

_ALL = f"sum by ({SERVICE}) (rate(rpc_server_call_duration_seconds_count[$w]))"


@dataclass(frozen=True, slots=True)
class Chart:
    """One chart. query: PromQL, `$w` being the window of rates; legend: labels that name a line."""

    title: str
    unit: str  # of `format_value` in svg.py
    query: str
    legend: tuple[str, ...] = ()


CHARTS = (
    Chart("Calls a second", "/s", _ALL, (SERVICE,)),
    Chart(
        "Calls that failed by our fault",
        "%",
        # Of a service that nobody asked nothing is said; of one that did not fail, 0.
        f"100 * (sum by ({SERVICE}) (rate(rpc_server_call_duration_seconds_count{{{_FAILED}}}[$w])) or 0 * {_ALL})"
        f" / ({_ALL} > 0)",
        (SERVICE,),
    ),
    Chart(
        "Calls: 95 of 100 took less than",
        "s",
        f"histogram_quantile(0.95, sum by (le, {SERVICE}) (rate(rpc_server_call_duration_seconds_bucket[$w])))",
        (SERVICE,),
    ),
    Chart(
        "Posts decided a minute",
        "/min",
        "60 * sum by (outcome) (rate(promptmesh_publish_duration_seconds_count[$w]))",
        ("outcome",),
    ),
    Chart(
        "From submitting to the decision: 95 of 100",
        "s",
        "histogram_quantile(0.95, sum by (le)"
        ' (rate(promptmesh_publish_duration_seconds_bucket{decided_by="policy"}[$w])))',
    ),
    Chart(
        "First token: 95 of 100 streams",
        "s",
        "histogram_quantile(0.95, sum by (le, gen_ai_request_model)"
        " (rate(gen_ai_server_time_to_first_token_seconds_bucket[$w])))",
        ("gen_ai_request_model",),
    ),
    Chart(
        "Tokens a second",
        "/s",
        "sum by (gen_ai_token_type) (rate(gen_ai_client_token_usage_sum[$w]))",
        ("gen_ai_token_type",),
    ),
    Chart(
        "Cost",
        "$/h",
        "sum by (gen_ai_request_model) (rate(promptmesh_cost_nanodollars_total[$w])) * 3600 / 1e9",
        ("gen_ai_request_model",),
    ),
    Chart(
        "Events that wait in an outbox",
        "",
        f"sum by ({SERVICE}) (max by ({SERVICE}, step) (promptmesh_outbox_pending))",
        (SERVICE,),
    ),
    Chart(
        "Texts screened a minute, by verdict",
        "/min",
        "60 * sum by (verdict) (rate(promptmesh_moderation_screenings_total[$w]))",
        ("verdict",),
    ),
    Chart("Cases that wait for a moderator", "", "max(promptmesh_moderation_cases_open)"),
    Chart(
        "Memory",
        "MiB",
        f"sum by ({SERVICE}) (process_resident_memory_bytes or envoy_server_memory_physical_size) / 2^20",
        (SERVICE,),
    ),
)

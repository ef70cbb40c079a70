"""What panels ask Prometheus, and the labels that they name lines by."""

from __future__ import annotations

from tools.observability.panels import Panel
from tools.observability.slos import SLOS

WINDOW = "$__rate_interval"
RPC = "rpc_server_call_duration_seconds"
SHORT = 'rpc_method!~".*/Watch.*"'  # feeds last as long as who reads them
DURATION = "gen_ai_client_operation_duration_seconds"
TOKENS = "gen_ai_client_token_usage_sum"
MODEL, BY_SERVICE = "{{gen_ai_request_model}}", "{{app_kubernetes_io_name}}"


def quantile(q: float, histogram: str, by: str = "", matching: str = "") -> str:
    """A quantile of what was measured of late."""
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({q:g}, sum by ({labels}) (rate({histogram}_bucket{{{matching}}}[{WINDOW}])))"


def rate(counter: str, by: str = "", matching: str = "") -> str:
    """How much a second, of late."""
    labels = f" by ({by}) " if by else ""
    return f"sum{labels}(rate({counter}{{{matching}}}[{WINDOW}]))"


def share(counter: str, by: str, matching: str, of: str = "") -> str:
    """Which share of those that match `of` matches too."""
    both, everything = f"{of},{matching}" if of else matching, rate(counter, by, of)
    return f"({rate(counter, by, both)} or 0 * {everything}) / {everything}"


def budget_left(name: str) -> Panel:
    """How much of a promise's budget is left."""
    (slo,) = [one for one in SLOS if one.name == name]
    of = f'{{slo="{name}"}}'
    return Panel(
        f"Budget left: {slo.title.lower()}",
        "percentunit",
        [
            (f"1 - promptmesh:slo_errors:ratio_rate3d{of} / {slo.budget:g}", f"{BY_SERVICE} 3 days"),
            (f"1 - promptmesh:slo_errors:ratio_rate1h{of} / {slo.budget:g}", f"{BY_SERVICE} 1 hour"),
        ],
        note=f"1: nothing went wrong; 0: as much as {slo.objective * 100:g} % allows; below, the budget shrinks.",
    )

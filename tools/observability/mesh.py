"""The mesh: who answers, how long it takes, what fails."""

from __future__ import annotations

from tools.observability.panels import Panel
from tools.observability.queries import BY_SERVICE, RPC, SHORT, budget_left, quantile, rate, share
from tools.observability.slos import FAILED, SERVICE

MESH = (
    budget_left("availability"),
    Panel("Processes that answer", "none", [(f'sum by ({SERVICE}) (up{{{SERVICE}!=""}})', BY_SERVICE)], decimals=0),
    Panel("Calls per second", "reqps", [(rate(f"{RPC}_count", SERVICE), BY_SERVICE)]),
    Panel(
        "Calls that fail by our fault",
        "percentunit",
        [(share(f"{RPC}_count", SERVICE, FAILED), BY_SERVICE)],
    ),
    Panel("Errors, by reason", "reqps", [(rate("promptmesh_errors_total", "reason"), "{{reason}}")]),
    Panel(
        "How long calls take",
        "s",
        [
            (quantile(0.5, RPC, SERVICE, SHORT), f"{BY_SERVICE} p50"),
            (quantile(0.99, RPC, SERVICE, SHORT), f"{BY_SERVICE} p99"),
        ],
        note="Without feeds, which last as long as who reads them. Points lead to traces.",
        exemplars=True,
    ),
    Panel(
        "Slowest methods, p99",
        "s",
        [(f"topk(10, {quantile(0.99, RPC, 'rpc_method', SHORT)})", "{{rpc_method}}")],
    ),
    Panel(
        "Services among themselves, p99 as the caller sees it",
        "s",
        [
            (
                quantile(0.99, "rpc_client_call_duration_seconds", f"{SERVICE}, rpc_method", SHORT),
                f"{BY_SERVICE} → {{{{rpc_method}}}}",
            )
        ],
        exemplars=True,
    ),
    Panel("Calls under way, streams included", "none", [(f"sum by ({SERVICE}) (rpc_server_in_flight)", BY_SERVICE)]),
    Panel(
        "The edge: answers per second, by class",
        "reqps",
        [
            (
                rate(
                    "envoy_http_downstream_rq_xx", "envoy_response_code_class", 'envoy_http_conn_manager_prefix="edge"'
                ),
                "{{envoy_response_code_class}}xx",
            )
        ],
    ),
    Panel(
        "The edge: healthy processes behind it",
        "none",
        [
            (
                f'min by (envoy_cluster_name) (envoy_cluster_membership_healthy{{{SERVICE}="edge"}})',
                "{{envoy_cluster_name}}",
            )
        ],
        decimals=0,
    ),
    Panel(
        "Mails: tries per second, by outcome",
        "none",
        [(rate("promptmesh_mail_attempts_total", "outcome"), "{{outcome}}")],
    ),
    Panel("Mails: how long the oldest waits", "s", [("max(promptmesh_mail_oldest_seconds)", "oldest")]),
    Panel("Event loop: longest stall of a minute", "s", [("max by (pod) (promptmesh_loop_lag_seconds)", "{{pod}}")]),
    Panel("CPU", "none", [(rate("process_cpu_seconds_total", "pod"), "{{pod}}")], note="Cores."),
    Panel("Memory", "bytes", [("sum by (pod) (process_resident_memory_bytes)", "{{pod}}")]),
    Panel(
        "Redis calls that failed",
        "reqps",
        [(rate("promptmesh_redis_failed_total", f"{SERVICE}, kind"), f"{BY_SERVICE} {{{{kind}}}}")],
    ),
    Panel(
        "Age of what is known of identities",
        "s",
        [
            (
                f'time() - min by ({SERVICE}) (promptmesh_feed_heard_timestamp_seconds{{feed="identities"}} > 0)',
                BY_SERVICE,
            )
        ],
        note="Of the process that heard longest ago.",
    ),
    Panel(
        "Background tasks that failed",
        "reqps",
        [(rate("promptmesh_background_failed_total", f"{SERVICE}, task"), f"{BY_SERVICE} {{{{task}}}}")],
    ),
)

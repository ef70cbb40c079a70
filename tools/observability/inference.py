"""Inference and cost: models, tokens, money, limits, the ledger."""

from __future__ import annotations

from tools.observability.panels import Panel
from tools.observability.queries import DURATION, MODEL, TOKENS, budget_left, quantile, rate, share

INFERENCE = (
    budget_left("first_token"),
    Panel("Calls of models per second", "reqps", [(rate(f"{DURATION}_count", "gen_ai_request_model"), MODEL)]),
    Panel(
        "First token",
        "s",
        [
            (
                quantile(q, "gen_ai_server_time_to_first_token_seconds", "gen_ai_request_model"),
                f"{MODEL} p{q * 100:g}",
            )
            for q in (0.5, 0.95)
        ],
        exemplars=True,
    ),
    Panel(
        "Time per output token, p50",
        "s",
        [(quantile(0.5, "gen_ai_server_time_per_output_token_seconds", "gen_ai_request_model"), MODEL)],
    ),
    Panel("Whole answers", "s", [(quantile(0.95, DURATION, "gen_ai_request_model"), f"{MODEL} p95")], exemplars=True),
    Panel(
        "Calls that failed, by error",
        "reqps",
        [
            (
                rate(f"{DURATION}_count", "gen_ai_request_model, error_type", 'error_type!=""'),
                f"{MODEL} {{{{error_type}}}}",
            )
        ],
    ),
    Panel(
        "Tokens per second",
        "none",
        [
            (
                rate("gen_ai_client_token_usage_sum", "gen_ai_request_model, gen_ai_token_type"),
                f"{MODEL} {{{{gen_ai_token_type}}}}",
            )
        ],
    ),
    Panel(
        "Tokens that were estimated",
        "percentunit",
        [
            (
                share(TOKENS, "gen_ai_provider_name", 'basis="estimated"'),
                "{{gen_ai_provider_name}}",
            )
        ],
        note="Where a provider does not count, or a stream was cut.",
    ),
    Panel(
        "Cost per hour",
        "currencyUSD",
        [(f"{rate('promptmesh_cost_nanodollars_total', 'gen_ai_request_model')} * 3600 / 1e9", MODEL)],
    ),
    Panel(
        "Cost of the last 24 hours",
        "currencyUSD",
        [
            (
                "sum by (gen_ai_provider_name) (increase(promptmesh_cost_nanodollars_total[1d])) / 1e9",
                "{{gen_ai_provider_name}}",
            )
        ],
    ),
    Panel(
        "Calls without a known price",
        "reqps",
        [(rate("promptmesh_unpriced_calls_total", "gen_ai_request_model"), MODEL)],
    ),
    Panel(
        "Cache: share of calls that cost nothing",
        "percentunit",
        [
            (
                share("promptmesh_cache_lookups_total", "", 'result=~"hit_.*|joined"'),
                "free",
            )
        ],
    ),
    Panel(
        "Breakers",
        "none",
        [("max by (provider, model) (promptmesh_target_breaker)", "{{provider}} {{model}}")],
        note="0 closed, 1 half-open, 2 open.",
        decimals=0,
    ),
    Panel(
        "Attempts, by how they ended",
        "reqps",
        [(rate("promptmesh_target_attempts_total", "provider, outcome"), "{{provider}} {{outcome}}")],
    ),
    Panel(
        "Refused by limits",
        "reqps",
        [(rate("promptmesh_limits_refused_total", "limit, state"), "{{limit}} {{state}}")],
    ),
    Panel(
        "Limits that could not be checked",
        "reqps",
        [(rate("promptmesh_limits_undecided_total", "limit"), "{{limit}}")],
    ),
    Panel("Records that are not in PostgreSQL yet", "none", [("sum by (pod) (promptmesh_ledger_backlog)", "{{pod}}")]),
    Panel("Journal", "bytes", [("sum by (pod) (promptmesh_ledger_journal_bytes)", "{{pod}}")]),
)

"""Publishing: from a submission to the post and its example, and the events between."""

from __future__ import annotations

from tools.observability.panels import Panel
from tools.observability.queries import BY_SERVICE, WINDOW, budget_left, quantile, rate
from tools.observability.slos import SERVICE

PUBLISHING = (
    budget_left("publish"),
    Panel(
        "Posts decided per minute",
        "none",
        [
            (
                f"60 * {rate('promptmesh_publish_duration_seconds_count', 'outcome, decided_by')}",
                "{{outcome}} by {{decided_by}}",
            )
        ],
    ),
    Panel(
        "From submitting to the decision",
        "s",
        [
            (quantile(q, "promptmesh_publish_duration_seconds", "", 'decided_by="policy"'), f"p{q * 100:g}")
            for q in (0.5, 0.95, 0.99)
        ],
        exemplars=True,
    ),
    Panel(
        "From publishing to the example",
        "s",
        [(quantile(q, "promptmesh_example_wait_seconds"), f"p{q * 100:g}") for q in (0.5, 0.95, 0.99)],
        exemplars=True,
    ),
    Panel(
        "Examples per minute, by outcome",
        "none",
        [(f"60 * {rate('promptmesh_examples_total', 'outcome')}", "{{outcome}}")],
    ),
    Panel("Examples being written", "none", [("sum(promptmesh_examples_under_way)", "under way")]),
    Panel(
        "Events that wait in an outbox",
        "none",
        [(f"max by ({SERVICE}, step) (promptmesh_outbox_pending)", f"{BY_SERVICE} to {{{{step}}}}")],
    ),
    Panel("Events done per second", "none", [(rate("promptmesh_consumer_events_total", "consumer"), "{{consumer}}")]),
    Panel(
        "Age of events when they are done",
        "s",
        [("max by (consumer) (promptmesh_consumer_lag_seconds)", "{{consumer}}")],
    ),
    Panel(
        "A batch of a consumer, p95",
        "s",
        [(quantile(0.95, "promptmesh_consumer_batch_seconds", "consumer"), "{{consumer}}")],
    ),
    Panel(
        "Tries that failed",
        "none",
        [(rate("promptmesh_consumer_failures_total", "consumer, kind"), "{{consumer}} {{kind}}")],
    ),
    Panel(
        "Events given up",
        "none",
        [(f"sum by (consumer, reason) (increase(promptmesh_dead_letters_total[{WINDOW}]))", "{{consumer}} {{reason}}")],
    ),
    Panel(
        "Replays, and streams that lost data",
        "none",
        [
            (
                f"sum by (consumer, outcome) (increase(promptmesh_consumer_replays_total[{WINDOW}]))",
                "{{consumer}} {{outcome}}",
            ),
            (f"sum by ({SERVICE}) (increase(promptmesh_stream_epochs_total[{WINDOW}]))", f"{BY_SERVICE} epochs"),
        ],
    ),
    Panel(
        "Watchers",
        "none",
        [
            ("sum(promptmesh_tail_subscribers)", "watching"),
            (rate("promptmesh_tail_slow_subscribers_total", "pod"), "{{pod}} cut, too slow"),
        ],
    ),
)

"""Figures of the event flow, for Prometheus. `service` is in the scrape's own labels, so it is not in these."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

_BATCH_BUCKETS = (1, 2, 5, 10, 20, 50, 100, 200, 500)
_SECONDS_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

OUTBOX_PENDING = Gauge(
    "promptmesh_outbox_pending", "Events of this service that are not in Redis yet, by what they wait for", ["step"]
)
RELAY_BATCH = Histogram(
    "promptmesh_relay_batch_events", "Events a batch of the relay", ["step"], buckets=_BATCH_BUCKETS
)
RELAY_FAILURES = Counter(
    "promptmesh_relay_failures_total", "Rounds of the relay that failed and were retried", ["step"]
)
STREAM_EPOCHS = Counter(
    "promptmesh_stream_epochs_total", "New epochs of this service's streams: losses of data in Redis"
)
CONSUMER_EVENTS = Counter("promptmesh_consumer_events_total", "Events done by a consumer", ["consumer"])
CONSUMER_BATCH_SECONDS = Histogram(
    "promptmesh_consumer_batch_seconds", "From a batch's read to its commit", ["consumer"], buckets=_SECONDS_BUCKETS
)
CONSUMER_LAG_SECONDS = Gauge(
    "promptmesh_consumer_lag_seconds", "Age of the youngest event of the last batch, at its commit", ["consumer"]
)
CONSUMER_FAILURES = Counter(
    "promptmesh_consumer_failures_total", "Tries of a consumer's handler that failed, by kind", ["consumer", "kind"]
)
CONSUMER_REPLAYS = Counter("promptmesh_consumer_replays_total", "Replays asked of a producer", ["consumer", "outcome"])
DEAD_LETTERS = Counter("promptmesh_dead_letters_total", "Events given up", ["consumer", "reason"])
TAIL_SUBSCRIBERS = Gauge("promptmesh_tail_subscribers", "Subscribers of the own log in this process")
TAIL_SLOW = Counter("promptmesh_tail_slow_subscribers_total", "Subscribers cut because they read too slowly")

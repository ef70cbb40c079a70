"""Health as Prometheus reads it: collected when asked, so that a call pays nothing for it."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from services.inference.routing.breaker import Phase
from services.inference.routing.health import Health

_LABELS = ("provider", "model")
_PHASES = {Phase.CLOSED: 0, Phase.HALF_OPEN: 1, Phase.OPEN: 2}


class HealthCollector(Collector):
    """`REGISTRY.register(HealthCollector(health))`, once a process."""

    def __init__(self, health: Health) -> None:
        self._health = health

    def collect(self) -> Iterable[Metric]:
        """See Collector. Called by the thread that serves metrics: it only reads."""
        breaker = GaugeMetricFamily(
            "promptmesh_target_breaker", "Breaker of a target: 0 closed, 1 half-open, 2 open.", labels=_LABELS
        )
        opened = CounterMetricFamily(
            "promptmesh_target_breaker_opened", "How often the breaker of a target opened.", labels=_LABELS
        )
        in_flight = GaugeMetricFamily(
            "promptmesh_target_in_flight", "Calls of a target under way, of this process.", labels=_LABELS
        )
        cooldown = GaugeMetricFamily(
            "promptmesh_target_cooldown_seconds", "How long a target is still left alone after a 429.", labels=_LABELS
        )
        first_token = GaugeMetricFamily(
            "promptmesh_target_first_token_p95_seconds",
            "Time to the first token of a target's streams, decayed p95.",
            labels=_LABELS,
        )
        attempts = CounterMetricFamily(
            "promptmesh_target_attempts", "Calls of a target that ended, by how.", labels=(*_LABELS, "outcome")
        )
        for one in self._health.snapshot():
            labels = (one.provider, one.upstream_model)
            breaker.add_metric(labels, _PHASES[one.phase])
            opened.add_metric(labels, one.breaker_opened)
            in_flight.add_metric(labels, one.in_flight)
            cooldown.add_metric(labels, one.cooldown_s)
            if one.first_token_p95_s is not None:
                first_token.add_metric(labels, one.first_token_p95_s)
            for outcome, count in one.outcomes.items():
                attempts.add_metric((*labels, outcome), count)
        return [breaker, opened, in_flight, cooldown, first_token, attempts]

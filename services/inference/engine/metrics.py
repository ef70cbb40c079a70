"""What is counted of calls of models, with each series looked up once and not once a call."""

from __future__ import annotations

from prometheus_client import Counter, Histogram

from services.inference.providers.base import TokenUsage

# From a cache on the same machine to the slowest reasoning model.
_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 600.0)
_LABELS = ("provider", "model")
DURATION = Histogram(
    "promptmesh_provider_duration_seconds",
    "How long calls of models took, to the end of the answer, by how they ended.",
    (*_LABELS, "outcome"),
    buckets=_BUCKETS_S,
)
FIRST_TOKEN = Histogram(
    "promptmesh_provider_first_token_seconds",
    "How long the first token of a streamed answer took.",
    _LABELS,
    buckets=_BUCKETS_S,
)
TOKENS = Counter("promptmesh_provider_tokens", "Tokens, by direction and by who counted.", (*_LABELS, "kind", "basis"))
COST = Counter("promptmesh_provider_cost_nanodollars", "What calls with a known price cost.", _LABELS)
CACHE = Counter("promptmesh_cached_calls", "Calls by what the cache had to do with them.", ("decision",))
OVER_RESERVED = Counter(
    "promptmesh_reservation_exceeded", "Calls that took more than was reserved: a provider broke its cap.", _LABELS
)


class ModelMetrics:
    """The series of one model of one provider."""

    __slots__ = ("_cost", "_durations", "_first_token", "_labels", "_over", "_tokens")

    def __init__(self, provider: str, model: str) -> None:
        self._labels = (provider, model)
        self._first_token = FIRST_TOKEN.labels(provider, model)
        self._cost = COST.labels(provider, model)
        self._over = OVER_RESERVED.labels(provider, model)
        self._durations: dict[str, Histogram] = {}
        self._tokens = {
            (estimated, kind): TOKENS.labels(provider, model, kind, "estimated" if estimated else "reported")
            for estimated in (False, True)
            for kind in ("input", "output")
        }

    def ended(self, outcome: str, duration_s: float) -> None:
        """A call is over; `outcome`: ok, cancelled, or a reason in lower case."""
        duration = self._durations.get(outcome)
        if duration is None:
            duration = self._durations[outcome] = DURATION.labels(*self._labels, outcome)
        duration.observe(duration_s)

    def first_token(self, after_s: float) -> None:
        """The first token came."""
        self._first_token.observe(after_s)

    def took(self, usage: TokenUsage, cost_nanos: int | None) -> None:
        """What a call of a provider took."""
        self._tokens[usage.estimated, "input"].inc(usage.input_tokens)
        self._tokens[usage.estimated, "output"].inc(usage.output_tokens)
        if cost_nanos:
            self._cost.inc(cost_nanos)

    def over_reserved(self) -> None:
        """It took more than was reserved for it."""
        self._over.inc()


class Metrics:
    """The series of all models."""

    def __init__(self) -> None:
        self._models: dict[tuple[str, str], ModelMetrics] = {}

    def of(self, provider: str, model: str) -> ModelMetrics:
        """Those of one."""
        key = (provider, model)
        known = self._models.get(key)
        if known is None:
            known = self._models[key] = ModelMetrics(provider, model)
        return known

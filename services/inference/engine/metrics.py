"""What is counted of calls of models, with each series looked up once and not once a call.

Names, labels and buckets are those of OpenTelemetry's conventions for generative AI; what has no name there (money,
caps that were broken) is `promptmesh_…` with the same labels.
"""

from __future__ import annotations

from prometheus_client import Counter, Histogram

from services.inference.providers.base import TokenUsage

_LABELS = ("gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model")
DURATION = Histogram(
    "gen_ai_client_operation_duration_seconds",
    "How long calls of models took, to the end of the answer; error_type: how they failed.",
    (*_LABELS, "error_type"),
    # The conventions' own, and one for the slowest reasoning models.
    buckets=(0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92, 600.0),
)
FIRST_TOKEN = Histogram(
    "gen_ai_server_time_to_first_token_seconds",
    "How long the first token of a streamed answer took, from the attempt that answered.",
    _LABELS,
    # The conventions' own, and two for models that think first.
    buckets=(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 30.0, 120.0),
)
OUTPUT_TOKEN = Histogram(
    "gen_ai_server_time_per_output_token_seconds",
    "Time per output token after the first, of streamed answers that came whole.",
    _LABELS,
    # Ours begins lower than the conventions': small models and the demo are that fast.
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5),
)
TOKENS = Histogram(
    "gen_ai_client_token_usage",
    "Tokens of a call of a provider, by direction and by who counted.",
    (*_LABELS, "gen_ai_token_type", "basis"),
    buckets=(1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576),
)
COST = Counter("promptmesh_cost_nanodollars", "What calls with a known price cost.", _LABELS)
UNPRICED = Counter(
    "promptmesh_unpriced_calls", "Calls of providers whose price nobody knows: their cost is missing.", _LABELS
)
OVER_RESERVED = Counter(
    "promptmesh_reservation_exceeded", "Calls that took more than was reserved: a provider broke its cap.", _LABELS
)


class ModelMetrics:
    """The series of one operation of one model of one provider."""

    __slots__ = ("_cost", "_durations", "_first_token", "_labels", "_output_token", "_over", "_tokens", "_unpriced")

    def __init__(self, operation: str, provider: str, model: str) -> None:
        self._labels = labels = (operation, provider, model)
        self._first_token = FIRST_TOKEN.labels(*labels)
        self._output_token = OUTPUT_TOKEN.labels(*labels)
        self._cost = COST.labels(*labels)
        self._unpriced = UNPRICED.labels(*labels)
        self._over = OVER_RESERVED.labels(*labels)
        self._durations: dict[str, Histogram] = {}
        self._tokens = {
            (estimated, kind): TOKENS.labels(*labels, kind, "estimated" if estimated else "reported")
            for estimated in (False, True)
            for kind in ("input", "output")
        }

    def ended(self, error_type: str, duration_s: float, exemplar: dict[str, str] | None = None) -> None:
        """A call is over; `error_type`: "", cancelled, or a reason in lower case."""
        duration = self._durations.get(error_type)
        if duration is None:
            duration = self._durations[error_type] = DURATION.labels(*self._labels, error_type)
        duration.observe(duration_s, exemplar)

    def first_token(self, after_s: float, exemplar: dict[str, str] | None = None) -> None:
        """The first token came."""
        self._first_token.observe(after_s, exemplar)

    def rest(self, took_s: float, output_tokens: int) -> None:
        """All tokens came, the last one `took_s` after the first."""
        if output_tokens > 1:
            self._output_token.observe(took_s / (output_tokens - 1))

    def took(self, usage: TokenUsage, cost_nanos: int | None) -> None:
        """What a call of a provider took; cost_nanos None: nobody knows its price."""
        self._tokens[usage.estimated, "input"].observe(usage.input_tokens)
        self._tokens[usage.estimated, "output"].observe(usage.output_tokens)
        if cost_nanos is None:
            self._unpriced.inc()
        elif cost_nanos:
            self._cost.inc(cost_nanos)

    def over_reserved(self) -> None:
        """It took more than was reserved for it."""
        self._over.inc()


class Metrics:
    """The series of all models: as many as the configuration names."""

    def __init__(self) -> None:
        self._models: dict[tuple[str, str, str], ModelMetrics] = {}

    def of(self, operation: str, provider: str, model: str) -> ModelMetrics:
        """Those of one. operation: of OpenTelemetry's `gen_ai.operation.name`."""
        key = (operation, provider, model)
        known = self._models.get(key)
        if known is None:
            known = self._models[key] = ModelMetrics(*key)
        return known

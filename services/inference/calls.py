"""What a call of a model took: measured, logged, and counted whatever becomes of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import structlog
from prometheus_client import Counter, Histogram

from services.inference.catalog import OfferedModel
from services.inference.providers.base import AnswerRecord, TokenUsage
from services.inference.usage import estimate_input_tokens, estimate_tokens
from services.mesh.call import current_or_none
from services.mesh.errors import MeshError

# From a cache on the same machine to the slowest reasoning model.
_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 600.0)
_LABELS = ("provider", "model")
DURATION = Histogram(
    "promptmesh_provider_duration_seconds",
    "How long calls of providers took, to the end of the answer, by how they ended.",
    (*_LABELS, "outcome"),
    buckets=_BUCKETS_S,
)
FIRST_TOKEN = Histogram(
    "promptmesh_provider_first_token_seconds",
    "How long the first token of an answer took.",
    _LABELS,
    buckets=_BUCKETS_S,
)
TOKENS = Counter("promptmesh_provider_tokens", "Tokens, by direction and by who counted.", (*_LABELS, "kind", "basis"))
COST = Counter("promptmesh_provider_cost_nanodollars", "What calls with a known price cost.", _LABELS)

_log = structlog.get_logger(__name__)


class MeteredCall:
    """One call under way. The provider fills `record`."""

    def __init__(self, model: OfferedModel, message_bytes: Callable[[], Iterable[int]]) -> None:
        self.model = model
        self.record = AnswerRecord()
        self._message_bytes = message_bytes
        self._first_token_time: float | None = None
        self._time = asyncio.get_running_loop().time
        self.begin_time = self._time()

    @property
    def began(self) -> bool:
        """Whether anything of the answer has come."""
        return self._first_token_time is not None

    def first_token(self) -> None:
        """The answer begins."""
        if self._first_token_time is None:
            self._first_token_time = self._time()
            FIRST_TOKEN.labels(self.model.provider.name, self.model.name).observe(
                self._first_token_time - self.begin_time
            )

    def usage(self) -> TokenUsage:
        """As the provider counted; estimated, and marked so, where it did not."""
        return self.record.usage or TokenUsage(
            estimate_input_tokens(self._message_bytes()), estimate_tokens(self.record.output_bytes), estimated=True
        )


@contextmanager
def metered(model: OfferedModel, message_bytes: Callable[[], Iterable[int]]) -> Iterator[MeteredCall]:
    """Around a call of a provider. `message_bytes`: UTF-8 bytes of each message of the input, if they are needed.

    A call that was cut, cancelled or abandoned is counted with what is known of it.
    """
    call = MeteredCall(model, message_bytes)
    outcome = "cancelled"
    try:
        yield call
        outcome = "ok"
    except MeshError as error:
        outcome = error.reason.lower()
        if error.reason == "PROVIDER_CREDENTIAL_REFUSED":
            _log.error(
                "a provider refused our credential", provider=model.provider.name, model=model.name, said=str(error)
            )
        raise
    finally:
        provider = model.provider.name
        DURATION.labels(provider, model.name, outcome).observe(asyncio.get_running_loop().time() - call.begin_time)
        # What a provider refused before it began took nothing; what a caller left may have been worked on.
        if call.began or outcome in ("ok", "cancelled", "credential_revoked"):
            _count(call, outcome)


def _count(call: MeteredCall, outcome: str) -> None:
    usage = call.usage()
    model, provider = call.model.name, call.model.provider.name
    basis = "estimated" if usage.estimated else "reported"
    TOKENS.labels(provider, model, "input", basis).inc(usage.input_tokens)
    TOKENS.labels(provider, model, "output", basis).inc(usage.output_tokens)
    around = current_or_none()
    if around is not None:
        around.log["model"] = model
        around.log["input_tokens"] = usage.input_tokens
        around.log["output_tokens"] = usage.output_tokens
        around.log["usage_basis"] = basis
        if outcome != "ok":
            around.log["outcome"] = outcome
    if call.model.price is not None:
        cost_nanos = call.model.price.cost_nanos(usage.input_tokens, usage.output_tokens)
        COST.labels(provider, model).inc(cost_nanos)
        if around is not None:
            around.log["cost_nanos"] = cost_nanos

"""How attempts begin and end: in the record of the call, in the health of the target, in the trial of a canary."""

from __future__ import annotations

from collections.abc import Callable

from services.inference.engine.call import AnswerInfo, AttemptRecord
from services.inference.providers.base import AnswerRecord
from services.inference.routing.failures import CANCELLED, INTERNAL
from services.inference.routing.plan import Plan
from services.inference.routing.strategies import Lane
from services.mesh.errors import MeshError
from services.mesh.telemetry.logs import get_logger

log = get_logger()


class Outcomes:
    """Each attempt that begins here ends here, once: by `answered`, `failed` or `left`."""

    __slots__ = ("clock",)

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock

    def begin(self, lane: Lane, info: AnswerInfo, *, hedge: bool = False) -> AttemptRecord:
        """The call of the provider is about to begin."""
        # The first takes the record that the call came with: whoever holds it already sees it filled.
        record = AnswerRecord() if info.attempts else info.record
        attempt = AttemptRecord(lane.target, self.clock(), record, hedge=hedge)
        info.attempts.append(attempt)
        info.target = lane.target
        info.record = record
        lane.health.in_flight += 1
        return attempt

    def answered(self, plan: Plan, lane: Lane, attempt: AttemptRecord, first_token_time: float | None) -> None:
        """A whole answer has come. `first_token_time`: of a stream; None: it came in one piece."""
        now = self.clock()
        attempt.end_time = now
        health = lane.health
        health.answered(attempt.begin_time, now)
        if first_token_time is None:
            latency_s = now - attempt.begin_time
            health.answer.add(latency_s, now)
        else:
            latency_s = first_token_time - attempt.begin_time
            health.first_token.add(latency_s, now)
        if plan.trial is not None:
            usage, price = attempt.record.usage, lane.target.price
            cost = None if usage is None or price is None else price.cost_nanos(usage.input_tokens, usage.output_tokens)
            plan.trial.observe(lane.is_canary, failed=False, latency_s=latency_s, cost_nanos=cost, now=now)

    def failed(self, plan: Plan, lane: Lane, attempt: AttemptRecord, error: MeshError) -> None:
        """It has ended in an error of the provider's."""
        self._failed(plan, lane, attempt, error.reason, error.retry_after_s)
        if error.reason == "PROVIDER_CREDENTIAL_REFUSED":
            log.error("a provider refused our credential", **lane.health.labels(), said=error.message)

    def left(self, plan: Plan, lane: Lane, attempt: AttemptRecord, why: BaseException | None = None) -> None:
        """It was left by its caller or for another one; `why` an Exception: by an error of ours."""
        if isinstance(why, Exception):
            self._failed(plan, lane, attempt, INTERNAL, None)
            return
        attempt.end_time = self.clock()
        attempt.reason = CANCELLED
        lane.health.left()

    def _failed(self, plan: Plan, lane: Lane, attempt: AttemptRecord, reason: str, retry_after_s: float | None) -> None:
        now = self.clock()
        attempt.end_time = now
        attempt.reason = reason
        lane.health.failed(reason, plan.breaker, attempt.begin_time, now, retry_after_s)
        if plan.trial is not None:
            plan.trial.observe(lane.is_canary, failed=True, latency_s=None, cost_nanos=None, now=now)

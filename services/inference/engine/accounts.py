"""The books of a call: its record in the ledger, its metrics, its line in the access log."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import time_ns

from promptmesh.inference.v1 import receipt_pb2 as pb

from services.inference.cache.answers import Ticket
from services.inference.engine import money
from services.inference.engine.call import AnswerInfo, AttemptRecord, ModelCall
from services.inference.engine.metrics import Metrics
from services.inference.engine.spans import operation_of, trace_attempts
from services.inference.engine.texts import OutputText, input_text
from services.inference.ledger.ledger import Ledger
from services.inference.ledger.record import AttemptEntry, CallRecord
from services.inference.providers.base import TokenUsage
from services.inference.routing.route import Target
from services.mesh.call import current_or_none
from services.mesh.ids import uuid7
from services.mesh.telemetry.logs import get_logger
from services.mesh.telemetry.traces import Tracing, exemplar_of

MICROS = 1_000_000
_OUTCOMES = {pb.OUTCOME_OK: "ok", pb.OUTCOME_CANCELLED: "cancelled"}

log = get_logger()


class Accounts:
    """Opens a record before a call goes to a provider and closes it whatever becomes of it."""

    def __init__(
        self, ledger: Ledger, *, tracing: Tracing | None = None, wall_time_ns: Callable[[], int] = time_ns
    ) -> None:
        self._ledger = ledger
        self._wall_time_ns = wall_time_ns
        self._metrics = Metrics()
        self._tracing = tracing
        self._time = asyncio.get_running_loop().time

    def open(self, call: ModelCall) -> CallRecord:
        """The record, journaled with the most that the call can take: what it counts as if this process dies.
        MeshError DEPENDENCY_UNAVAILABLE where the journal takes none."""
        return self._open(call, money.largest_tokens(call), money.largest_route_cost_nanos(call))

    def open_free(self, call: ModelCall) -> CallRecord:
        """Of a call that the cache answers."""
        return self._open(call, 0, 0)

    def _open(self, call: ModelCall, reserved_tokens: int, reserved_nanos: int | None) -> CallRecord:
        caller, route = call.caller, call.route
        record = CallRecord(
            call.record_id,
            call.request_id,
            self._wall_time_ns(),
            caller.org_id,
            caller.user_id,
            caller.api_key_id,
            caller.service,
            call.surface,
            route.name,
            config_version=route.version,
            streamed=call.streamed,
            reserved_tokens=reserved_tokens,
            reserved_nanos=reserved_nanos,
            tags=call.tags,
            cache=call.decision,
            input_tokens=min(call.input_tokens_max, reserved_tokens),
        )
        if self._ledger.keeps_texts:
            record.input_text = input_text(call.body, 2 * self._ledger.text_chars_max)
        self._ledger.begin(record)
        return record

    def output_text(self) -> OutputText | None:
        """To collect an answer for its record; None: no texts are kept."""
        # Twice as much as is kept, since redaction may make it shorter.
        return OutputText(2 * self._ledger.text_chars_max) if self._ledger.keeps_texts else None

    def close(
        self, call: ModelCall, info: AnswerInfo, record: CallRecord, outcome: pb.Outcome.ValueType, reason: str
    ) -> None:
        """What the call took stands in `call` afterwards, and in the ledger."""
        end_ns = self._wall_time_ns()
        operation = operation_of(call)
        input_tokens = output_tokens = 0
        cost_nanos: int | None = 0
        estimated = False
        for attempt in info.attempts:
            if not attempt.billable:
                continue
            usage = money.usage_of(call, attempt)
            cost = money.cost_nanos(attempt.target, usage)
            input_tokens += usage.input_tokens
            output_tokens += usage.output_tokens
            estimated = estimated or usage.estimated
            cost_nanos = None if cost is None or cost_nanos is None else cost_nanos + cost
            self._metrics.of(operation, attempt.target.provider.name, attempt.target.name).took(usage, cost)
        taken = input_tokens or output_tokens
        call.usage = TokenUsage(input_tokens, output_tokens, estimated)
        call.cost_nanos = cost_nanos
        call.finish_reasons = info.record.finish_reasons
        target = info.target
        if target is not None:
            call.answer_model, call.answer_provider = target.name, target.provider.name
            record.model, record.provider = target.name, target.provider.name
            self._count(call, info, record, target, outcome, reason, end_ns)
        record.duration_us = (end_ns - record.begin_time_ns) // 1000
        if info.first_token_time is not None and call.streamed and info.attempts:
            record.first_token_us = int((info.first_token_time - info.attempts[0].begin_time) * MICROS)
        record.outcome = outcome
        record.reason = reason
        record.finish_reason = info.record.finish_reasons.get(0, "")
        record.attempts = [_entry(attempt) for attempt in info.attempts]
        record.cache = call.decision
        record.input_tokens, record.output_tokens = input_tokens, output_tokens
        record.basis = pb.BASIS_NONE if not taken else pb.BASIS_ESTIMATED if estimated else pb.BASIS_REPORTED
        record.cost_nanos = cost_nanos
        self._ledger.finish(record)
        self._log(call, outcome, reason)
        if self._tracing is not None:
            trace_attempts(self._tracing, call, info, record.record_id)

    def close_free(
        self, call: ModelCall, ticket: Ticket, record: CallRecord, outcome: pb.Outcome.ValueType, reason: str
    ) -> None:
        """Of a call that the cache answered: the tokens are told, and cost nothing."""
        call.usage = ticket.usage or TokenUsage(0, 0)
        call.cost_nanos = 0
        call.finish_reasons = ticket.finish_reasons
        call.answer_model, call.answer_provider = ticket.model, ticket.provider
        record.model, record.provider = ticket.model, ticket.provider
        record.duration_us = (self._wall_time_ns() - record.begin_time_ns) // 1000
        record.outcome, record.reason = outcome, reason
        record.finish_reason = ticket.finish_reasons.get(0, "")
        record.cache = call.decision
        record.input_tokens = record.output_tokens = 0
        record.basis = pb.BASIS_NONE
        record.cost_nanos = 0
        self._ledger.finish(record)
        self._log(call, outcome, reason)

    def probed(self, target: Target, attempt: AttemptRecord) -> None:
        """Writes down what a look at a provider took that the mesh made for itself."""
        usage = attempt.record.usage or TokenUsage(0, 0)
        cost = money.cost_nanos(target, usage) if attempt.billable else 0
        duration_s = max(0.0, attempt.end_time - attempt.begin_time)
        record_id = uuid7()
        record = CallRecord(
            record_id,
            record_id,
            self._wall_time_ns() - int(duration_s * 1e9),
            service="inference",
            surface=pb.SURFACE_PROBE,
            route=target.name,
            model=target.name,
            provider=target.provider.name,
            duration_us=int(duration_s * MICROS),
            outcome=pb.OUTCOME_FAILED if attempt.reason else pb.OUTCOME_OK,
            reason=attempt.reason,
            attempts=[_entry(attempt)],
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            basis=pb.BASIS_REPORTED if attempt.record.usage else pb.BASIS_NONE,
            cost_nanos=cost,
        )
        self._ledger.finish(record)

    def _count(
        self,
        call: ModelCall,
        info: AnswerInfo,
        record: CallRecord,
        target: Target,
        outcome: pb.Outcome.ValueType,
        reason: str,
        end_ns: int,
    ) -> None:
        metrics = self._metrics.of(operation_of(call), target.provider.name, target.name)
        exemplar = self._exemplar()
        error_type = "" if outcome == pb.OUTCOME_OK else _OUTCOMES.get(outcome) or reason.lower()
        metrics.ended(error_type, (end_ns - record.begin_time_ns) / 1e9, exemplar)
        if call.streamed and info.first_token_time is not None and info.attempts:
            attempt = info.attempts[-1]
            metrics.first_token(info.first_token_time - attempt.begin_time, exemplar)
            if outcome == pb.OUTCOME_OK and len(info.attempts) == 1:
                metrics.rest(max(0.0, attempt.end_time - info.first_token_time), call.usage.output_tokens)
        took = call.usage.input_tokens + call.usage.output_tokens
        if record.reserved_tokens and took > record.reserved_tokens:
            metrics.over_reserved()
        if reason == "PROVIDER_CREDENTIAL_REFUSED":
            log.error("a provider refused our credential", provider=target.provider.name, model=target.name)

    def _exemplar(self) -> dict[str, str] | None:
        if self._tracing is None:
            return None
        around = current_or_none()
        if around is None or not around.traceparent or not self._tracing.records(around.traceparent):
            return None
        return exemplar_of(around.traceparent)

    def _log(self, call: ModelCall, outcome: pb.Outcome.ValueType, reason: str) -> None:
        around = current_or_none()
        if around is None:
            return
        line = around.log
        line["model"] = call.answer_model or call.route.name
        line["input_tokens"] = call.usage.input_tokens
        line["output_tokens"] = call.usage.output_tokens
        line["usage_basis"] = "estimated" if call.usage.estimated else "reported"
        if call.cost_nanos is not None:
            line["cost_nanos"] = call.cost_nanos
        if outcome != pb.OUTCOME_OK:
            line["outcome"] = _OUTCOMES.get(outcome) or reason.lower()


def _entry(attempt: AttemptRecord) -> AttemptEntry:
    return (
        attempt.target.name,
        attempt.target.provider.name,
        attempt.reason,
        max(0, int((attempt.end_time - attempt.begin_time) * MICROS)),
        attempt.hedge,
    )

"""Spans of calls of models, made once a call is over: a call that is not sampled pays nothing for them.

Names and attributes are those of OpenTelemetry's conventions for generative AI. No text of a call is among them.
"""

from __future__ import annotations

from time import monotonic, time_ns

from promptmesh.inference.v1 import receipt_pb2 as pb

from services.inference.engine.call import AnswerInfo, ModelCall
from services.mesh.call import current_or_none
from services.mesh.telemetry.traces import Tracing

NANOS_PER_S = 1_000_000_000


def operation_of(call: ModelCall) -> str:
    """OpenTelemetry's `gen_ai.operation.name`."""
    return "embeddings" if call.surface == pb.SURFACE_EMBEDDINGS else "chat"


def trace_attempts(tracing: Tracing, call: ModelCall, info: AnswerInfo, record_id: str) -> None:
    """A span for each attempt, below the call under way. Their times are of the event loop's clock."""
    around = current_or_none()
    if around is None or not around.traceparent or not tracing.records(around.traceparent):
        return
    operation = operation_of(call)
    epoch_ns = time_ns() - int(monotonic() * NANOS_PER_S)  # of the loop's clock, which is the monotonic one
    for attempt in info.attempts:
        target, usage = attempt.target, attempt.record.usage
        attributes: dict[str, str | int | float | bool] = {
            "gen_ai.operation.name": operation,
            "gen_ai.provider.name": target.provider.name,
            "gen_ai.request.model": target.name,
            "promptmesh.record_id": record_id,
        }
        if usage is not None:
            attributes["gen_ai.usage.input_tokens"] = usage.input_tokens
            attributes["gen_ai.usage.output_tokens"] = usage.output_tokens
        if call.cost_nanos is not None and attempt is info.attempts[-1]:
            attributes["promptmesh.cost_nanos"] = call.cost_nanos
        if info.first_token_time is not None and attempt is info.attempts[-1]:
            attributes["gen_ai.response.time_to_first_chunk"] = info.first_token_time - attempt.begin_time
        end_time = attempt.end_time or monotonic()
        tracing.record(
            f"{operation} {target.name}",
            around.traceparent,
            kind="CLIENT",
            begin_ns=epoch_ns + int(attempt.begin_time * NANOS_PER_S),
            end_ns=epoch_ns + int(end_time * NANOS_PER_S),
            attributes=attributes,
            error=attempt.reason.lower(),
        )

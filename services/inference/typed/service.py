"""`inference.v1.InferenceService`: one typed way to call any model."""

from __future__ import annotations

import base64
import struct
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import grpc
import orjson
from google.protobuf.duration_pb2 import Duration
from promptmesh.inference.v1 import inference_pb2 as pb
from promptmesh.inference.v1 import inference_pb2_grpc as pb_grpc
from promptmesh.inference.v1 import receipt_pb2

from services.inference.catalog import Offers
from services.inference.catalog_messages import model_message
from services.inference.engine.call import AttemptRecord, CacheControl, ModelCall
from services.inference.engine.engine import Engine
from services.inference.engine.headers import headers_of
from services.inference.providers import faults
from services.inference.routing.attempts import RESTARTED
from services.inference.routing.route import Route
from services.inference.sizes import estimate_messages, largest_messages
from services.inference.typed import requests
from services.inference.typed.answers import deltas, finish_reasons
from services.inference.usage import estimate_input_tokens, largest_input_tokens, usage_message, utf8_bytes
from services.mesh.access.control import AccessControl
from services.mesh.call import current
from services.mesh.errors import MeshError
from services.mesh.ids import uuid7
from services.mesh.paging import PageTokens
from services.mesh.revocation import UntilRevoked

PAGE_SIZE_DEFAULT = 100
PAGE_FILTERS = {"list": "models"}
_Context = grpc.aio.ServicerContext[Any, Any]


class Inference(pb_grpc.InferenceServiceServicer):
    """Generate, Embed, CountTokens and ListModels."""

    def __init__(self, offers: Offers, engine: Engine, page_tokens: PageTokens, access: AccessControl) -> None:
        self._offers = offers
        self._engine = engine
        self._page_tokens = page_tokens
        self._access = access

    async def Generate(
        self, request: pb.GenerateRequest, context: _Context
    ) -> AsyncGenerator[pb.GenerateResponse, None]:
        """An error before the first message is the call's status; afterwards it is the last message.

        A revoked credential ends the answer at once (CREDENTIAL_REVOKED) and aborts the provider. One that merely
        expires does not cut an answer under way, which the provider's total timeout bounds.
        """
        call = generate_call(request, self._offers.catalog.route_for(request.model, current().caller, embeds=False))
        failure: MeshError | None = None
        began = False
        with UntilRevoked(self._access, call.caller) as until:
            try:
                async with aclosing(until.each(self._engine.stream(call))) as parts:
                    async for part in parts:
                        if not began:
                            began = True
                            await context.send_initial_metadata(headers_of(call))
                            yield _started(call)
                        elif part.data == RESTARTED:
                            yield _started(call)
                        for delta in deltas(part.chunks):
                            yield pb.GenerateResponse(delta=delta)
            except MeshError as error:
                if not began:
                    raise
                failure = error
        yield pb.GenerateResponse(usage=_usage(call))
        if failure is None:
            yield pb.GenerateResponse(done=_done(call))
        else:
            yield pb.GenerateResponse(
                error=pb.GenerateError(code=failure.code.value[0], reason=failure.reason, message=failure.message)
            )

    async def Embed(self, request: pb.EmbedRequest, context: _Context) -> pb.EmbedResponse:
        """Vectors in the order of the texts."""
        call = embed_call(request, self._offers.catalog.route_for(request.model, current().caller, embeds=True))
        with UntilRevoked(self._access, call.caller) as until:
            data = await until.answer(self._engine.complete(call))
        await context.send_initial_metadata(headers_of(call))
        return pb.EmbedResponse(
            embeddings=_vectors(data, len(request.inputs), call.answer_provider),
            usage=_usage(call),
            model=call.answer_model,
            record_id=call.record_id,
        )

    async def CountTokens(self, request: pb.CountTokensRequest, context: _Context) -> pb.CountTokensResponse:
        """An estimate, and a bound that no tokeniser exceeds; no provider is asked."""
        route = self._offers.catalog.route_for(request.model, current().caller)
        body: dict[str, Any] = {"messages": requests.messages(request.messages)}
        if request.tools:
            body["tools"] = requests.tools(request.tools)
        estimate = estimate_messages(body)
        response = pb.CountTokensResponse(
            input_tokens=estimate, estimated=True, input_tokens_max=max(estimate, largest_messages(body))
        )
        price = route.targets[0].price
        if price is not None:
            response.cost_nanos = price.cost_nanos(estimate, 0)
        return response

    async def ListModels(self, request: pb.ListModelsRequest, context: _Context) -> pb.ListModelsResponse:
        """In order of name; a token carries the last name of its page."""
        catalog = self._offers.catalog
        size = request.page_size or PAGE_SIZE_DEFAULT
        cursor = self._page_tokens.decode(request.page_token, PAGE_FILTERS)
        caller = current().caller
        allowed = catalog.names_for(caller)
        names = [name for name in allowed if cursor is None or name > str(cursor[0])]
        page = names[:size]
        response = pb.ListModelsResponse(models=[model_message(catalog, catalog.routes[name], caller) for name in page])
        if len(names) > size:
            response.next_page_token = self._page_tokens.encode([page[-1]], PAGE_FILTERS)
        return response


def generate_call(request: pb.GenerateRequest, route: Route) -> ModelCall:
    """The call that a request asks for."""
    call = current()
    body = requests.chat_body(request)
    sampling = request.sampling
    most = route.output_tokens_max
    return ModelCall(
        surface=receipt_pb2.SURFACE_GENERATE,
        caller=call.caller,
        request_id=call.request_id,
        record_id=uuid7(),
        route=route,
        body=body,
        streamed=True,
        output_cap=min(sampling.max_output_tokens, most) if sampling.HasField("max_output_tokens") else most,
        input_tokens_max=largest_messages(body),
        input_tokens_estimate=estimate_messages(body),
        tags=dict(request.tags),
        cache=_cache(request.cache),
        deadline=call.deadline,
        choices=body.get("n", 1),
    )


def embed_call(request: pb.EmbedRequest, route: Route) -> ModelCall:
    """The call that a request asks for."""
    call = current()
    sizes = [utf8_bytes(text) for text in request.inputs]
    return ModelCall(
        surface=receipt_pb2.SURFACE_EMBEDDINGS,
        caller=call.caller,
        request_id=call.request_id,
        record_id=uuid7(),
        route=route,
        body=requests.embed_body(request.inputs, request.dimensions),
        input_tokens_max=largest_input_tokens(sizes),
        input_tokens_estimate=estimate_input_tokens(sizes),
        tags=dict(request.tags),
        cache=_cache(request.cache),
        deadline=call.deadline,
    )


def _cache(asked: pb.CacheControl) -> CacheControl:
    return CacheControl(bypass=asked.bypass, refresh=asked.refresh and not asked.bypass, ttl_s=asked.ttl_s)


def _started(call: ModelCall) -> pb.GenerateResponse:
    return pb.GenerateResponse(
        started=pb.GenerateStarted(
            request_id=call.request_id,
            model=call.answer_model,
            config_version=call.route.version,
            route=call.route.name,
            provider=call.answer_provider,
            attempts=len(call.info.attempts),
            cache=call.decision,  # type: ignore[arg-type]  # a number of the enum
            restarted=call.info.restarted,
        )
    )


def _usage(call: ModelCall) -> pb.Usage:
    message = usage_message(call.usage)
    if call.cost_nanos is not None:
        message.cost_nanos = call.cost_nanos
    return message


def _done(call: ModelCall) -> pb.GenerateDone:
    reasons = finish_reasons(call.finish_reasons)
    return pb.GenerateDone(
        finish_reason=reasons[0] if reasons else pb.FINISH_REASON_UNSPECIFIED,
        finish_reasons=reasons if len(reasons) > 1 else (),
        record_id=call.record_id,
        attempts=[_attempt(attempt) for attempt in call.info.attempts],
    )


def _attempt(attempt: AttemptRecord) -> receipt_pb2.Attempt:
    duration = Duration()
    duration.FromMicroseconds(max(0, int((attempt.end_time - attempt.begin_time) * 1_000_000)))
    return receipt_pb2.Attempt(
        model=attempt.target.name,
        provider=attempt.target.provider.name,
        reason=attempt.reason,
        duration=duration,
        hedge=attempt.hedge,
    )


def _vectors(data: bytes, count: int, provider: str) -> list[pb.Embedding]:
    try:
        entries = sorted(orjson.loads(data)["data"], key=lambda entry: int(entry["index"]))
        made = [pb.Embedding(values=_values(entry["embedding"])) for entry in entries]
    except (ValueError, KeyError, TypeError, struct.error) as error:
        raise faults.broken(provider, f"its vectors cannot be read ({type(error).__name__})") from None
    if len(made) != count:
        raise faults.broken(provider, f"it holds {len(made)} vectors for {count} texts")
    return made


def _values(vector: Any) -> Any:
    """Some upstreams answer in base64 whatever was asked for: float32, little endian."""
    if not isinstance(vector, str):
        return vector
    raw = base64.b64decode(vector, validate=True)
    return struct.unpack(f"<{len(raw) // 4}f", raw)

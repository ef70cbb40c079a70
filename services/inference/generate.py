"""`inference.v1.InferenceService`: one typed way to call any model."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from typing import Any

import grpc
from promptmesh.inference.v1 import inference_pb2 as pb
from promptmesh.inference.v1 import inference_pb2_grpc as pb_grpc

from services.inference.calls import MeteredCall, metered
from services.inference.catalog import Catalog, OfferedModel, Offers
from services.inference.cleaning import clean
from services.inference.concurrency import Concurrency
from services.inference.providers.base import ChatMessage, ProviderRequest
from services.inference.usage import usage_message, utf8_bytes
from services.mesh.access.control import AccessControl
from services.mesh.call import current
from services.mesh.errors import FieldViolation, MeshError
from services.mesh.paging import PageTokens
from services.mesh.revocation import UntilRevoked

PAGE_SIZE_DEFAULT = 100
PAGE_FILTERS = {"list": "models"}
ROLES = {
    pb.MESSAGE_ROLE_SYSTEM: "system",
    pb.MESSAGE_ROLE_USER: "user",
    pb.MESSAGE_ROLE_ASSISTANT: "assistant",
}
FINISH_REASONS = {
    "stop": pb.FINISH_REASON_STOP,
    "length": pb.FINISH_REASON_LENGTH,
    "content_filter": pb.FINISH_REASON_CONTENT_FILTER,
    "tool_calls": pb.FINISH_REASON_TOOL_CALLS,
    "function_call": pb.FINISH_REASON_TOOL_CALLS,
}


class Inference(pb_grpc.InferenceServiceServicer):
    """Generate and ListModels."""

    def __init__(
        self,
        offers: Offers,
        concurrency: Concurrency,
        page_tokens: PageTokens,
        access: AccessControl,
    ) -> None:
        self._offers = offers
        self._concurrency = concurrency
        self._page_tokens = page_tokens
        self._access = access

    async def Generate(
        self, request: pb.GenerateRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncGenerator[pb.GenerateResponse, None]:
        """An error before the first message is the call's status; afterwards it is the last message.

        A revoked credential ends the answer at once (CREDENTIAL_REVOKED) and aborts the provider. One that merely
        expires does not cut an answer under way, which the provider's total timeout bounds.
        """
        call = current()
        catalog = self._offers.catalog
        model = catalog.model(request.model)
        asked = provider_request(request, model)
        with self._concurrency.slot(call.caller), UntilRevoked(self._access, call.caller) as until:
            failure: MeshError | None = None
            finish_reason = ""
            running: MeteredCall | None = None
            try:
                with metered(model, lambda: _message_bytes(asked)) as running:
                    async with aclosing(until.each(model.provider.stream(asked))) as pieces:
                        async for piece in pieces:
                            if not running.began:
                                running.first_token()
                                yield _started(call.request_id, catalog, model)
                            if piece.text:
                                running.record.output_bytes += utf8_bytes(piece.text)
                                yield pb.GenerateResponse(delta=pb.GenerateDelta(text=clean(piece.text)))
                            running.record.usage = piece.usage or running.record.usage
                            finish_reason = piece.finish_reason or finish_reason
            except MeshError as error:
                if running is None or not running.began:
                    raise
                failure = error
            yield pb.GenerateResponse(usage=usage_message(running.usage(), model.price))
            if failure is None:
                reason = FINISH_REASONS.get(finish_reason, pb.FINISH_REASON_UNSPECIFIED)
                yield pb.GenerateResponse(done=pb.GenerateDone(finish_reason=reason))
            else:
                yield pb.GenerateResponse(
                    error=pb.GenerateError(code=failure.code.value[0], reason=failure.reason, message=failure.message)
                )

    async def ListModels(
        self, request: pb.ListModelsRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.ListModelsResponse:
        """In order of name; a token carries the last name of its page."""
        catalog = self._offers.catalog
        size = request.page_size or PAGE_SIZE_DEFAULT
        cursor = self._page_tokens.decode(request.page_token, PAGE_FILTERS)
        names = [name for name in catalog.models if cursor is None or name > str(cursor[0])]
        page = names[:size]
        response = pb.ListModelsResponse(models=[model_message(catalog, catalog.models[name]) for name in page])
        if len(names) > size:
            response.next_page_token = self._page_tokens.encode([page[-1]], PAGE_FILTERS)
        return response


def provider_request(request: pb.GenerateRequest, model: OfferedModel) -> ProviderRequest:
    """The call of the provider; MeshError INVALID_FIELD where the conversation ends with the model's own words."""
    if request.messages[-1].role == pb.MESSAGE_ROLE_ASSISTANT:
        last = len(request.messages) - 1
        raise MeshError(
            "INVALID_FIELD",
            "The last message is the model's own, so there is nothing to answer.",
            violations=[FieldViolation(f"messages[{last}].role", "must be USER or SYSTEM in the last message")],
        )
    sampling = request.sampling
    asked_cap = sampling.max_output_tokens if sampling.HasField("max_output_tokens") else None
    return ProviderRequest(
        model=model.upstream_model,
        messages=tuple(ChatMessage(ROLES[message.role], message.content) for message in request.messages),
        max_output_tokens=model.cap(asked_cap),
        temperature=sampling.temperature if sampling.HasField("temperature") else None,
        top_p=sampling.top_p if sampling.HasField("top_p") else None,
        stop=tuple(sampling.stop),
        seed=sampling.seed if sampling.HasField("seed") else None,
    )


def model_message(catalog: Catalog, model: OfferedModel) -> pb.Model:
    """A model in the contract's shape; prices are rounded up to whole nano-dollars a token."""
    message = pb.Model(
        name=model.name,
        provider=model.provider.name,
        upstream_model=model.upstream_model,
        context_tokens=model.context_tokens,
        max_output_tokens=model.max_output_tokens,
        is_default=model.name == catalog.default.name,
    )
    if model.price is not None:
        message.price.input_token_nanos = model.price.input_token_nanos
        message.price.output_token_nanos = model.price.output_token_nanos
    return message


def _started(request_id: str, catalog: Catalog, model: OfferedModel) -> pb.GenerateResponse:
    return pb.GenerateResponse(
        started=pb.GenerateStarted(request_id=request_id, model=model.name, config_version=catalog.version)
    )


def _message_bytes(asked: ProviderRequest) -> Iterator[int]:
    return (utf8_bytes(message.content) for message in asked.messages)

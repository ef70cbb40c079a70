"""`inference.v1.OpenAiService`: OpenAI's own JSON, streams and errors, carried as HttpBody.

Errors are raised as everywhere; `openai.errors.render` is registered with the server, so that every error of these
methods, those of access included, leaves in OpenAI's shape; once a stream has begun, as its last event.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

import grpc
import orjson
from google.api import httpbody_pb2
from google.protobuf import empty_pb2
from promptmesh.inference.v1 import openai_pb2 as pb
from promptmesh.inference.v1 import openai_pb2_grpc as pb_grpc
from promptmesh.inference.v1 import receipt_pb2

from services.inference.catalog import Offers
from services.inference.engine.call import ModelCall
from services.inference.engine.engine import Engine
from services.inference.engine.headers import content_type
from services.inference.openai import bodies, embeddings, responses
from services.inference.openai.errors import JSON_TYPE, SSE_TYPE, StreamFailedError
from services.inference.routing.route import Route
from services.mesh.access.control import AccessControl
from services.mesh.call import current
from services.mesh.pipeline import tell
from services.mesh.revocation import UntilRevoked

# OpenAI's clients want the time a model was made; we do not know it.
UNKNOWN_CREATED = 0
PART_BYTES = 1024 * 1024

_Bodies = AsyncGenerator[httpbody_pb2.HttpBody, None]
_Context = grpc.aio.ServicerContext[Any, Any]


class OpenAi(pb_grpc.OpenAiServiceServicer):
    """Chat completions, embeddings, responses and models."""

    def __init__(
        self,
        offers: Offers,
        engine: Engine,
        access: AccessControl,
        *,
        wall_time_s: Callable[[], float] = time.time,
    ) -> None:
        self._offers = offers
        self._engine = engine
        self._access = access
        self._wall_time_s = wall_time_s

    async def ChatCompletions(self, request: httpbody_pb2.HttpBody, context: _Context) -> _Bodies:
        """One message with the whole answer, or one for each read of a stream. The answer names the model that
        answered. A revoked credential ends it as it ends Generate."""
        data = request.data
        call = bodies.call_of(bodies.read(data), len(data), self._offers.catalog, receipt_pb2.SURFACE_CHAT_COMPLETIONS)
        with UntilRevoked(self._access, call.caller) as until:
            if not call.streamed:
                answer = await until.answer(self._engine.complete(call))
                for body in _json_parts(call, answer):
                    yield body
                return
            kind = ""
            async with aclosing(until.each(self._engine.stream(call))) as parts:
                async for part in parts:
                    kind = SSE_TYPE if kind else content_type(SSE_TYPE, call)
                    yield httpbody_pb2.HttpBody(content_type=kind, data=part.data)

    async def Embeddings(self, request: httpbody_pb2.HttpBody, context: _Context) -> _Bodies:
        """One message with all vectors, or several where they are more than a message takes."""
        call = embeddings.call_of(request.data, self._offers.catalog)
        with UntilRevoked(self._access, call.caller) as until:
            answer = await until.answer(self._engine.complete(call))
        for body in _json_parts(call, answer):
            yield body

    async def Responses(self, request: httpbody_pb2.HttpBody, context: _Context) -> _Bodies:
        """As ChatCompletions, in the shapes of OpenAI's Responses. A stream that breaks off ends with
        `response.failed` and `error`."""
        asked, call = responses.call_of(request.data, self._offers.catalog)
        created_s = int(self._wall_time_s())
        with UntilRevoked(self._access, call.caller) as until:
            if not call.streamed:
                answer = await until.answer(self._engine.complete(call))
                said = responses.answer(asked, call, answer, created_s, int(self._wall_time_s()))
                for body in _json_parts(call, said):
                    yield body
                return
            events = responses.Events(asked, call, created_s)
            kind = ""
            try:
                async with aclosing(until.each(self._engine.stream(call))) as parts:
                    async for part in parts:
                        data = events.feed(part)
                        if data:
                            kind = SSE_TYPE if kind else content_type(SSE_TYPE, call)
                            yield httpbody_pb2.HttpBody(content_type=kind, data=data)
                last = events.end(int(self._wall_time_s()))
            except Exception as error:
                if not events.begun:
                    raise
                told = tell(error)
                raise StreamFailedError(told, events.failed(told)) from error
        yield httpbody_pb2.HttpBody(content_type=kind or content_type(SSE_TYPE, call), data=last)

    async def CountInputTokens(self, request: httpbody_pb2.HttpBody, context: _Context) -> _Bodies:
        """How many tokens a request of Responses would take, estimated; no provider is asked."""
        tokens = responses.count(request.data, self._offers.catalog)
        yield _json({"object": "response.input_tokens", "input_tokens": tokens})

    async def ListModels(self, request: empty_pb2.Empty, context: _Context) -> _Bodies:
        """All models and routes; OpenAI's list has no pages."""
        catalog = self._offers.catalog
        routes = [_model(catalog.routes[name]) for name in catalog.names_for(current().caller)]
        yield _json({"object": "list", "data": routes})

    async def GetModel(self, request: pb.GetModelRequest, context: _Context) -> _Bodies:
        """One model or route."""
        yield _json(_model(self._offers.catalog.route_for(request.model, current().caller)))


def _json_parts(call: ModelCall, data: bytes) -> list[httpbody_pb2.HttpBody]:
    # A message is bounded, an answer need not be.
    kind = content_type(JSON_TYPE, call)
    return [
        httpbody_pb2.HttpBody(content_type=kind, data=data[start : start + PART_BYTES])
        for start in range(0, len(data), PART_BYTES)
    ]


def _model(route: Route) -> dict[str, Any]:
    owner = route.targets[0].provider.name if route.is_model else "promptmesh"
    kind = "embedding" if route.embeds else "chat"
    return {"id": route.name, "object": "model", "created": UNKNOWN_CREATED, "owned_by": owner, "kind": kind}


def _json(value: Any) -> httpbody_pb2.HttpBody:
    return httpbody_pb2.HttpBody(content_type=JSON_TYPE, data=orjson.dumps(value))

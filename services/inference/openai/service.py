"""`inference.v1.OpenAiService`: OpenAI's own JSON, streams and errors, carried as HttpBody.

Errors are raised as everywhere; `openai.errors.render` is registered with the server, so that every error of these
methods, those of access included, leaves in OpenAI's shape; once a stream has begun, as its last event.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import grpc
import orjson
from google.api import httpbody_pb2
from google.protobuf import empty_pb2
from promptmesh.inference.v1 import openai_pb2 as pb
from promptmesh.inference.v1 import openai_pb2_grpc as pb_grpc

from services.inference.calls import metered
from services.inference.catalog import OfferedModel, Offers
from services.inference.concurrency import Concurrency
from services.inference.openai import bodies
from services.inference.openai.errors import JSON_TYPE, SSE_TYPE
from services.mesh.access.control import AccessControl
from services.mesh.call import current
from services.mesh.revocation import UntilRevoked

# OpenAI's clients want the time a model was made; we do not know it.
UNKNOWN_CREATED = 0
PART_BYTES = 1024 * 1024

_Bodies = AsyncGenerator[httpbody_pb2.HttpBody, None]
_Context = grpc.aio.ServicerContext[Any, Any]


class OpenAi(pb_grpc.OpenAiServiceServicer):
    """Chat completions and models."""

    def __init__(self, offers: Offers, concurrency: Concurrency, access: AccessControl) -> None:
        self._offers = offers
        self._concurrency = concurrency
        self._access = access

    async def ChatCompletions(self, request: httpbody_pb2.HttpBody, context: _Context) -> _Bodies:
        """One message with the whole answer, or one for each read of a stream. The answer names the model as the
        caller did. A revoked credential ends it as it ends Generate."""
        body = bodies.read(request.data)
        model = self._offers.catalog.model(body.get("model") or "")
        call = bodies.call_of(body, model)
        caller = current().caller
        with (
            self._concurrency.slot(caller),
            UntilRevoked(self._access, caller) as until,
            metered(model, lambda: bodies.message_bytes(body)) as running,
        ):
            if not body.get("stream"):
                data = await until.answer(model.provider.complete_openai(call, running.record))
                running.first_token()
                # A message is bounded, an answer need not be.
                for start in range(0, len(data), PART_BYTES):
                    yield httpbody_pb2.HttpBody(content_type=JSON_TYPE, data=data[start : start + PART_BYTES])
                return
            async with aclosing(until.each(model.provider.stream_openai(call, running.record))) as parts:
                async for part in parts:
                    running.first_token()
                    yield httpbody_pb2.HttpBody(content_type=SSE_TYPE, data=part)

    async def ListModels(self, request: empty_pb2.Empty, context: _Context) -> _Bodies:
        """All models; OpenAI's list has no pages."""
        models = [_model(model) for model in self._offers.catalog.models.values()]
        yield _json({"object": "list", "data": models})

    async def GetModel(self, request: pb.GetModelRequest, context: _Context) -> _Bodies:
        """One model."""
        yield _json(_model(self._offers.catalog.model(request.model)))


def _model(model: OfferedModel) -> dict[str, Any]:
    return {"id": model.name, "object": "model", "created": UNKNOWN_CREATED, "owned_by": model.provider.name}


def _json(value: Any) -> httpbody_pb2.HttpBody:
    return httpbody_pb2.HttpBody(content_type=JSON_TYPE, data=orjson.dumps(value))

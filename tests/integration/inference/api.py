"""The gRPC face of inference behind the kit's real pipeline, and a bridge from HTTP that does what the edge does."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import openai
import orjson
from aiohttp import web
from google.api import httpbody_pb2
from google.protobuf import empty_pb2
from promptmesh.access.v1.access_pb2 import Role
from promptmesh.auth.v1.auth_pb2 import IdentityState, KeyIdentity, WatchIdentitiesResponse
from promptmesh.inference.v1 import inference_pb2_grpc, openai_pb2, openai_pb2_grpc

from services.inference.catalog import Offers
from services.inference.config import parse
from services.inference.engine.parts import EngineParts
from services.inference.openai.errors import STATUS_KEY, render
from services.inference.openai.service import OpenAi
from services.inference.providers.http import Client, Timeouts
from services.inference.typed.service import Inference
from services.mesh.access import keys
from services.mesh.access.control import AccessControl
from services.mesh.access.service_tokens import ServiceTokens
from services.mesh.database import Database
from services.mesh.errors import MeshError
from services.mesh.paging import PageTokens
from services.mesh.redis import Redis
from services.mesh.server import Server
from tests.integration.inference.running_parts import running_parts
from tests.support.provider import MisbehavingProvider

PEPPER = b"pepper-of-a-test-pepper-of-a-test"
ORG = "0190aaaa-0000-7000-8000-000000000001"
CALLS_MAX = 4
PASSED_ON = ("authorization", "cache-control", "x-request-id")
MODELS = """
providers:
  - {{name: mock, kind: openai, base_url: "{base_url}", api_key_env: MOCK_KEY}}
models:
  - name: house
    provider: mock
    upstream_model: mock-small
    context_tokens: 8192
    max_output_tokens: 1000
    price: {{input_per_million_usd: 1.5, output_per_million_usd: 2}}
    default: true
  - {{name: unpriced, provider: mock, upstream_model: mock-large}}
  - {{name: vectors, provider: mock, upstream_model: mock-embed, embeds: true, price: {{input_per_million_usd: 0.5}}}}
routes:
  - {{name: kept, targets: [{{model: house}}], cache: {{ttl_s: 60}}}}
  - {{name: strict, targets: [{{model: house}}], unknown_parameters: refuse}}
  - {{name: again, targets: [{{model: house}}, {{model: unpriced}}], strategy: ordered, midstream: restart}}
"""


def models_yaml(upstream: MisbehavingProvider) -> str:
    """What the parts of a test offer."""
    return MODELS.format(base_url=upstream.base_url)


class KeysOfATest:
    """Where identities come from: one key that may call models, one that may not."""

    def __init__(self) -> None:
        self.good = keys.new_secret()
        self.scopeless = keys.new_secret()
        self.expires_in_s: float | None = None  # keys that are asked for from now on
        self._changes: asyncio.Queue[WatchIdentitiesResponse] = asyncio.Queue()

    async def watch(self, after_version: int) -> AsyncIterator[WatchIdentitiesResponse]:
        yield WatchIdentitiesResponse(version=1, state=IdentityState(grace_seconds=60))
        while True:
            yield await self._changes.get()

    async def resolve(self, digest: bytes) -> KeyIdentity:
        for secret, scopes in ((self.good, ["inference:invoke"]), (self.scopeless, ["posts:read"])):
            if keys.digest(PEPPER, secret) == digest:
                identity = KeyIdentity(
                    api_key_id=ORG, digest=digest, org_id=ORG, user_id=ORG, roles=[Role.ROLE_USER], scopes=scopes
                )
                if self.expires_in_s is not None:
                    identity.expire_time.FromNanoseconds(time.time_ns() + int(self.expires_in_s * 1e9))
                return identity
        raise MeshError("API_KEY_NOT_FOUND", "No such key.")

    async def revoke(self) -> None:
        """Revokes the good key; the process hears of it."""
        identity = await self.resolve(keys.digest(PEPPER, self.good))
        identity.revoked = True
        self._changes.put_nowait(WatchIdentitiesResponse(version=2, key_changed=identity))


@dataclass
class Api:
    """Stubs, and the address of the bridge for HTTP clients."""

    offers: Offers
    parts: EngineParts
    inference: Any
    openai: Any
    identities: KeysOfATest
    http_url: str = ""

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """Of a caller who may call models."""
        return (("authorization", f"Bearer {self.identities.good}"),)


@contextlib.asynccontextmanager
async def running_api(
    client: Client, upstream: MisbehavingProvider, database: Database, redis: Redis, worker_dir: Path
) -> AsyncIterator[Api]:
    """Everything on free ports."""
    timeouts = Timeouts(connect_s=2, first_token_s=0.5, idle_s=0.5, total_s=5)
    offers = Offers(client, {"MOCK_KEY": "sk-mock-key-12345678"}, timeouts, 0)
    offers.configure(7, parse(models_yaml(upstream)))
    identities = KeysOfATest()
    access = AccessControl(identities, ServiceTokens("inference", PEPPER), PEPPER)
    follower = asyncio.create_task(access.follower.run())
    server = Server(access)
    page_tokens = PageTokens(PEPPER)
    async with running_parts(offers, database, redis, worker_dir, org_calls_max=CALLS_MAX) as parts:
        engine = parts.engine
        server.add(
            inference_pb2_grpc.add_InferenceServiceServicer_to_server, Inference(offers, engine, page_tokens, access)
        )
        server.add(
            openai_pb2_grpc.add_OpenAiServiceServicer_to_server, OpenAi(offers, engine, access), render_error=render
        )
        port = await server.start()
        await access.ready.wait()
        async with _called(Api(offers, parts, None, None, identities), port) as api:
            yield api
        await server.stop()
    follower.cancel()
    await asyncio.wait([follower])
    await access.close()


@contextlib.asynccontextmanager
async def _called(api: Api, port: int) -> AsyncIterator[Api]:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        api.inference = inference_pb2_grpc.InferenceServiceStub(channel)
        api.openai = openai_pb2_grpc.OpenAiServiceStub(channel)
        async with _bridge(api) as api.http_url:
            yield api


@contextlib.asynccontextmanager
async def _bridge(api: Api) -> AsyncIterator[str]:
    """HTTP to HttpBody and back, as Envoy does it: the status comes from initial metadata."""

    def posted(method: Any) -> Any:
        async def post(request: web.Request) -> web.StreamResponse:
            body = httpbody_pb2.HttpBody(content_type=request.content_type, data=await request.read())
            return await _carry(request, method(body, metadata=_metadata(request)))

        return post

    async def models(request: web.Request) -> web.StreamResponse:
        return await _carry(request, api.openai.ListModels(empty_pb2.Empty(), metadata=_metadata(request)))

    async def model(request: web.Request) -> web.StreamResponse:
        asked = openai_pb2.GetModelRequest(model=request.match_info["model"])
        return await _carry(request, api.openai.GetModel(asked, metadata=_metadata(request)))

    app = web.Application(client_max_size=16 * 1024 * 1024)
    app.router.add_post("/v1/chat/completions", posted(api.openai.ChatCompletions))
    app.router.add_post("/v1/embeddings", posted(api.openai.Embeddings))
    app.router.add_post("/v1/responses", posted(api.openai.Responses))
    app.router.add_post("/v1/responses/input_tokens", posted(api.openai.CountInputTokens))
    app.router.add_get("/v1/models", models)
    app.router.add_get("/v1/models/{model:.+}", model)
    runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    finally:
        await runner.cleanup()


def _metadata(request: web.Request) -> tuple[tuple[str, str], ...]:
    return tuple((name, request.headers[name]) for name in PASSED_ON if name in request.headers)


async def _carry(request: web.Request, call: Any) -> web.StreamResponse:
    metadata = dict(await call.initial_metadata())
    response = web.StreamResponse(status=int(metadata.get(STATUS_KEY, "200")))
    for name in ("retry-after", "x-request-id", "x-should-retry", "x-promptmesh-attempts"):
        if name in metadata:
            response.headers[name] = metadata[name]
    first = True
    async for part in call:
        if first:
            kind, _, said = part.content_type.partition("; promptmesh=")
            response.content_type = kind
            response.headers.update(one.split("=", 1) for one in said.strip('"').split("|") if said)
            await response.prepare(request)
            first = False
        await response.write(part.data)
    await response.write_eof()
    return response


def client_of(api: Api, key: str | None = None) -> openai.AsyncOpenAI:
    """The official client, which tells of every error at once."""
    return openai.AsyncOpenAI(base_url=api.http_url, api_key=key or api.identities.good, max_retries=0)


async def stored_requests(database: Database, count: int) -> list[dict[str, Any]]:
    """The first records of calls in order of their begin, as soon as so many are in PostgreSQL."""
    async with asyncio.timeout(30):
        while True:
            async with database.connection() as conn:
                found = await conn.fetch("SELECT *, id AS record_id FROM requests ORDER BY id")
            if len(found) >= count:
                return [
                    {**row, "attempts": orjson.loads(row["attempts"]), "tags": orjson.loads(row["tags"])}
                    for row in map(dict, found)
                ]
            await asyncio.sleep(0.01)


async def posted(api: Api, path: str, body: Any) -> bytes:
    """The answer to a body, as it is on the wire."""
    headers = {"Authorization": f"Bearer {api.identities.good}"}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.post(f"{api.http_url}/{path}", json=body) as response,
    ):
        return await response.read()

"""Services behind the edge under test: they implement the contracts just as far as the edge's behaviour shows.

What a call does is chosen by its content, so that tests read on their own: a post's id or a body says it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.api.httpbody_pb2 import HttpBody
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.empty_pb2 import Empty
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from promptmesh.auth.v1 import auth_pb2, auth_pb2_grpc
from promptmesh.events.v1 import events_pb2, events_pb2_grpc
from promptmesh.inference.v1 import inference_pb2, inference_pb2_grpc, openai_pb2, openai_pb2_grpc
from promptmesh.moderation.v1 import moderation_pb2, moderation_pb2_grpc
from promptmesh.prompts.v1 import posts_pb2, posts_pb2_grpc

from services.mesh.errors import MeshError
from services.mesh.http import HttpFront, HttpOptions

MISSING_POST = "00000000-0000-7000-8000-000000000404"
SLOW_POST = "00000000-0000-7000-8000-000000000504"
FLAKY_POST = "00000000-0000-7000-8000-000000000503"
BARE_POST = "00000000-0000-7000-8000-000000000004"
ENDING_POST = "00000000-0000-7000-8000-000000000044"
BROKEN_POST = "00000000-0000-7000-8000-000000000013"
EMPTY_POST = "00000000-0000-7000-8000-000000000000"
QUIET_POST = "00000000-0000-7000-8000-000000000001"
LONG_BODY = "a prompt that compresses well. " * 200
MAX_MESSAGE_BYTES = 16 * 1024 * 1024
SERVICE_NAMES = tuple(
    module.DESCRIPTOR.services_by_name[name].full_name
    for module, name in (
        (auth_pb2, "AuthService"),
        (events_pb2, "EventSourceService"),
        (inference_pb2, "InferenceService"),
        (openai_pb2, "OpenAiService"),
        (moderation_pb2, "ModerationService"),
        (posts_pb2, "PostService"),
    )
)


@dataclass
class Seen:
    """What reached the services: the last call's metadata, and calls by method."""

    metadata: dict[str, str | bytes] = field(default_factory=dict)
    remaining_s: float | None = None
    calls: list[str] = field(default_factory=list)
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    unavailable_left: int = 0

    def note(self, method: str, context: Any) -> None:
        self.metadata = dict(context.invocation_metadata())
        self.remaining_s = context.time_remaining()
        self.calls.append(method)


class ToyPosts(posts_pb2_grpc.PostServiceServicer):
    def __init__(self, seen: Seen) -> None:
        self.seen = seen

    async def GetPost(self, request: posts_pb2.GetPostRequest, context: Any) -> posts_pb2.Post:
        self.seen.note("GetPost", context)
        if request.post_id == MISSING_POST:
            await _abort(context, grpc.StatusCode.NOT_FOUND, "POST_NOT_FOUND", "There is no such post.")
        if request.post_id == SLOW_POST:
            await self._hang()
        if request.post_id == BARE_POST:
            await _library_answers(context, grpc.StatusCode.DEADLINE_EXCEEDED)
        if request.post_id == ENDING_POST:
            await _library_answers(context, grpc.StatusCode.CANCELLED)
        if request.post_id == BROKEN_POST:
            await _library_answers(context, grpc.StatusCode.UNKNOWN)
        if request.post_id == FLAKY_POST and self.seen.unavailable_left:
            self.seen.unavailable_left -= 1
            await context.abort(grpc.StatusCode.UNAVAILABLE, "not now")
        return posts_pb2.Post(post_id=request.post_id, title="A title", body=LONG_BODY, like_count=3)

    async def ListPosts(self, request: posts_pb2.ListPostsRequest, context: Any) -> posts_pb2.ListPostsResponse:
        self.seen.note("ListPosts", context)
        return posts_pb2.ListPostsResponse(next_page_token=f"{request.page_size}:{request.tag}")

    async def CreatePost(self, request: posts_pb2.CreatePostRequest, context: Any) -> posts_pb2.Post:
        self.seen.note("CreatePost", context)
        if self.seen.unavailable_left:
            self.seen.unavailable_left -= 1
            await context.abort(grpc.StatusCode.UNAVAILABLE, "not now")
        if request.title == "limited":
            await _abort(context, grpc.StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED", "Too fast.", retry_after_s=7)
        return posts_pb2.Post(title=request.title, body=request.body, tags=request.tags)

    async def UpdatePost(self, request: posts_pb2.UpdatePostRequest, context: Any) -> posts_pb2.Post:
        self.seen.note("UpdatePost", context)
        return request.post

    async def LikePost(self, request: posts_pb2.LikePostRequest, context: Any) -> posts_pb2.Post:
        self.seen.note("LikePost", context)
        return posts_pb2.Post(post_id=request.post_id, liked=True)

    async def DeletePost(self, request: posts_pb2.DeletePostRequest, context: Any) -> Empty:
        self.seen.note("DeletePost", context)
        return Empty()

    async def GetPostPage(self, request: posts_pb2.GetPostPageRequest, context: Any) -> HttpBody:
        self.seen.note("GetPostPage", context)
        if request.post_id == MISSING_POST:
            await context.send_initial_metadata((("x-promptmesh-http-status", "404"),))
        return HttpBody(content_type="text/html; charset=utf-8", data=b"<p>A page</p>" * 100)

    async def WatchPost(
        self, request: posts_pb2.WatchPostRequest, context: Any
    ) -> AsyncIterator[posts_pb2.WatchPostResponse]:
        self.seen.note("WatchPost", context)
        if request.post_id == EMPTY_POST:
            return
        if request.post_id == SLOW_POST:
            await self._hang()
        yield posts_pb2.WatchPostResponse(
            cursor=1, post=posts_pb2.Post(post_id=request.post_id, title="Erste\nZeile ü")
        )
        yield posts_pb2.WatchPostResponse(cursor=2, heartbeat=posts_pb2.Heartbeat())
        if request.post_id == QUIET_POST:
            await self._hang()
        yield posts_pb2.WatchPostResponse(cursor=3, done=posts_pb2.WatchDone(reason=posts_pb2.WATCH_END_DELETED))

    async def _hang(self) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.seen.cancelled.set()
            raise


class ToyAuth(auth_pb2_grpc.AuthServiceServicer):
    def __init__(self, seen: Seen) -> None:
        self.seen = seen

    async def CreateSession(self, request: auth_pb2.CreateSessionRequest, context: Any) -> auth_pb2.Session:
        self.seen.note("CreateSession", context)
        return auth_pb2.Session(session_id="s")

    async def GetMe(self, request: auth_pb2.GetMeRequest, context: Any) -> auth_pb2.User:
        self.seen.note("GetMe", context)
        return auth_pb2.User(user_id="u", display_name="Ada")

    async def ResolveApiKey(self, request: auth_pb2.ResolveApiKeyRequest, context: Any) -> auth_pb2.KeyIdentity:
        self.seen.note("ResolveApiKey", context)
        return auth_pb2.KeyIdentity(api_key_id="must not be reached from outside")

    async def WatchIdentities(
        self, request: auth_pb2.WatchIdentitiesRequest, context: Any
    ) -> AsyncIterator[auth_pb2.WatchIdentitiesResponse]:
        self.seen.note("WatchIdentities", context)
        yield auth_pb2.WatchIdentitiesResponse(version=1)


class ToyEvents(events_pb2_grpc.EventSourceServiceServicer):
    def __init__(self, seen: Seen) -> None:
        self.seen = seen

    async def Replay(self, request: events_pb2.ReplayRequest, context: Any) -> AsyncIterator[events_pb2.ReplayResponse]:
        self.seen.note("Replay", context)
        yield events_pb2.ReplayResponse(done=events_pb2.ReplayDone(head=1))


class ToyModeration(moderation_pb2_grpc.ModerationServiceServicer):
    def __init__(self, seen: Seen) -> None:
        self.seen = seen

    async def BatchScreen(
        self, request: moderation_pb2.BatchScreenRequest, context: Any
    ) -> moderation_pb2.BatchScreenResponse:
        self.seen.note("BatchScreen", context)
        return moderation_pb2.BatchScreenResponse(screenings=[moderation_pb2.Screening() for _ in request.requests])


class ToyInference(inference_pb2_grpc.InferenceServiceServicer):
    def __init__(self, seen: Seen) -> None:
        self.seen = seen

    async def Generate(
        self, request: inference_pb2.GenerateRequest, context: Any
    ) -> AsyncIterator[inference_pb2.GenerateResponse]:
        self.seen.note("Generate", context)
        if request.model == "none":
            await _abort(context, grpc.StatusCode.NOT_FOUND, "MODEL_NOT_FOUND", "There is no such model.")
        size = sum(len(message.content) for message in request.messages)
        yield inference_pb2.GenerateResponse(delta=inference_pb2.GenerateDelta(text=str(size)))
        yield inference_pb2.GenerateResponse(done=inference_pb2.GenerateDone(finish_reason=1))


class ToyOpenAi(openai_pb2_grpc.OpenAiServiceServicer):
    """`{"stream": true}` streams, `{"fail": 404}` fails in OpenAI's shape, anything else tells the body's size."""

    def __init__(self, seen: Seen) -> None:
        self.seen = seen

    async def ChatCompletions(self, request: HttpBody, context: Any) -> AsyncIterator[HttpBody]:
        self.seen.note("ChatCompletions", context)
        try:
            wanted = json.loads(request.data)
        except ValueError:
            wanted = {"fail": 400}
        if wanted.get("hang"):
            await self._hang()
        if wanted.get("bare"):
            await _library_answers(context, getattr(grpc.StatusCode, wanted["bare"]))
        if status := wanted.get("fail"):
            await context.send_initial_metadata((("x-promptmesh-http-status", str(status)), ("retry-after", "3")))
            error = {
                "message": "No such model.",
                "type": "invalid_request_error",
                "param": None,
                "code": "model_not_found",
            }
            yield _body({"error": error})
        elif wanted.get("stream"):
            try:
                for part in ("Hel", "lo"):
                    yield HttpBody(
                        content_type="text/event-stream", data=f"data: {json.dumps({'delta': part})}\n\n".encode()
                    )
                if wanted["stream"] == "quiet":
                    await asyncio.Event().wait()
            except (asyncio.CancelledError, GeneratorExit):  # the latter: while a part was on its way
                self.seen.cancelled.set()
                raise
            yield HttpBody(content_type="text/event-stream", data=b"data: [DONE]\n\n")
        elif said := wanted.get("says"):
            yield HttpBody(content_type=f'application/json; promptmesh="{said}"', data=b"{}")
        else:
            yield _body({"content_type": request.content_type, "size": len(request.data)})

    async def _hang(self) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.seen.cancelled.set()
            raise

    async def ListModels(self, request: Empty, context: Any) -> AsyncIterator[HttpBody]:
        self.seen.note("OpenAiService.ListModels", context)
        yield _body({"object": "list", "data": []})

    async def GetModel(self, request: openai_pb2.GetModelRequest, context: Any) -> AsyncIterator[HttpBody]:
        self.seen.note("GetModel", context)
        yield _body({"id": request.model, "object": "model"})


@dataclass
class Toys:
    """One server for each service of the mesh, as the edge's settings want them."""

    seen: Seen
    servers: dict[str, grpc.aio.Server]
    ports: dict[str, int]
    healths: dict[str, health.aio.HealthServicer]
    front: HttpFront

    @property
    def clusters(self) -> dict[str, list[tuple[str, int]]]:
        return {area: [("127.0.0.1", port)] for area, port in self.ports.items()}

    @property
    def http_clusters(self) -> dict[str, list[tuple[str, int]]]:
        """Of the plain HTTP beside inference's gRPC."""
        return {"inference": [("127.0.0.1", self.front.port)]}

    async def set_serving(self, area: str, serving: bool) -> None:
        """Sets what the service says of its own health."""
        status = health_pb2.HealthCheckResponse
        await self.healths[area].set("", status.SERVING if serving else status.NOT_SERVING)

    async def stop(self) -> None:
        await asyncio.gather(self.front.drain(0), *(server.stop(0) for server in self.servers.values()))


async def start_toys() -> Toys:
    seen = Seen()
    openai = ToyOpenAi(seen)
    plain = {"/v1/chat/completions": _plainly(openai.ChatCompletions)}
    renders = {"/v1/chat/completions": _told_as_openai_does}
    front = HttpFront(plain, HttpOptions(body_bytes_max=MAX_MESSAGE_BYTES), lambda: True, renders)
    await front.start()
    toys = Toys(seen, {}, {}, {}, front)
    for area in ("auth", "prompts", "moderation", "inference"):
        server = grpc.aio.server(
            options=[("grpc.max_receive_message_length", MAX_MESSAGE_BYTES), ("grpc.so_reuseport", 0)]
        )
        toys.healths[area] = health.aio.HealthServicer()
        await toys.set_serving(area, True)
        health_pb2_grpc.add_HealthServicer_to_server(toys.healths[area], server)
        reflection.enable_server_reflection([*SERVICE_NAMES, reflection.SERVICE_NAME], server)
        events_pb2_grpc.add_EventSourceServiceServicer_to_server(ToyEvents(seen), server)
        _add_own(area, server, seen)
        toys.ports[area] = server.add_insecure_port("127.0.0.1:0")
        toys.servers[area] = server
        await server.start()
    return toys


def _told_as_openai_does(error: MeshError, _headers: Any) -> tuple[HttpBody, list[tuple[str, str]]]:
    said = {"message": error.message, "type": "api_error", "param": None, "code": error.reason.lower()}
    return _body({"error": said}), [("x-promptmesh-http-status", "504")]


def _plainly(handler: Any) -> Any:
    async def serve(message: HttpBody, exchange: Any) -> None:
        async for body in handler(message, exchange):
            await exchange.write(body)

    return serve


def _add_own(area: str, server: grpc.aio.Server, seen: Seen) -> None:
    if area == "auth":
        auth_pb2_grpc.add_AuthServiceServicer_to_server(ToyAuth(seen), server)
    elif area == "prompts":
        posts_pb2_grpc.add_PostServiceServicer_to_server(ToyPosts(seen), server)
    elif area == "moderation":
        moderation_pb2_grpc.add_ModerationServiceServicer_to_server(ToyModeration(seen), server)
    else:
        inference_pb2_grpc.add_InferenceServiceServicer_to_server(ToyInference(seen), server)
        openai_pb2_grpc.add_OpenAiServiceServicer_to_server(ToyOpenAi(seen), server)


async def _abort(
    context: Any, code: grpc.StatusCode, reason: str, message: str, retry_after_s: int | None = None
) -> None:
    details = [_packed(error_details_pb2.ErrorInfo(reason=reason, domain="promptmesh"))]
    if retry_after_s is not None:
        info = error_details_pb2.RetryInfo()
        info.retry_delay.seconds = retry_after_s
        details.append(_packed(info))
    status = status_pb2.Status(code=code.value[0], message=message, details=details)
    trailing = [("grpc-status-details-bin", status.SerializeToString())]
    if retry_after_s is not None:
        trailing.append(("retry-after", str(retry_after_s)))
    await context.abort(code, message, tuple(trailing))


async def _library_answers(context: Any, code: grpc.StatusCode) -> None:
    """As gRPC's library answers in place of a service: its own words, and no details."""
    await context.abort(code, "words of the library")


def _packed(message: Any) -> AnyMessage:
    packed = AnyMessage()
    packed.Pack(message)
    return packed


def _body(content: object) -> HttpBody:
    return HttpBody(content_type="application/json", data=json.dumps(content).encode())

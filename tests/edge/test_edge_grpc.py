"""Native gRPC, gRPC-Web and reflection on the same port, and what only services may call."""

from __future__ import annotations

import asyncio
import base64
import struct
from collections.abc import AsyncIterator

import grpc
import pytest
import pytest_asyncio
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from promptmesh.auth.v1 import auth_pb2, auth_pb2_grpc
from promptmesh.events.v1 import events_pb2, events_pb2_grpc
from promptmesh.inference.v1 import inference_pb2, inference_pb2_grpc, openai_pb2_grpc
from promptmesh.prompts.v1 import posts_pb2, posts_pb2_grpc

from gateway import contracts
from tests.edge.harness import Edge
from tests.edge.toys import (
    BARE_POST,
    BROKEN_POST,
    EMPTY_POST,
    ENDING_POST,
    FLAKY_POST,
    MISSING_POST,
    QUIET_POST,
    SERVICE_NAMES,
    SLOW_POST,
    Seen,
)

pytestmark = pytest.mark.asyncio(loop_scope="session")

CANCEL_TIMEOUT_S = 10
GRPC_WEB = {"content-type": "application/grpc-web+proto", "x-grpc-web": "1"}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def channel(edge: Edge) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(edge.target) as opened:
        yield opened


async def test_unary_and_streaming_calls_pass(channel: grpc.aio.Channel) -> None:
    posts = posts_pb2_grpc.PostServiceStub(channel)

    assert (await posts.LikePost(posts_pb2.LikePostRequest(post_id="a"))).liked
    watched = [each.cursor async for each in posts.WatchPost(posts_pb2.WatchPostRequest(post_id="a"))]
    assert watched == [1, 2, 3]


async def test_each_service_is_reached(channel: grpc.aio.Channel) -> None:
    assert (await auth_pb2_grpc.AuthServiceStub(channel).GetMe(auth_pb2.GetMeRequest())).user_id == "u"
    stream = inference_pb2_grpc.InferenceServiceStub(channel).Generate(inference_pb2.GenerateRequest())
    assert [each.WhichOneof("event") async for each in stream] == ["delta", "done"]


async def test_an_error_of_a_service_passes_with_its_details(channel: grpc.aio.Channel) -> None:
    error = await _error(
        posts_pb2_grpc.PostServiceStub(channel).GetPost(posts_pb2.GetPostRequest(post_id=MISSING_POST))
    )

    assert error.code() is grpc.StatusCode.NOT_FOUND
    assert _reason(error) == "POST_NOT_FOUND"


async def test_what_the_grpc_library_answers_has_details(channel: grpc.aio.Channel) -> None:
    error = await _error(posts_pb2_grpc.PostServiceStub(channel).GetPost(posts_pb2.GetPostRequest(post_id=BARE_POST)))

    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert _reason(error) == "DEADLINE_TOO_SHORT"


async def test_what_a_service_that_ends_cancels_may_be_tried_again(channel: grpc.aio.Channel) -> None:
    error = await _error(posts_pb2_grpc.PostServiceStub(channel).GetPost(posts_pb2.GetPostRequest(post_id=ENDING_POST)))

    assert (error.code(), _reason(error)) == (grpc.StatusCode.UNAVAILABLE, "DEPENDENCY_UNAVAILABLE")


async def test_a_code_that_no_row_has_is_told_under_its_own(channel: grpc.aio.Channel) -> None:
    error = await _error(posts_pb2_grpc.PostServiceStub(channel).GetPost(posts_pb2.GetPostRequest(post_id=BROKEN_POST)))

    assert (error.code(), _reason(error)) == (grpc.StatusCode.UNKNOWN, "INTERNAL")
    details = bytes(dict(error.trailing_metadata())["grpc-status-details-bin"])
    assert status_pb2.Status.FromString(details).code == grpc.StatusCode.UNKNOWN.value[0]


async def test_what_ends_well_without_a_message_has_no_details(channel: grpc.aio.Channel) -> None:
    stream = posts_pb2_grpc.PostServiceStub(channel).WatchPost(posts_pb2.WatchPostRequest(post_id=EMPTY_POST))

    assert [each async for each in stream] == []
    assert await stream.code() is grpc.StatusCode.OK
    said = [*dict(await stream.initial_metadata()), *dict(await stream.trailing_metadata())]
    assert "grpc-status-details-bin" not in said


async def test_a_stream_whose_deadline_passes_midway_ends_with_that_status(edge: Edge) -> None:
    """Asked by gRPC-Web, which shows what the edge itself sends: a native client has a timer of its own."""
    message = posts_pb2.WatchPostRequest(post_id=QUIET_POST).SerializeToString()
    headers = {**GRPC_WEB, "grpc-timeout": "300m"}

    answer = await edge.ask(
        "POST",
        "/promptmesh.prompts.v1.PostService/WatchPost",
        data=struct.pack(">BI", 0, len(message)) + message,
        headers=headers,
    )

    assert answer.status == 200
    assert b"grpc-status:4\r\n" in answer.body


async def test_methods_for_services_alone_are_not_there(channel: grpc.aio.Channel, seen: Seen) -> None:
    auth, events = auth_pb2_grpc.AuthServiceStub(channel), events_pb2_grpc.EventSourceServiceStub(channel)

    for call in (
        auth.ResolveApiKey(auth_pb2.ResolveApiKeyRequest(digest=b"x" * 32)),
        _first(auth.WatchIdentities(auth_pb2.WatchIdentitiesRequest())),
        _first(events.Replay(events_pb2.ReplayRequest(consumer="c"))),
    ):
        error = await _error(call)
        assert error.code() is grpc.StatusCode.UNIMPLEMENTED
        assert _reason(error) == "METHOD_UNKNOWN"
    assert seen.calls == []


async def test_no_way_of_asking_opens_a_method_for_services_alone(edge: Edge, seen: Seen) -> None:
    internal = [method.path for method in contracts.load().methods if method.internal]

    for path in internal:
        for headers in (GRPC_WEB, {"content-type": "application/grpc"}, {"content-type": "application/json"}, {}):
            for spelling in (
                path,
                path.replace("/", "//"),
                path.replace("/Re", "/%52e"),
                f"{path}?x=1",
                f"/x/..{path}",
            ):
                answer = await edge.ask("POST", spelling, data=b"\0\0\0\0\0", headers=headers)
                refused = answer.status in (400, 404) or answer.headers.get("grpc-status") not in (None, "0")
                assert refused, (spelling, headers, answer)
    assert seen.calls == []


async def test_an_unknown_method_is_unimplemented(channel: grpc.aio.Channel) -> None:
    error = await _error(channel.unary_unary("/promptmesh.prompts.v1.PostService/Nope")(b""))

    assert error.code() is grpc.StatusCode.UNIMPLEMENTED
    assert str(error.details()).startswith("The method is not served at the edge.")


async def test_reflection_answers_for_all_services(channel: grpc.aio.Channel) -> None:
    async def ask() -> AsyncIterator[reflection_pb2.ServerReflectionRequest]:
        yield reflection_pb2.ServerReflectionRequest(list_services="")

    stream = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(ask())
    (answer,) = [each async for each in stream]

    assert {service.name for service in answer.list_services_response.service} >= set(SERVICE_NAMES)


async def test_the_newer_name_of_reflection_is_routed_too(channel: grpc.aio.Channel) -> None:
    """The toys serve v1alpha alone: that a service, not the edge, refuses the call tells of the route."""
    call = channel.unary_unary("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo")(b"")

    error = await _error(call)

    assert (error.code(), error.details()) == (grpc.StatusCode.UNIMPLEMENTED, "Method not found!")


async def test_health_is_served(channel: grpc.aio.Channel) -> None:
    answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())

    assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_a_deadline_travels_to_the_service(channel: grpc.aio.Channel, edge: Edge, seen: Seen) -> None:
    await posts_pb2_grpc.PostServiceStub(channel).GetPost(posts_pb2.GetPostRequest(post_id="a"), timeout=5)
    assert seen.remaining_s is not None
    assert 4 < seen.remaining_s < 6

    await edge.ask("GET", "/api/v1/posts/a")
    assert 14 < seen.remaining_s < 16


async def test_a_caller_that_leaves_ends_the_work(channel: grpc.aio.Channel, seen: Seen) -> None:
    error = await _error(
        posts_pb2_grpc.PostServiceStub(channel).GetPost(posts_pb2.GetPostRequest(post_id=SLOW_POST), timeout=0.3)
    )
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    async with asyncio.timeout(CANCEL_TIMEOUT_S):
        await seen.cancelled.wait()

    seen.cancelled.clear()
    stream = posts_pb2_grpc.PostServiceStub(channel).WatchPost(posts_pb2.WatchPostRequest(post_id=QUIET_POST))
    await stream.read()
    stream.cancel()
    async with asyncio.timeout(CANCEL_TIMEOUT_S):
        await seen.cancelled.wait()


async def test_a_read_is_asked_again_when_its_service_cannot_answer_and_a_write_is_not(
    channel: grpc.aio.Channel, seen: Seen
) -> None:
    posts = posts_pb2_grpc.PostServiceStub(channel)

    seen.unavailable_left = 1
    assert (await posts.GetPost(posts_pb2.GetPostRequest(post_id=FLAKY_POST))).post_id == FLAKY_POST
    assert seen.calls == ["GetPost", "GetPost"]

    seen.calls.clear()
    seen.unavailable_left = 1
    error = await _error(posts.CreatePost(posts_pb2.CreatePostRequest(title="t")))
    assert (error.code(), seen.calls) == (grpc.StatusCode.UNAVAILABLE, ["CreatePost"])


async def test_raw_bodies_pass_natively_without_the_status_of_http(channel: grpc.aio.Channel) -> None:
    from google.api.httpbody_pb2 import HttpBody

    call = openai_pb2_grpc.OpenAiServiceStub(channel).ChatCompletions(HttpBody(data=b'{"fail": 404}'))
    (body,) = [each async for each in call]

    assert b"model_not_found" in body.data
    assert await call.code() is grpc.StatusCode.OK
    assert "x-promptmesh-http-status" not in dict(await call.initial_metadata() or ())


async def test_grpc_web_calls_and_errors(edge: Edge) -> None:
    answer = await _web(edge, "LikePost", posts_pb2.LikePostRequest(post_id="a").SerializeToString())
    frames = _frames(answer)
    assert posts_pb2.Post.FromString(frames[0][1]).liked
    assert frames[1][0] == 0x80
    assert b"grpc-status:0" in frames[1][1].replace(b" ", b"")

    missing = await edge.ask(
        "POST",
        "/promptmesh.prompts.v1.PostService/GetPost",
        data=_framed(posts_pb2.GetPostRequest(post_id=MISSING_POST).SerializeToString()),
        headers=GRPC_WEB,
    )
    assert missing.headers["grpc-status"] == "5"
    assert missing.headers["grpc-message"] == "There is no such post."


async def test_grpc_web_is_told_of_the_edges_own_errors(edge: Edge) -> None:
    answer = await edge.ask("POST", "/promptmesh.prompts.v1.PostService/Nope", data=_framed(b""), headers=GRPC_WEB)

    assert answer.headers["content-type"].startswith("application/grpc-web")
    assert answer.headers["grpc-status"] == "12"
    assert "is not served at the edge" in answer.headers["grpc-message"]
    # As clients read it: a status of its own, with the reason in it.
    assert _reason_of(answer.headers["grpc-status-details-bin"]) == "METHOD_UNKNOWN"


async def _web(edge: Edge, method: str, message: bytes) -> bytes:
    answer = await edge.ask(
        "POST", f"/promptmesh.prompts.v1.PostService/{method}", data=_framed(message), headers=GRPC_WEB
    )
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("application/grpc-web+proto")
    return answer.body


def _framed(message: bytes) -> bytes:
    return struct.pack(">BI", 0, len(message)) + message


def _frames(body: bytes) -> list[tuple[int, bytes]]:
    frames = []
    while body:
        flag, size = struct.unpack(">BI", body[:5])
        frames.append((flag, body[5 : 5 + size]))
        body = body[5 + size :]
    return frames


async def _first(stream: grpc.aio.UnaryStreamCall) -> object:  # type: ignore[type-arg]
    return await anext(aiter(stream))


async def _error(call: object) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call  # type: ignore[misc]
    return caught.value


def _reason_of(encoded: str) -> str:
    details = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    info = error_details_pb2.ErrorInfo()
    status_pb2.Status.FromString(details).details[0].Unpack(info)
    return info.reason


def _reason(error: grpc.aio.AioRpcError) -> str:
    details = dict(error.trailing_metadata())["grpc-status-details-bin"]
    info = error_details_pb2.ErrorInfo()
    status_pb2.Status.FromString(bytes(details)).details[0].Unpack(info)
    return info.reason

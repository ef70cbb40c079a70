"""What a caller gets, whatever the handler does: error details, request ids, validation, deadlines, cancellation."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from promptmesh.errors.v1.reason_pb2 import Reason
from promptmesh.prompts.v1 import posts_pb2

from services.mesh.call import current
from services.mesh.errors import CODES, DETAILS_KEY, DOMAIN, FieldViolation, MeshError, QuotaViolation, error_of
from services.mesh.ids import uuid7

WAIT_S = 10.0
REASONS = [name.removeprefix("REASON_") for name, number in Reason.items() if number]


def details_of(error: grpc.aio.AioRpcError) -> dict[str, Any]:
    """The details of an error, by the names of their messages."""
    (raw,) = [value for key, value in error.trailing_metadata() if key == DETAILS_KEY]
    status = status_pb2.Status.FromString(raw)
    assert status.code == error.code().value[0]
    assert status.message == error.details()
    found: dict[str, Any] = {}
    for packed in status.details:
        name = packed.TypeName().rpartition(".")[2]
        message = getattr(error_details_pb2, name)()
        assert packed.Unpack(message)
        found[name] = message
    return found


async def failed(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


def get(post_id: str | None = None) -> posts_pb2.GetPostRequest:
    return posts_pb2.GetPostRequest(post_id=post_id or uuid7())


@pytest.mark.parametrize("reason", REASONS)
async def test_every_reason_leaves_with_its_code_and_details(service: Any, reason: str) -> None:
    async def refuse(request: Any, context: Any) -> None:
        raise MeshError(
            reason,
            "This is why.",
            metadata={"post_id": "1"},
            violations=[FieldViolation("title", "is too long", "string.max_len")],
            retry_after_s=1.5,
            quota=[QuotaViolation("org:1", "calls at once")],
        )

    service.posts.on_get = refuse
    error = await failed(service.stub.GetPost(get(), metadata=(("x-request-id", "abc-123"),)))
    assert error.code() is CODES[reason]
    details = details_of(error)
    assert (details["ErrorInfo"].reason, details["ErrorInfo"].domain) == (reason, DOMAIN)
    assert dict(details["ErrorInfo"].metadata) == {"post_id": "1"}
    assert details["BadRequest"].field_violations[0].field == "title"
    assert details["RetryInfo"].retry_delay.ToMilliseconds() == 1500
    assert details["QuotaFailure"].violations[0].subject == "org:1"
    assert details["RequestInfo"].request_id == "abc-123"
    back = error_of(error)
    assert (back.reason, back.message, back.retry_after_s) == (reason, "This is why.", 1.5)
    assert back.violations == (FieldViolation("title", "is too long", "string.max_len"),)


async def test_an_unknown_exception_leaks_nothing(service: Any, capfd: pytest.CaptureFixture[str]) -> None:
    async def crash(request: Any, context: Any) -> None:
        raise ZeroDivisionError("the password is hunter2")

    service.posts.on_get = crash
    error = await failed(service.stub.GetPost(get()))
    assert error.code() is grpc.StatusCode.INTERNAL
    assert "hunter2" not in str(error) + str(error.trailing_metadata())
    assert "ZeroDivision" not in str(error) + str(error.trailing_metadata())
    assert details_of(error)["ErrorInfo"].reason == "INTERNAL"
    assert details_of(error)["RequestInfo"].request_id


@pytest.mark.parametrize(
    "away",
    [ConnectionRefusedError("10.0.0.7:5432"), TimeoutError(), ConnectionResetError()],
    ids=lambda one: type(one).__name__,
)
async def test_a_dependency_that_is_away_is_unavailable(service: Any, away: Exception) -> None:
    async def fail(request: Any, context: Any) -> None:
        raise away

    service.posts.on_get = fail
    error = await failed(service.stub.GetPost(get()))
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    details = details_of(error)
    assert details["ErrorInfo"].reason == "DEPENDENCY_UNAVAILABLE"
    assert details["RetryInfo"].retry_delay.ToMilliseconds() > 0
    assert "10.0.0.7" not in str(error)


async def test_a_handler_that_returns_nothing_is_an_internal_error(service: Any) -> None:
    async def nothing(request: Any, context: Any) -> None:
        return None

    service.posts.on_get = nothing
    error = await failed(service.stub.GetPost(get()))
    assert error.code() is grpc.StatusCode.INTERNAL
    assert details_of(error)["ErrorInfo"].reason == "INTERNAL"


async def test_all_violations_at_once_by_proto_path(service: Any, bearer: Any) -> None:
    request = posts_pb2.CreatePostRequest(title="", body="x", tags=["ok", "fine", "BAD TAG"], request_id="no-uuid")
    error = await failed(service.stub.CreatePost(request, metadata=bearer(service.auth.token())))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    details = details_of(error)
    assert details["ErrorInfo"].reason == "INVALID_FIELD"
    fields = {one.field for one in details["BadRequest"].field_violations}
    assert {"title", "tags[2]", "request_id"} <= fields
    assert all(one.description for one in details["BadRequest"].field_violations)
    assert not service.posts.calls


async def test_the_caller_is_looked_at_before_the_message(service: Any) -> None:
    error = await failed(service.stub.CreatePost(posts_pb2.CreatePostRequest()))
    assert details_of(error)["ErrorInfo"].reason == "CREDENTIAL_MISSING"


async def test_very_many_violations_still_fit(service: Any, bearer: Any) -> None:
    request = posts_pb2.CreatePostRequest(title="t", body="b", tags=["BAD TAG " * 10] * 3000)
    error = await failed(service.stub.CreatePost(request, metadata=bearer(service.auth.token())))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert details_of(error)["BadRequest"].field_violations


async def test_bytes_that_are_no_message(service: Any) -> None:
    call = service.channel.unary_unary("/promptmesh.prompts.v1.PostService/GetPost")
    error = await failed(call(b"\xff\xff\xff"))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert details_of(error)["ErrorInfo"].reason == "INVALID_FIELD"


@pytest.mark.parametrize("method", ["/promptmesh.prompts.v1.PostService/Nothing", "/no.Service/At"])
async def test_a_method_that_is_not_served(service: Any, method: str) -> None:
    error = await failed(service.channel.unary_unary(method)(b""))
    assert error.code() is grpc.StatusCode.UNIMPLEMENTED
    assert details_of(error)["ErrorInfo"].reason == "METHOD_UNKNOWN"


async def test_a_method_that_the_servicer_left_out(service: Any, bearer: Any) -> None:
    request = posts_pb2.LikePostRequest(post_id=uuid7())
    error = await failed(service.stub.LikePost(request, metadata=bearer(service.auth.token())))
    assert details_of(error)["ErrorInfo"].reason == "METHOD_UNKNOWN"


@pytest.mark.parametrize(("given", "kept"), [("abc-1", True), ("x" * 128, True), ("x" * 129, False), ("a b", False)])
async def test_request_ids(service: Any, given: str, kept: bool) -> None:
    call = service.stub.GetPost(get(), metadata=(("x-request-id", given),))
    await call
    trailing = dict(await call.trailing_metadata())
    assert (trailing["x-request-id"] == given) is kept
    assert service.posts.calls[-1].request_id == trailing["x-request-id"]


async def test_an_answer_without_fields(service: Any, bearer: Any) -> None:
    request = posts_pb2.DeletePostRequest(post_id=uuid7())
    assert (await service.stub.DeletePost(request, metadata=bearer(service.auth.token()))).ByteSize() == 0


async def test_trace_context_goes_on_or_begins(service: Any) -> None:
    given = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    await service.stub.GetPost(get(), metadata=(("traceparent", given),))
    assert service.posts.calls[-1].traceparent == given
    await service.stub.GetPost(get(), metadata=(("traceparent", "nonsense"),))
    assert len(service.posts.calls[-1].traceparent) == 55


async def test_a_deadline_that_cannot_be_met_is_refused(service: Any) -> None:
    service.server.pipeline._limits = type(service.server.pipeline._limits)(margin_s=60.0)
    error = await failed(service.stub.GetPost(get(), timeout=30.0))
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert details_of(error)["ErrorInfo"].reason == "DEADLINE_TOO_SHORT"
    assert not service.posts.calls


async def test_a_handler_sees_what_is_left(service: Any) -> None:
    seen: list[float | None] = []

    async def look(request: Any, context: Any) -> Any:
        seen.append(current().remaining())
        return posts_pb2.Post()

    service.posts.on_get = look
    await service.stub.GetPost(get(), timeout=30.0)
    await service.stub.GetPost(get())
    assert seen[0] is not None
    assert 20.0 < seen[0] < 31.0
    assert seen[1] is None


async def test_a_call_without_deadline_is_given_one(service: Any) -> None:
    service.server.pipeline._limits = type(service.server.pipeline._limits)(unary_timeout_s=0.05)

    async def hang(request: Any, context: Any) -> None:
        await asyncio.Event().wait()

    service.posts.on_get = hang
    error = await failed(service.stub.GetPost(get()))
    assert details_of(error)["ErrorInfo"].reason == "DEADLINE_TOO_SHORT"


@pytest.mark.parametrize("how", ["cancel", "deadline"])
async def test_a_caller_that_leaves_cancels_the_handler(service: Any, how: str) -> None:
    entered, cancelled = asyncio.Event(), asyncio.Event()

    async def hang(request: Any, context: Any) -> None:
        entered.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    service.posts.on_get = hang
    call = service.stub.GetPost(get(), timeout=1.0 if how == "deadline" else None)
    async with asyncio.timeout(WAIT_S):
        await entered.wait()
        if how == "cancel":
            call.cancel()
        await cancelled.wait()
        while service.server.pipeline.calls:
            await asyncio.sleep(0.01)
    with pytest.raises((asyncio.CancelledError, grpc.aio.AioRpcError)):
        await call


async def test_a_stream_that_is_left_closes_its_source(service: Any) -> None:
    closed = asyncio.Event()

    async def endless(request: Any, context: Any) -> Any:
        try:
            while True:
                yield posts_pb2.WatchFeedResponse(cursor=1)
                await asyncio.sleep(0.001)
        finally:
            closed.set()

    service.posts.on_watch = endless
    call = service.stub.WatchFeed(posts_pb2.WatchFeedRequest())
    async with asyncio.timeout(WAIT_S):
        await call.read()
        call.cancel()
        await closed.wait()
        while service.server.pipeline.calls:
            await asyncio.sleep(0.01)


async def test_an_error_in_the_middle_of_a_stream(service: Any) -> None:
    async def breaks(request: Any, context: Any) -> Any:
        yield posts_pb2.WatchFeedResponse(cursor=1)
        raise MeshError("WATCHER_TOO_SLOW", "Too slow.")

    service.posts.on_watch = breaks
    call = service.stub.WatchFeed(posts_pb2.WatchFeedRequest())
    assert (await call.read()).cursor == 1
    error = await failed(call.read())
    assert details_of(error)["ErrorInfo"].reason == "WATCHER_TOO_SLOW"


async def test_more_calls_than_allowed(service: Any) -> None:
    service.server.pipeline._limits = type(service.server.pipeline._limits)(calls_max=1)
    entered, leave = asyncio.Event(), asyncio.Event()

    async def hold(request: Any, context: Any) -> Any:
        entered.set()
        await leave.wait()
        return posts_pb2.Post()

    service.posts.on_get = hold
    first = service.stub.GetPost(get())
    async with asyncio.timeout(WAIT_S):
        await entered.wait()
        error = await failed(service.stub.GetPost(get()))
    assert details_of(error)["ErrorInfo"].reason == "RATE_LIMITED"
    leave.set()
    await first

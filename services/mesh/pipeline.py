"""The one interceptor: what happens before and around every handler.

In order: request id, traceparent, how many calls run, credential → Caller, the method's policy, deadline, the message
and its rules, the handler; then errors, metrics, the access log and the span. Each method's handler is wrapped once.

The pipeline parses requests and serializes answers itself: bytes that are no message, and a handler that returns
nothing, are errors like others instead of gRPC's own UNKNOWN with a Python class name in it.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import grpc
from google.protobuf.message import DecodeError

from services.mesh.access.control import AccessControl
from services.mesh.access.policies import EXEMPT_SERVICES, Policy
from services.mesh.access.rules import check_address
from services.mesh.access.workloads import Origins
from services.mesh.accounting import MethodAccount
from services.mesh.addresses import address_of_call
from services.mesh.call import Call, enter
from services.mesh.deadlines import too_short
from services.mesh.dependencies import is_away, unavailable
from services.mesh.errors import DETAILS_KEY, RETRY_AFTER_KEY, MeshError, status_of
from services.mesh.ids import uuid7
from services.mesh.telemetry.logs import get_logger
from services.mesh.telemetry.traces import Tracing
from services.mesh.validation import refuse_nul, validate

REQUEST_ID = "x-request-id"
TRACEPARENT = "traceparent"
MESSAGE_CHARS_MAX = 1000  # of an error's message; it travels in a header
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")
_OVERLOAD_RETRY_S = 1.0
_NOT_SERVED = "This server does not serve the method. Reflection lists those of all services, not of this one alone."

log = get_logger()
Handler = Callable[[Any, Any], Any]
Metadata = Mapping[str, str | bytes]


@dataclass(frozen=True, slots=True)
class Rendered:
    """An error as an ordinary message: the call ends OK as far as gRPC is concerned."""

    message: Any  # of the method's response type
    metadata: tuple[tuple[str, str], ...] = ()  # initial; left out if the answer has begun


class ErrorRenderer(Protocol):
    """How a service tells of errors whose clients speak another protocol than gRPC's (OpenAI's JSON)."""

    def __call__(self, error: MeshError, request_id: str, *, started: bool) -> Rendered:
        """started: messages have been sent before."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The pipeline's own."""

    calls_max: int = 4096
    margin_s: float = 0.02
    unary_timeout_s: float = 30.0  # of a call whose caller set no deadline


class Pipeline(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]
    """Wraps the handlers of all methods that have a policy. What has none (health, reflection) passes around it."""

    def __init__(
        self,
        access: AccessControl,
        policies: Mapping[str, Policy],
        *,
        limits: Limits | None = None,
        tracing: Tracing | None = None,
        renderers: Mapping[str, ErrorRenderer] | None = None,
        origins: Origins | None = None,
    ) -> None:
        """origins: what is believed of where calls come from; None: all that the edge says, and no workloads."""
        self._access, self._policies, self._origins = access, policies, origins
        self._limits = limits or Limits()
        self._tracing = tracing or Tracing("", "", 0.0)
        self._renderers = renderers or {}
        self._handlers: dict[str, Any] = {}
        self._methods: dict[str, _Method] = {}
        self._unknown = grpc.stream_stream_rpc_method_handler(self._method_unknown)
        self._calls = 0

    @property
    def calls(self) -> int:
        """How many calls are under way."""
        return self._calls

    async def intercept_service(
        self, continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]], handler_call_details: Any
    ) -> Any:
        method: str = handler_call_details.method
        handler = self._handlers.get(method)
        if handler is None:
            original = await continuation(handler_call_details)
            if original is None:
                return self._unknown  # not remembered: there is no end of names
            handler = self._handlers[method] = self._wrap(method, original)
        return handler

    def _wrap(self, method: str, original: Any) -> Any:
        service = method[1:].rpartition("/")[0]
        if service in EXEMPT_SERVICES:
            return original
        wrapped = self._method(method, original)
        # The raw bytes come in and, of unary answers, go out: the pipeline parses and serializes.
        if original.response_streaming:
            stream = wrapped.stream, None, original.response_serializer
            if original.request_streaming:
                return grpc.stream_stream_rpc_method_handler(*stream)
            return grpc.unary_stream_rpc_method_handler(*stream)
        if original.request_streaming:
            return grpc.stream_unary_rpc_method_handler(wrapped.unary, None, None)
        return grpc.unary_unary_rpc_method_handler(wrapped.unary, None, None)

    def _method(self, method: str, original: Any) -> _Method:
        wrapped = self._methods.get(method)
        if wrapped is None:
            wrapped = _Method(self, method, original, self._policies[method], self._renderers.get(method))
            self._methods[method] = wrapped
        return wrapped

    def serve_of(self, method: str, original: Any) -> Callable[[Any, Any], Awaitable[None]]:
        """`serve(message, context)` of a method that streams and renders its errors, for another way in than gRPC.

        original: the handler as it was registered with gRPC. The context is what grpc.aio's is to `stream` below.
        """
        assert original.response_streaming
        assert method in self._renderers
        return self._method(method, original).stream

    async def _method_unknown(self, _requests: Any, context: Any) -> None:
        metadata = dict(context.invocation_metadata() or ())
        error = MeshError("METHOD_UNKNOWN", _NOT_SERVED)
        await _abort(context, error, request_id_of(metadata))

    # What the wrapped methods use

    def begin(self, account: MethodAccount, metadata: dict[str, str | bytes], context: Any) -> Call:
        """The call that begins, known to this task from now on."""
        if self._origins is not None:
            self._origins.clean(metadata, context.peer())
        traceparent = metadata.get(TRACEPARENT, "")
        call = Call(
            request_id_of(metadata),
            account.method,
            traceparent=self._tracing.traceparent_of(traceparent if isinstance(traceparent, str) else ""),
            metadata=metadata,
            peer=context.peer,
        )
        left_s = context.time_remaining()
        if left_s is not None:
            call.deadline = asyncio.get_running_loop().time() + left_s
        enter(call)
        context.set_trailing_metadata(((REQUEST_ID, call.request_id),))
        self._calls += 1
        account.began(call, self._tracing)
        return call

    def end(self, account: MethodAccount, call: Call, code: grpc.StatusCode, reason: str = "") -> None:
        """The call is over."""
        self._calls -= 1
        account.ended(call, code, reason)

    async def admit(self, policy: Policy, metadata: Metadata, call: Call, context: Any) -> None:
        """Sets the call's caller. Raises MeshError if it may not be made, or not now."""
        if self._calls > self._limits.calls_max:
            raise MeshError(
                "RATE_LIMITED",
                f"This process has {self._limits.calls_max} calls under way, its limit. Retry after the delay.",
                retry_after_s=_OVERLOAD_RETRY_S,
            )
        workload = self._origins.workload(metadata, context) if self._origins is not None else None
        call.caller = caller = await self._access.authorize(policy, metadata, workload)
        if caller.networks:
            check_address(caller, address_of_call(call))
        left_s = call.remaining()
        if left_s is not None and left_s <= self._limits.margin_s:
            raise too_short(left_s, self._limits.margin_s)

    @property
    def unary_timeout_s(self) -> float:
        return self._limits.unary_timeout_s


class _Method:
    """One method with its handler."""

    __slots__ = (
        "_account",
        "_behavior",
        "_parse",
        "_pipeline",
        "_policy",
        "_render",
        "_request_streaming",
        "_serialize",
    )

    def __init__(
        self, pipeline: Pipeline, method: str, original: Any, policy: Policy, render: ErrorRenderer | None
    ) -> None:
        self._pipeline, self._policy, self._render = pipeline, policy, render
        self._behavior: Handler = (
            original.unary_unary or original.unary_stream or original.stream_unary or original.stream_stream
        )
        self._request_streaming: bool = original.request_streaming
        self._parse: Callable[[bytes], Any] = original.request_deserializer
        self._serialize: Callable[[Any], bytes] = original.response_serializer
        self._account = MethodAccount(method)

    async def unary(self, request: Any, context: Any) -> bytes:
        pipeline, account = self._pipeline, self._account
        metadata = dict(context.invocation_metadata() or ())
        call = pipeline.begin(account, metadata, context)
        try:
            await pipeline.admit(self._policy, metadata, call, context)
            message = self._messages(request) if self._request_streaming else self._message(request)
            if call.deadline is not None:
                answer = self._serialize(await self._behavior(message, context))
            else:
                answer = self._serialize(await self._within(pipeline.unary_timeout_s, message, context))
            pipeline.end(account, call, grpc.StatusCode.OK)
            return answer
        except asyncio.CancelledError:
            pipeline.end(account, call, _cancelled_code(call))
            raise
        except grpc.aio.AbortError:
            pipeline.end(account, call, _status(context.code()))
            raise
        except Exception as error:
            told = tell(error)
            pipeline.end(account, call, told.code, told.reason)
            if self._render is None:
                await _abort(context, told, call.request_id)
            rendered = self._rendered(told, call, started=False)
            await context.send_initial_metadata(rendered.metadata)
            return self._serialize(rendered.message)
        finally:
            await _close(call)

    async def stream(self, request: Any, context: Any) -> None:
        pipeline, account = self._pipeline, self._account
        metadata = dict(context.invocation_metadata() or ())
        call = pipeline.begin(account, metadata, context)
        started = False
        try:
            await pipeline.admit(self._policy, metadata, call, context)
            message = self._messages(request) if self._request_streaming else self._message(request)
            answers = self._behavior(message, context)
            if not hasattr(answers, "__aiter__"):
                await answers  # a handler that writes to the context itself
            else:
                write = context.write
                try:
                    async for answer in answers:
                        await write(answer)
                        started = True
                finally:
                    if hasattr(answers, "aclose"):
                        await answers.aclose()
            pipeline.end(account, call, grpc.StatusCode.OK)
        except asyncio.CancelledError:
            pipeline.end(account, call, _cancelled_code(call))
            raise
        except grpc.aio.AbortError:
            pipeline.end(account, call, _status(context.code()))
            raise
        except Exception as error:
            told = tell(error)
            pipeline.end(account, call, told.code, told.reason)
            if self._render is None:
                await _abort(context, told, call.request_id)
            rendered = self._rendered(told, call, started=started)
            if not started:
                await context.send_initial_metadata(rendered.metadata)
            await context.write(rendered.message)
        finally:
            await _close(call)

    def _message(self, request: Any) -> Any:
        if not isinstance(request, bytes):
            return request  # raw bodies that came as they are: there is nothing to parse, and no rules
        try:
            message = self._parse(request)
        except DecodeError:
            raise MeshError("INVALID_FIELD", "The request's bytes are not a message of this method.") from None
        validate(message)
        refuse_nul(message, request)
        return message

    async def _messages(self, requests: AsyncIterator[bytes]) -> AsyncIterator[Any]:
        async for request in requests:
            yield self._message(request)

    async def _within(self, timeout_s: float, message: Any, context: Any) -> Any:
        try:
            async with asyncio.timeout(timeout_s) as limit:
                return await self._behavior(message, context)
        except TimeoutError:
            if not limit.expired():
                raise
            raise MeshError(
                "DEADLINE_TOO_SHORT",
                f"The call took longer than {timeout_s:g} s, what a call without a deadline is given.",
            ) from None

    def _rendered(self, told: MeshError, call: Call, *, started: bool) -> Rendered:
        assert self._render is not None
        return self._render(told, call.request_id, started=started)


def request_id_of(metadata: Metadata) -> str:
    """The request id that came with the call, if it is a sane one; else a new one."""
    given = metadata.get(REQUEST_ID)
    return given if isinstance(given, str) and _REQUEST_ID.fullmatch(given) else uuid7()


def tell(error: Exception) -> MeshError:
    """What the caller is told of an error. What is none of their business is logged here, whole."""
    if isinstance(error, MeshError):
        return error
    if is_away(error):
        log.warning("a dependency is away", error=f"{type(error).__name__}: {error}")
        return unavailable()
    if isinstance(error, NotImplementedError):
        return MeshError("METHOD_UNKNOWN", _NOT_SERVED)
    log.error("a handler failed", exc_info=error)
    return MeshError(
        "INTERNAL", "Something went wrong on our side. The request id in RequestInfo finds it in the server's log."
    )


async def _abort(context: Any, error: MeshError, request_id: str) -> None:
    trailers: list[tuple[str, str | bytes]] = [
        (REQUEST_ID, request_id),
        (DETAILS_KEY, status_of(error, request_id).SerializeToString()),
    ]
    if error.retry_after_s is not None:
        trailers.append((RETRY_AFTER_KEY, str(max(1, round(error.retry_after_s)))))
    await context.abort(error.code, error.message[:MESSAGE_CHARS_MAX], tuple(trailers))


async def _close(call: Call) -> None:
    while call.closers:
        await call.closers.pop()()


def _cancelled_code(call: Call) -> grpc.StatusCode:
    return grpc.StatusCode.DEADLINE_EXCEEDED if call.remaining() == 0.0 else grpc.StatusCode.CANCELLED


_BY_NUMBER = {code.value[0]: code for code in grpc.StatusCode}


def _status(code: Any) -> grpc.StatusCode:
    if isinstance(code, grpc.StatusCode):
        return code
    return _BY_NUMBER.get(code, grpc.StatusCode.UNKNOWN)

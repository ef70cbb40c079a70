"""Makes calls from coroutines. The sync twin, with the comments, is _transport.py."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any, Generic, TypeVar

import grpc

from promptmesh import _methods, types
from promptmesh._async_session import AsyncSession
from promptmesh._channels import Address, channel_options
from promptmesh._course import Act, Course, Watching
from promptmesh._credentials import Login
from promptmesh._errors import CancelledError, PromptmeshError, UnauthenticatedError, error_of_call
from promptmesh._method import A, Method, Q
from promptmesh._retries import Attempts, Budget, Retries
from promptmesh._transport import LONG_S, metadata

_aio: Any = grpc.aio  # its published types do not know EOF
_END = _aio.EOF
I = TypeVar("I")  # noqa: E741 - an item


class AsyncTransport:
    """One channel and what is put on its calls."""

    def __init__(
        self,
        address: Address,
        *,
        api_key: str,
        login: Login | None,
        retries: Retries,
        timeout_s: float,
        root_certificates: bytes | None,
    ) -> None:
        self._address, self._root_certificates = address, root_certificates
        self._api_key, self.retries, self.timeout_s = api_key, retries, timeout_s
        self._session = (
            AsyncSession(login, self._create_session, self._refresh_session, self._complete_session) if login else None
        )
        self._channel: grpc.aio.Channel | None = None
        self._callables: dict[str, Any] = {}
        self.is_closed = False

    async def unary(self, method: Method[Q, A], request: Q, timeout_s: float | None = None) -> A:
        budget = Budget(self.timeout_s if timeout_s is None else timeout_s)
        attempts = Attempts(self.retries, budget, may_retry=method.may_retry)
        was_refused = False
        while True:
            token = ""
            try:
                token = await self.token(method, budget)
                return await self._once(method, request, budget, token)
            except UnauthenticatedError as error:
                # A wrong proof in the request says nothing of the token that it came with.
                if was_refused or error.reason == "PROOF_WRONG" or not self.refuse(token):
                    raise
                was_refused = True
            except PromptmeshError as error:
                wait_s = attempts.wait_s(error)
                if wait_s is None:
                    raise
                await asyncio.sleep(wait_s)

    def stream(self, method: Method[Q, A], request: Q, timeout_s: float | None = None) -> AsyncStream[A]:
        budget = Budget(LONG_S if timeout_s is None else timeout_s)
        return AsyncStream(self, Course(method, request, self.retries, budget))

    def watch(self, method: Method[Q, A], request: Q, timeout_s: float | None = None) -> AsyncStream[A]:
        return AsyncStream(self, Watching(method, request, self.retries, Budget(timeout_s)))

    async def log_out(self) -> None:
        token = self._session.forget() if self._session else ""
        if token:
            request = types.DeleteSessionRequest()
            with suppress(UnauthenticatedError):  # it ended before
                await self._once(_methods.AUTH_DELETE_SESSION, request, Budget(self.timeout_s), token)

    async def close(self) -> None:
        self.is_closed = True
        if self._session is not None:
            self._session.close()
        if self._channel is not None:
            await self._channel.close(None)

    async def token(self, method: Method[Q, A], budget: Budget) -> str:
        if not method.takes_credential:
            return ""
        return await self._session.access_token(budget) if self._session else self._api_key

    def refuse(self, token: str) -> bool:
        if not token or self._session is None:
            return False
        self._session.refuse(token)
        return True

    def begin(self, method: Method[Q, A], request: Q, budget: Budget, token: str) -> Any:
        return self._callable(method, is_stream=True)(request, timeout=budget.left_s(), metadata=metadata(token))

    async def _once(self, method: Method[Q, A], request: Q, budget: Budget, token: str = "") -> A:
        invoke = self._callable(method, is_stream=False)
        try:
            answer: A = await invoke(request, timeout=budget.left_s(), metadata=metadata(token))
        except grpc.RpcError as error:
            raise error_of_call(error) from error
        except asyncio.CancelledError as raised:
            # gRPC also raises it where the channel was closed; then nobody cancelled this task.
            if self.is_closed and not _is_task_cancelled():
                raise CancelledError("the client was closed", code="CANCELLED") from raised
            raise
        return answer

    def _callable(self, method: Method[Q, A], *, is_stream: bool) -> Any:
        if self.is_closed:
            raise RuntimeError("the client is closed: make a new one")
        found = self._callables.get(method.path)
        if found is None:
            channel = self._open()
            found = self._callables[method.path] = (channel.unary_stream if is_stream else channel.unary_unary)(
                method.path,
                request_serializer=method.request.SerializeToString,
                response_deserializer=method.response.FromString,
            )
        return found

    def _open(self) -> grpc.aio.Channel:
        """The channel belongs to the loop that is running at the first call, not to where the client was made."""
        if self._channel is None:
            target, options = self._address.target, channel_options()
            self._channel = (
                grpc.aio.secure_channel(target, grpc.ssl_channel_credentials(self._root_certificates), options)
                if self._address.is_encrypted
                else grpc.aio.insecure_channel(target, options)
            )
        return self._channel

    async def _create_session(self, request: types.CreateSessionRequest) -> types.Session:
        return await self._once(_methods.AUTH_CREATE_SESSION, request, Budget(self.timeout_s))

    async def _refresh_session(self, request: types.RefreshSessionRequest) -> types.Session:
        return await self._once(_methods.AUTH_REFRESH_SESSION, request, Budget(self.timeout_s))

    async def _complete_session(self, request: types.CompleteSessionRequest) -> types.Session:
        return await self._once(_methods.FACTORS_COMPLETE_SESSION, request, Budget(self.timeout_s))


class AsyncStream(Generic[A]):
    """Messages of a stream, in order: `async for event in stream`.

    Leaving it (`async with`, `close()`, cancelling the task, or letting go of it) cancels the call, all the way to the
    model.
    """

    def __init__(self, transport: AsyncTransport, course: Course[Any, A]) -> None:
        self._transport, self._course = transport, course
        self._call: Any = None
        self._token = ""
        self._is_over = False

    def __aiter__(self) -> AsyncIterator[A]:
        return self

    async def __anext__(self) -> A:
        while not self._is_over:
            try:
                message = await self._read()
            except (PromptmeshError, asyncio.CancelledError):
                self.close()
                raise
            if message is not None:
                return message
        raise StopAsyncIteration

    async def _read(self) -> A | None:
        course = self._course
        try:
            if self._call is None:
                self._token = await self._transport.token(course.method, course.budget)
                self._call = self._transport.begin(course.method, course.request, course.budget, self._token)
            message = await self._call.read()
            if message is _END:
                await self._again(course.ended())
                return None
        except grpc.RpcError as raised:
            if not self._is_over:
                await self._failed(error_of_call(raised), raised)
            return None
        except PromptmeshError as error:
            await self._failed(error, error)
            return None
        except asyncio.CancelledError as raised:
            # gRPC also raises it where the call or the channel was closed; then nobody cancelled this task.
            if _is_task_cancelled() or not (self._is_over or self._transport.is_closed):
                raise
            if not self._is_over:
                raise CancelledError("the client was closed", code="CANCELLED") from raised
            return None
        act = course.message(message)
        if act in (Act.REOPEN, Act.REOPEN_AFRESH):
            if act is Act.REOPEN_AFRESH and not self._transport.refuse(self._token):
                act = Act.LAST
            else:
                await self._again(course.reopen_s())
        if act is Act.LAST:
            self.close()
        given: A | None = message if act in (Act.GIVE, Act.LAST) else None
        return given

    async def _failed(self, error: PromptmeshError, cause: BaseException) -> None:
        if self._transport.is_closed:
            raise CancelledError("the client was closed", code="CANCELLED") from cause
        is_refused = isinstance(error, UnauthenticatedError) and self._transport.refuse(self._token)
        try:
            wait_s = self._course.failed(error, has_other_credential=is_refused)
        except PromptmeshError as told:
            raise told from (cause if cause is not told else None)
        await self._again(wait_s)

    async def _again(self, wait_s: float | None) -> None:
        self._call = None
        self._token = ""
        if wait_s is None:
            self._is_over = True
        elif wait_s:
            await asyncio.sleep(wait_s)

    def close(self) -> None:
        """Cancels the call, if it still runs. Harmless a second time."""
        self._is_over = True
        if self._call is not None:
            self._call.cancel()

    async def aclose(self) -> None:
        """close(), as contextlib.aclosing wants it."""
        self.close()

    async def __aenter__(self) -> AsyncStream[A]:
        return self

    async def __aexit__(self, *_exception: object) -> None:
        self.close()

    def __del__(self) -> None:
        if not self._is_over:
            with suppress(RuntimeError):  # the loop is closed, and the call with it
                self.close()


class AsyncPager(Generic[A, I]):
    """What a list holds, over all its pages: `async for post in pager`; the pages themselves: `pager.pages()`."""

    def __init__(
        self, transport: AsyncTransport, method: Method[Q, A], request: Q, timeout_s: float | None, items: str
    ) -> None:
        self._transport, self._method, self._request = transport, method, request
        self._timeout_s, self._items = timeout_s, items

    async def __aiter__(self) -> AsyncIterator[I]:
        async for page in self.pages():
            for item in getattr(page, self._items):
                yield item

    async def pages(self) -> AsyncIterator[A]:
        """Whole answers, one call each; `timeout_s` is each call's."""
        request: Any = type(self._request)()
        request.CopyFrom(self._request)
        while True:
            page: Any = await self._transport.unary(self._method, request, self._timeout_s)
            yield page
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token


def _is_task_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0

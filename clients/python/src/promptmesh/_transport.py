"""Makes calls: credential, deadline, retries, streams, pages. The async twin is _async_transport.py."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Generic, TypeVar

import grpc

from promptmesh import _methods, types
from promptmesh._channels import Address, channel_options
from promptmesh._course import Act, Course, Watching
from promptmesh._credentials import Login
from promptmesh._errors import CancelledError, PromptmeshError, UnauthenticatedError, error_of_call
from promptmesh._method import A, Method, Q
from promptmesh._retries import Attempts, Budget, Retries
from promptmesh._session import Session

#: Of a stream that has an end: an answer of a model, an export.
LONG_S = 600.0
I = TypeVar("I")  # noqa: E741 - an item


class Transport:
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
        options = channel_options()
        self._channel: grpc.Channel = (
            grpc.secure_channel(address.target, grpc.ssl_channel_credentials(root_certificates), options)
            if address.is_encrypted
            else grpc.insecure_channel(address.target, options)
        )
        self._api_key, self.retries, self.timeout_s = api_key, retries, timeout_s
        self._session = (
            Session(login, self._create_session, self._refresh_session, self._complete_session) if login else None
        )
        self._callables: dict[str, Any] = {}
        self._closing = threading.Event()

    def unary(self, method: Method[Q, A], request: Q, timeout_s: float | None = None) -> A:
        budget = Budget(self.timeout_s if timeout_s is None else timeout_s)
        attempts = Attempts(self.retries, budget, may_retry=method.may_retry)
        was_refused = False
        while True:
            token = ""
            try:
                token = self.token(method, budget)
                return self._once(method, request, budget, token)
            except UnauthenticatedError as error:
                # A wrong proof in the request says nothing of the token that it came with.
                if was_refused or error.reason == "PROOF_WRONG" or not self.refuse(token):
                    raise
                was_refused = True
            except PromptmeshError as error:
                wait_s = attempts.wait_s(error)
                if wait_s is None:
                    raise
                if self.pause(wait_s):
                    raise CancelledError("the client was closed", code="CANCELLED") from error

    def stream(self, method: Method[Q, A], request: Q, timeout_s: float | None = None) -> Stream[A]:
        budget = Budget(LONG_S if timeout_s is None else timeout_s)
        return Stream(self, Course(method, request, self.retries, budget))

    def watch(self, method: Method[Q, A], request: Q, timeout_s: float | None = None) -> Stream[A]:
        return Stream(self, Watching(method, request, self.retries, Budget(timeout_s)))

    def log_out(self) -> None:
        token = self._session.forget() if self._session else ""
        if token:
            with suppress(UnauthenticatedError):  # it ended before
                self._once(_methods.AUTH_DELETE_SESSION, types.DeleteSessionRequest(), Budget(self.timeout_s), token)

    def close(self) -> None:
        self._closing.set()
        self._channel.close()

    def token(self, method: Method[Q, A], budget: Budget) -> str:
        """The credential for a call; empty: none."""
        if not method.takes_credential:
            return ""
        return self._session.access_token(budget) if self._session else self._api_key

    def refuse(self, token: str) -> bool:
        """The mesh refused the token. Answers whether there is a way to another one."""
        if not token or self._session is None:
            return False
        self._session.refuse(token)
        return True

    def pause(self, wait_s: float) -> bool:
        """Waits. Answers whether the client was closed meanwhile."""
        return self._closing.wait(wait_s)

    @property
    def is_closed(self) -> bool:
        return self._closing.is_set()

    def begin(self, method: Method[Q, A], request: Q, budget: Budget, token: str) -> Any:
        """Begins a stream: gRPC's call."""
        return self._callable(method, self._channel.unary_stream)(
            request, timeout=budget.left_s(), metadata=metadata(token)
        )

    def _once(self, method: Method[Q, A], request: Q, budget: Budget, token: str = "") -> A:
        invoke = self._callable(method, self._channel.unary_unary)
        try:
            answer: A = invoke(request, timeout=budget.left_s(), metadata=metadata(token))
        except grpc.RpcError as error:
            raise error_of_call(error) from error
        return answer

    def _callable(self, method: Method[Q, A], make: Any) -> Any:
        if self.is_closed:
            raise RuntimeError("the client is closed: make a new one")
        found = self._callables.get(method.path)
        if found is None:
            found = self._callables[method.path] = make(
                method.path,
                request_serializer=method.request.SerializeToString,
                response_deserializer=method.response.FromString,
            )
        return found

    def _create_session(self, request: types.CreateSessionRequest, budget: Budget) -> types.Session:
        return self._once(_methods.AUTH_CREATE_SESSION, request, budget)

    def _refresh_session(self, request: types.RefreshSessionRequest, budget: Budget) -> types.Session:
        return self._once(_methods.AUTH_REFRESH_SESSION, request, budget)

    def _complete_session(self, request: types.CompleteSessionRequest, budget: Budget) -> types.Session:
        return self._once(_methods.FACTORS_COMPLETE_SESSION, request, budget)


class Stream(Generic[A]):
    """Messages of a stream, in order: `for event in stream`.

    Leaving it (`with`, `close()`, or letting go of it) cancels the call, all the way to the model.
    """

    def __init__(self, transport: Transport, course: Course[Any, A]) -> None:
        self._transport, self._course = transport, course
        self._call: Any = None
        self._token = ""
        self._is_over = False

    def __iter__(self) -> Iterator[A]:
        return self

    def __next__(self) -> A:
        while not self._is_over:
            try:
                message = self._read()
            except PromptmeshError:
                self.close()
                raise
            if message is not None:
                return message
        raise StopIteration

    def _read(self) -> A | None:
        """The next message for the caller; None: there is none yet, or no more."""
        course = self._course
        try:
            if self._call is None:
                self._token = self._transport.token(course.method, course.budget)
                self._call = self._transport.begin(course.method, course.request, course.budget, self._token)
            message: A = next(self._call)
        except StopIteration:
            self._again(course.ended())
            return None
        except grpc.RpcError as raised:
            if not self._is_over:  # else it was closed from elsewhere
                self._failed(error_of_call(raised), raised)
            return None
        except PromptmeshError as error:
            self._failed(error, error)
            return None
        act = course.message(message)
        if act in (Act.REOPEN, Act.REOPEN_AFRESH):
            if act is Act.REOPEN_AFRESH and not self._transport.refuse(self._token):
                act = Act.LAST  # an API key that ended: no other is to be had
            else:
                self._again(course.reopen_s())
        if act is Act.LAST:
            self.close()
        return message if act in (Act.GIVE, Act.LAST) else None

    def _failed(self, error: PromptmeshError, cause: BaseException) -> None:
        if self._transport.is_closed:
            raise CancelledError("the client was closed", code="CANCELLED") from cause
        is_refused = isinstance(error, UnauthenticatedError) and self._transport.refuse(self._token)
        try:
            wait_s = self._course.failed(error, has_other_credential=is_refused)
        except PromptmeshError as told:
            raise told from (cause if cause is not told else None)
        self._again(wait_s)

    def _again(self, wait_s: float | None) -> None:
        self._call = None
        self._token = ""
        if wait_s is None:
            self._is_over = True
        elif wait_s and self._transport.pause(wait_s):
            raise CancelledError("the client was closed", code="CANCELLED")

    def close(self) -> None:
        """Cancels the call, if it still runs. Harmless a second time."""
        self._is_over = True
        if self._call is not None:
            self._call.cancel()

    def __enter__(self) -> Stream[A]:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def __del__(self) -> None:
        if not self._is_over:
            self.close()


class Pager(Generic[A, I]):
    """What a list holds, over all its pages: `for post in pager`; the pages themselves: `pager.pages()`."""

    def __init__(
        self, transport: Transport, method: Method[Q, A], request: Q, timeout_s: float | None, items: str
    ) -> None:
        self._transport, self._method, self._request = transport, method, request
        self._timeout_s, self._items = timeout_s, items

    def __iter__(self) -> Iterator[I]:
        for page in self.pages():
            yield from getattr(page, self._items)

    def pages(self) -> Iterator[A]:
        """Whole answers, one call each; `timeout_s` is each call's."""
        request: Any = type(self._request)()
        request.CopyFrom(self._request)
        while True:
            page: Any = self._transport.unary(self._method, request, self._timeout_s)
            yield page
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token


def metadata(token: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {token}"),) if token else ()

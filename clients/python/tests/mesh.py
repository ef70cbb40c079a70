"""A real gRPC server that answers as a test says, and remembers who asked what."""

from __future__ import annotations

import threading
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2
from promptmesh import _methods, types
from promptmesh._method import Method

Behaviour = Callable[[Any, grpc.ServicerContext], Any]
METHODS: dict[str, Method[Any, Any]] = {one.path: one for one in vars(_methods).values() if isinstance(one, Method)}
STREAMS = frozenset(path for path, one in METHODS.items() if one.is_long or one.ends)
PATIENCE_S = 10.0


@dataclass(frozen=True)
class Asked:
    """A call that arrived."""

    method: str  # "GetPost"
    request: Any
    token: str  # "" without a credential


class FakeMesh:
    """What every method does next: `mesh.will("GetPost", fail(...), answer(...))`; the last of them stays."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.cancelled = threading.Event()  # a stream's client let go of it
        self._script: dict[str, deque[Behaviour]] = defaultdict(deque)
        self._lock = threading.Lock()
        self.url = ""

    def will(self, method: str, *behaviours: Behaviour) -> None:
        self._script[method] = deque(behaviours)

    def count(self, method: str) -> int:
        return len(self.of(method))

    def of(self, method: str) -> list[Asked]:
        return [one for one in self.asked if one.method == method]

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any] | None:
        method = METHODS.get(details.method)
        if method is None:
            return None
        name = details.method.rsplit("/", 1)[1]
        sent = {str(key): value for key, value in details.invocation_metadata}
        token = str(sent.get("authorization", "")).removeprefix("Bearer ")

        def handle(request: Any, context: grpc.ServicerContext) -> Any:
            with self._lock:
                self.asked.append(Asked(name, request, token))
                script = self._script[name]
                behaviour = script.popleft() if len(script) > 1 else script[0]
            return behaviour(request, context)

        make = (
            grpc.unary_stream_rpc_method_handler if details.method in STREAMS else grpc.unary_unary_rpc_method_handler
        )
        return make(
            handle,
            request_deserializer=method.request.FromString,
            response_serializer=method.response.SerializeToString,
        )

    # What a method may do -------------------------------------------------------------------------------------------

    def hang(self, *messages: Any) -> Behaviour:
        """Streams the messages and then nothing, until the client lets go: that sets `cancelled`."""

        def behave(_request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
            context.add_callback(self.cancelled.set)
            yield from messages
            assert self.cancelled.wait(PATIENCE_S), "nobody let go"

        return behave


def answer(message: Any) -> Behaviour:
    return lambda _request, _context: message


def stream(*messages: Any) -> Behaviour:
    """The messages, and then a status of OK."""
    return lambda _request, _context: iter(messages)


def broken(*messages: Any, code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE, **details: Any) -> Behaviour:
    """The messages, and then an error."""

    def behave(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        yield from messages
        fail(code, **details)(request, context)

    return behave


def fail(
    code: grpc.StatusCode,
    reason: str = "",
    message: str = "no",
    *,
    retry_after_s: float | None = None,
    details: Sequence[Any] = (),
) -> Behaviour:
    """An error as the mesh sends it; without a reason as a proxy does."""

    def behave(_request: Any, context: grpc.ServicerContext) -> Any:
        told: list[Any] = [*details]
        if reason:
            told.append(error_details_pb2.ErrorInfo(reason=reason, domain="promptmesh", metadata={"limit": "all"}))
            told.append(error_details_pb2.RequestInfo(request_id="request-1"))
        if retry_after_s is not None:
            wait = Duration()
            wait.FromNanoseconds(int(retry_after_s * 1e9))
            told.append(error_details_pb2.RetryInfo(retry_delay=wait))
        if told:
            status = status_pb2.Status(code=code.value[0], message=message)
            for one in told:
                packed = AnyMessage()
                packed.Pack(one)
                status.details.append(packed)
            context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
        context.abort(code, message)

    return behave


class Sessions:
    """Log-in and refresh that hand out `access-1`, `access-2`, … and take each refresh token once."""

    def __init__(self, mesh: FakeMesh) -> None:
        self.number = 0
        self.good: set[str] = set()
        self._refresh: set[str] = set()
        self.guarded_by: list[Any] = []  # kinds of second factors
        mesh.will("CreateSession", self._create)
        mesh.will("CompleteSession", self._complete)
        mesh.will("RefreshSession", self.renew)

    def _create(self, request: types.CreateSessionRequest, context: grpc.ServicerContext) -> types.Session:
        if request.password != "right":
            fail(grpc.StatusCode.UNAUTHENTICATED, "LOGIN_FAILED")(request, context)
        if self.guarded_by:
            challenge = types.SecondFactorChallenge(challenge_token="pmc_1", factors=self.guarded_by)
            return types.Session(challenge=challenge)
        return self._pair()

    def _complete(self, request: types.CompleteSessionRequest, context: grpc.ServicerContext) -> types.Session:
        if (request.challenge_token, request.proof.totp_code) != ("pmc_1", "123456"):
            fail(grpc.StatusCode.UNAUTHENTICATED, "PROOF_WRONG")(request, context)
        return self._pair()

    def renew(self, request: types.RefreshSessionRequest, context: grpc.ServicerContext) -> types.Session:
        if request.refresh_token not in self._refresh:
            fail(grpc.StatusCode.UNAUTHENTICATED, "CREDENTIAL_INVALID")(request, context)
        self._refresh.remove(request.refresh_token)
        return self._pair()

    def _pair(self) -> types.Session:
        self.number += 1
        self.good, self._refresh = {f"access-{self.number}"}, {f"refresh-{self.number}"}
        pair = types.Session(access_token=f"access-{self.number}", refresh_token=f"refresh-{self.number}")
        pair.access_expire_time.GetCurrentTime()
        pair.access_expire_time.seconds += 600
        return pair

    def end(self) -> None:
        """Access tokens that are out are good no more."""
        self.good = set()

    def forget(self) -> None:
        """Refresh tokens neither."""
        self.good, self._refresh = set(), set()

    def guarded(self, behaviour: Behaviour) -> Behaviour:
        """The behaviour, for those who come with a good token."""

        def behave(request: Any, context: grpc.ServicerContext) -> Any:
            sent = {str(key): value for key, value in context.invocation_metadata()}
            if str(sent.get("authorization", "")).removeprefix("Bearer ") not in self.good:
                return fail(grpc.StatusCode.UNAUTHENTICATED, "CREDENTIAL_EXPIRED")(request, context)
            return behaviour(request, context)

        return behave


@contextmanager
def running_mesh(credentials: grpc.ServerCredentials | None = None) -> Iterator[FakeMesh]:
    """Over TLS with `credentials`."""
    mesh = FakeMesh()
    pool = ThreadPoolExecutor(32)
    server = grpc.server(pool, handlers=[mesh])  # type: ignore[list-item]
    address = "127.0.0.1:0"
    port = server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address)
    server.start()
    mesh.url = f"https://localhost:{port}" if credentials else f"http://127.0.0.1:{port}"
    try:
        yield mesh
    finally:
        server.stop(None).wait()
        pool.shutdown()

"""People with second factors, for tests."""

from __future__ import annotations

import base64
import itertools
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
from promptmesh.auth.v1 import auth_pb2, factors_pb2
from promptmesh.auth.v1 import factors_pb2 as pb
from promptmesh.auth.v1.auth_pb2_grpc import AuthServiceStub
from promptmesh.auth.v1.factors_pb2_grpc import FactorServiceStub

from services.auth.factors import totp
from services.mesh.errors import MeshError, error_of
from tests.integration.auth.world import PASSWORD
from tests.integration.support.service_process import ServiceProcess
from tests.support.authenticator import Authenticator

ORIGIN = "http://localhost:8080"  # PROMPTMESH_PUBLIC_URL is of this machine
_numbers = itertools.count(1)


@dataclass
class App:
    """An authenticator app. It never shows a code twice: what a test wants twice, it keeps."""

    secret: bytes
    last_step: int = -1

    def code(self) -> str:
        """The next code that is good: of the step before, the present one or the next. A fourth one waits for none."""
        step = max(self.last_step + 1, totp.step_at(time.time()) - totp.SKEW_STEPS)
        self.last_step = step
        return totp.code_at(self.secret, step)

    def wrong(self) -> str:
        """A code that is good at no time near."""
        now = totp.step_at(time.time())
        near = {totp.code_at(self.secret, step) for step in range(now - 5, now + 6)}
        return next(code for code in (f"{number:06}" for number in range(100)) if code not in near)


@dataclass
class Person:
    """Somebody with a session."""

    auth: AuthServiceStub
    factors: FactorServiceStub
    user: auth_pb2.User
    session: auth_pb2.Session

    async def __call__(self, method: str, request: Any = None, *, token: str | None = None) -> Any:
        """A call with the session's token, or another; "" for none. Raises MeshError."""
        stub: Any = self.factors if hasattr(self.factors, method) else self.auth
        asked = request if request is not None else getattr(factors_pb2, f"{method}Request")()
        bearer = self.session.access_token if token is None else token
        metadata = (("authorization", f"Bearer {bearer}"),) if bearer else ()
        try:
            return await getattr(stub, method)(asked, metadata=metadata, timeout=20.0)
        except grpc.aio.AioRpcError as error:
            raise error_of(error) from error

    async def set_up_app(self) -> tuple[App, pb.CreateFactorResponse]:
        begun = await self("BeginTotp")
        app = App(base64.b32decode(begun.secret))
        made = await self("CreateTotp", pb.CreateTotpRequest(setup_token=begun.setup_token, code=app.code()))
        return app, made

    async def set_up_passkey(
        self, passkey: Authenticator | None = None
    ) -> tuple[Authenticator, pb.CreateFactorResponse]:
        passkey = passkey or Authenticator(ORIGIN)
        begun = await self("BeginPasskey")
        credential = passkey.create(begun.options)
        made = await self(
            "CreatePasskey", pb.CreatePasskeyRequest(setup_token=begun.setup_token, credential=credential)
        )
        return passkey, made

    async def log_in(self, password: str = PASSWORD) -> auth_pb2.Session:
        request = auth_pb2.CreateSessionRequest(email=self.user.email, password=password)
        session: auth_pb2.Session = await self("CreateSession", request, token="")
        return session

    async def challenge(self) -> auth_pb2.SecondFactorChallenge:
        session = await self.log_in()
        assert session.HasField("challenge"), "no second factor was asked for"
        assert not session.access_token
        assert not session.refresh_token
        return session.challenge

    async def complete(self, challenge: str, **proof: str) -> auth_pb2.Session:
        request = pb.CompleteSessionRequest(challenge_token=challenge, proof=pb.Proof(**proof))
        session: auth_pb2.Session = await self("CompleteSession", request, token="")
        return session

    async def confirm(self, challenge: str = "", **proof: str) -> auth_pb2.Session:
        request = pb.ConfirmSessionRequest(proof=pb.Proof(**proof), challenge_token=challenge)
        session: auth_pb2.Session = await self("ConfirmSession", request)
        return session


async def refused(call: Any) -> str:
    """The reason for which a call is refused."""
    try:
        answer = await call
    except MeshError as error:
        return error.reason
    raise AssertionError(f"refused it was to be, but it answered {answer}")


@asynccontextmanager
async def people_of(process: ServiceProcess) -> AsyncIterator[Any]:
    """Makes people: `await people()`."""
    async with grpc.aio.insecure_channel(process.target) as channel:
        auth, factors = AuthServiceStub(channel), FactorServiceStub(channel)

        async def make() -> Person:
            email = f"factor-{next(_numbers)}@example.test"
            request = auth_pb2.RegisterRequest(email=email, password=PASSWORD, display_name="Ada")
            user = await auth.Register(request, timeout=20.0)
            log_in = auth_pb2.CreateSessionRequest(email=email, password=PASSWORD)
            return Person(auth, factors, user, await auth.CreateSession(log_in, timeout=20.0))

        yield make

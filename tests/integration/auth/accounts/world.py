"""Who calls AccountService, from somewhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import grpc
from promptmesh.auth.v1 import accounts_pb2 as pb
from promptmesh.auth.v1 import auth_pb2
from promptmesh.auth.v1.accounts_pb2_grpc import AccountServiceStub
from promptmesh.auth.v1.auth_pb2_grpc import AuthServiceStub

from services.mesh.errors import MeshError, error_of
from tests.integration.auth.world import PASSWORD, Client

ANOTHER = "four words of another kind"
HOME = "198.51.100.7"  # an address of the network, as the edge tells it


@dataclass
class Person:
    """Calls of both services of auth as somebody, from somewhere."""

    channel: grpc.aio.Channel
    token: str = ""
    address: str = ""

    async def __call__(self, method: str, **fields: Any) -> Any:
        request = getattr(pb, f"{method}Request")(**fields)
        metadata = [("authorization", f"Bearer {self.token}")] if self.token else []
        metadata += [("x-envoy-external-address", self.address)] if self.address else []
        try:
            return await getattr(AccountServiceStub(self.channel), method)(request, metadata=metadata, timeout=20.0)
        except grpc.aio.AioRpcError as error:
            raise error_of(error) from error

    def at(self, address: str) -> Person:
        """The same from elsewhere."""
        return Person(self.channel, self.token, address)


async def log_in(person: Person, email: str, password: str = PASSWORD) -> auth_pb2.Session:
    metadata = [("x-envoy-external-address", person.address)] if person.address else []
    request = auth_pb2.CreateSessionRequest(email=email, password=password)
    try:
        session: auth_pb2.Session = await AuthServiceStub(person.channel).CreateSession(request, metadata=metadata)
    except grpc.aio.AioRpcError as error:
        raise error_of(error) from error
    return session


async def known(client: Client, nobody: Person) -> tuple[auth_pb2.User, Person]:
    """A new person with a session."""
    session, _ = await client.somebody()
    return session.user, Person(nobody.channel, session.access_token)


async def reason_of_or_ok(call: Any) -> str:
    try:
        await call
    except MeshError as error:
        return error.reason
    return "ok"


async def register(person: Person, email: str) -> None:
    request = auth_pb2.RegisterRequest(email=email, password=PASSWORD, display_name="Ada")
    metadata = [("x-envoy-external-address", person.address)]
    try:
        await AuthServiceStub(person.channel).Register(request, metadata=metadata)
    except grpc.aio.AioRpcError as error:
        raise error_of(error) from error

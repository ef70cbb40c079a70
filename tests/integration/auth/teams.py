"""Organisations for tests: a client of OrganisationService beside that of AuthService, and what tests do with both."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg
import grpc
from promptmesh.auth.v1 import auth_pb2
from promptmesh.auth.v1 import organisations_pb2 as pb
from promptmesh.auth.v1.organisations_pb2_grpc import OrganisationServiceStub

from services.mesh.errors import error_of
from tests.integration.auth.world import Client, prove_address
from tests.integration.support.service_process import ServiceProcess

OWNER, ADMIN, MEMBER = pb.MEMBER_ROLE_OWNER, pb.MEMBER_ROLE_ADMIN, pb.MEMBER_ROLE_MEMBER


@dataclass
class Teammate:
    """Somebody with a session."""

    session: auth_pb2.Session
    auth: Client  # of AuthService
    stub: OrganisationServiceStub

    @property
    def user_id(self) -> str:
        return self.session.user.user_id

    async def __call__(self, method: str, **fields: Any) -> Any:
        """A call of OrganisationService, its request made of the fields."""
        request = getattr(pb, f"{method}Request")(**fields)
        metadata = (("authorization", f"Bearer {self.auth.credential}"),)
        try:
            return await getattr(self.stub, method)(request, metadata=metadata, timeout=20.0)
        except grpc.aio.AioRpcError as error:
            raise error_of(error) from error

    async def acting_for(self, org_id: str) -> Teammate:
        """The same person in the same session, with a token for an organisation."""
        session = await self("SwitchOrganisation", org_id=org_id)
        assert session.org_id == org_id
        return Teammate(self.session, self.auth.bearing(session.access_token), self.stub)


@dataclass
class Teams:
    """Makes people and teams."""

    client: Client
    stub: OrganisationServiceStub
    rows: asyncpg.Connection

    async def person(self, *, proved: bool = True) -> Teammate:
        """Somebody new. proved: whether their address is."""
        session, client = await self.client.somebody()
        person = Teammate(session, client, self.stub)
        if proved:
            await self.prove_address(person)
        return person

    async def prove_address(self, person: Teammate) -> None:
        """As if they had opened the link that was mailed."""
        await prove_address(self.rows, person.user_id)

    async def team(self, owner: Teammate, *others: tuple[Teammate, int]) -> str:
        """A team of people with their roles; its id."""
        org = await owner("CreateOrganisation", display_name="Team")
        for person, role in others:
            await person("AcceptInvitation", token=await self.invitation(org.org_id, person.session.user.email, role))
        return str(org.org_id)

    async def invitation(self, org_id: str, email: str, role: int, lives: str = "7 days") -> str:
        """A link's token as if it had been mailed."""
        token = f"pml_{uuid.uuid4().hex}"
        await self.rows.execute(
            "INSERT INTO invitations SELECT $1, $2, $3, $4, user_id, $5, now() + $6::text::interval FROM members"
            " WHERE org_id = $2 AND role = 1 LIMIT 1",
            *(uuid.uuid4(), org_id, email, role, hashlib.sha256(token.encode()).digest(), lives),
        )
        return token


@asynccontextmanager
async def teams_of(service: ServiceProcess, client: Client, rows: asyncpg.Connection) -> AsyncIterator[Teams]:
    """Teams in a service."""
    async with grpc.aio.insecure_channel(service.target) as channel:
        yield Teams(client, OrganisationServiceStub(channel), rows)

"""UsageService behind the kit's real pipeline, with keys of two organisations, an admin's and an auditor's."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import grpc
from promptmesh.access.v1.access_pb2 import Role
from promptmesh.auth.v1.auth_pb2 import IdentityState, KeyIdentity, WatchIdentitiesResponse
from promptmesh.inference.v1 import usage_pb2_grpc

from services.inference.ledger.reading import LedgerReader
from services.inference.ledger.service import Usage
from services.mesh.access import keys
from services.mesh.access.control import AccessControl
from services.mesh.access.service_tokens import ServiceTokens
from services.mesh.database import Database
from services.mesh.errors import MeshError, error_of
from services.mesh.ids import SYSTEM_CLOCK, Clock
from services.mesh.paging import PageTokens
from services.mesh.server import Server

PEPPER = b"pepper-of-a-test-pepper-of-a-test"
ANN_ORG = "0190aaaa-0000-7000-8000-0000000000a1"
BOB_ORG = "0190aaaa-0000-7000-8000-0000000000b1"


@dataclass
class Keys:
    """Where identities come from."""

    made: dict[bytes, KeyIdentity] = field(default_factory=dict)
    changes: asyncio.Queue[WatchIdentitiesResponse] = field(default_factory=asyncio.Queue)

    def key(self, org_id: str, *roles: int, scopes: tuple[str, ...] = ("usage:read",)) -> Any:
        """Metadata of a caller."""
        secret = keys.new_secret()
        digest = keys.digest(PEPPER, secret)
        self.made[digest] = KeyIdentity(
            api_key_id=org_id, digest=digest, org_id=org_id, user_id=org_id, roles=[1, *roles], scopes=scopes
        )
        return (("authorization", f"Bearer {secret}"),)

    async def watch(self, after_version: int) -> AsyncIterator[WatchIdentitiesResponse]:
        yield WatchIdentitiesResponse(version=1, state=IdentityState(grace_seconds=60))
        while True:
            yield await self.changes.get()

    async def resolve(self, digest: bytes) -> KeyIdentity:
        if digest in self.made:
            return self.made[digest]
        raise MeshError("API_KEY_NOT_FOUND", "No such key.")


@dataclass
class UsageApi:
    """The stub, and who calls it."""

    stub: Any
    keys: Keys
    port: int

    def __post_init__(self) -> None:
        self.ann = self.keys.key(ANN_ORG)
        self.bob = self.keys.key(BOB_ORG)
        self.admin = self.keys.key("0190aaaa-0000-7000-8000-0000000000c1", Role.ROLE_ADMIN)
        self.auditor = self.keys.key("0190aaaa-0000-7000-8000-0000000000d1", Role.ROLE_AUDITOR)


@contextlib.asynccontextmanager
async def running_usage_api(
    database: Database, *, scan_rows_max: int = 20_000, exports_max: int = 2, clock: Clock = SYSTEM_CLOCK
) -> AsyncIterator[UsageApi]:
    """On a free port."""
    identities = Keys()
    access = AccessControl(identities, ServiceTokens("inference", PEPPER), PEPPER)
    follower = asyncio.create_task(access.follower.run())
    server = Server(access)
    usage = Usage(
        LedgerReader(database, scan_rows_max), PageTokens(PEPPER), access, exports_max=exports_max, clock=clock
    )
    server.add(usage_pb2_grpc.add_UsageServiceServicer_to_server, usage)
    port = await server.start()
    await access.ready.wait()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield UsageApi(usage_pb2_grpc.UsageServiceStub(channel), identities, port)
    await server.stop()
    follower.cancel()
    await asyncio.wait([follower])
    await access.close()


async def refused(call: Any) -> MeshError:
    """The error that a call ends with."""
    try:
        if hasattr(call, "__aiter__"):
            async for _ in call:
                pass
        else:
            await call
    except grpc.RpcError as error:
        return error_of(error)
    raise AssertionError("it was not refused")


async def read_all(call: Any) -> tuple[bytes, str, dict[str, str]]:
    """(what an export holds, its content type, its headers)."""
    data, content_type = b"", ""
    async for part in call:
        data += part.data
        content_type = part.content_type
    return data, content_type, dict(await call.initial_metadata())

"""The auth service as a process over a database of its own, and callers of it."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import asyncpg
import grpc
import redis
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from promptmesh.auth.v1 import auth_pb2 as pb
from promptmesh.auth.v1.accounts_pb2_grpc import AccountServiceStub
from promptmesh.auth.v1.administration_pb2_grpc import AdministrationServiceStub
from promptmesh.auth.v1.audit_pb2 import ActRecorded, AuditRecord
from promptmesh.auth.v1.auth_pb2_grpc import AuthServiceStub
from promptmesh.auth.v1.factors_pb2_grpc import FactorServiceStub
from promptmesh.auth.v1.federation_pb2_grpc import FederationServiceStub
from promptmesh.events.v1.events_pb2 import Envelope

from services.mesh.database.setup import set_up
from services.mesh.errors import MeshError, error_of
from tests.integration.support.service_process import (
    MeshSecrets,
    ServiceProcess,
    running_service,
    service_environment,
)
from tests.support.databases import Databases

PASSWORD = "correct horse battery"
ROLE_PASSWORD = "auth-of-the-tests"
# What the tests are not about must not take their time: the cheapest hash.
FAST_HASH = {"PASSWORD_MEMORY_KIB": 64, "PASSWORD_PASSES": 1}
PATIENCE_S = 30.0
_numbers = itertools.count(1)


def key_pem(curve: ec.EllipticCurve | None = None) -> bytes:
    """A new private key."""
    return ec.generate_private_key(curve or ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


@dataclass
class Place:
    """Where a service of auth can run: its database, made and migrated, and its environment."""

    admin_url: str
    environment: dict[str, str]
    secrets: MeshSecrets
    folder: Path

    @contextmanager
    def running(self, **more: object) -> Iterator[ServiceProcess]:
        """The service as a process. more: settings by name without the prefix."""
        changed = {f"PROMPTMESH_{name}": str(value) for name, value in more.items()}
        with running_service("auth", self.environment | changed, self.folder, prepared=True) as process:
            yield process

    def with_new_key(self) -> str:
        """The path of another signing key."""
        file = self.folder / f"signing-{next(_numbers)}.pem"
        file.write_bytes(key_pem())
        file.chmod(0o600)
        return str(file)


@contextmanager
def auth_place(databases: Databases, redis_url: str, folder: Path) -> Iterator[Place]:
    """A place with a database that is migrated and holds nothing else, and an empty Redis."""
    with redis.Redis.from_url(redis_url) as client:
        client.flushall()
    with databases.one("auth") as admin_url:
        url = f"postgresql://promptmesh_auth:{ROLE_PASSWORD}@{admin_url.partition('@')[2]}"
        asyncio.run(set_up({"auth": url}, admin_url, services=("auth",)))
        secrets = MeshSecrets.make()
        place = Place(admin_url, {}, secrets, folder)
        place.environment = service_environment(
            database_url=url,
            redis_url=redis_url,
            secrets=secrets,
            AUTH_SIGNING_KEY_FILE=place.with_new_key(),
            INFERENCE_TARGET="127.0.0.1:1",  # whose events auth reads: away
            # Mails are written, and wait: nobody takes them there.
            SMTP_HOST="127.0.0.1",
            SMTP_PORT=9,
            SMTP_TLS="none",
            **FAST_HASH,
        )
        yield place


class Client:
    """Calls of auth, as somebody. A failed call raises MeshError, as its caller understands it."""

    def __init__(self, stub: Any, credential: str = "") -> None:
        self._stub, self.credential = stub, credential

    def bearing(self, credential: str) -> Client:
        """The same with another credential."""
        return Client(self._stub, credential)

    async def __call__(self, method: str, request: Any, timeout: float = 20.0) -> Any:
        try:
            return await getattr(self._stub, method)(request, metadata=self.metadata, timeout=timeout)
        except grpc.aio.AioRpcError as error:
            raise error_of(error) from error

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        return (("authorization", f"Bearer {self.credential}"),) if self.credential else ()

    def watch(self, after_version: int = 0) -> Any:
        """A call of WatchIdentities."""
        return self._stub.WatchIdentities(
            pb.WatchIdentitiesRequest(after_version=after_version), metadata=self.metadata, timeout=60.0
        )

    async def register(self, email: str = "", password: str = PASSWORD) -> pb.User:
        """A new person."""
        email = email or f"person-{next(_numbers)}@example.test"
        user: pb.User = await self("Register", pb.RegisterRequest(email=email, password=password, display_name="Ada"))
        return user

    async def log_in(self, email: str, password: str = PASSWORD) -> pb.Session:
        """A new session."""
        session: pb.Session = await self("CreateSession", pb.CreateSessionRequest(email=email, password=password))
        return session

    async def somebody(self) -> tuple[pb.Session, Client]:
        """A new person with a session, and a client that bears it."""
        session = await self.log_in((await self.register()).email)
        return session, self.bearing(session.access_token)

    async def refresh(self, token: str) -> pb.Session:
        """The next pair."""
        session: pb.Session = await self("RefreshSession", pb.RefreshSessionRequest(refresh_token=token))
        return session


@asynccontextmanager
async def client_of(process: ServiceProcess) -> AsyncIterator[Client]:
    """A client without a credential."""
    async with grpc.aio.insecure_channel(process.target) as channel:
        yield Client(stub_of(channel))


def stub_of(channel: grpc.aio.Channel) -> Any:
    """The methods of all services of auth, under their names."""
    stubs = (
        AuthServiceStub,
        AccountServiceStub,
        FactorServiceStub,
        FederationServiceStub,
        AdministrationServiceStub,
    )
    return SimpleNamespace(**{name: call for stub in stubs for name, call in vars(stub(channel)).items()})


async def later(rows: asyncpg.Connection, session_id: str, by_s: float = 11.0) -> None:
    """As if a session's last refresh had been so much earlier: more than the window in which it is answered again."""
    await rows.execute(
        "UPDATE sessions SET rotate_time = rotate_time - make_interval(secs => $2) WHERE session_id = $1",
        session_id,
        by_s,
    )


async def acts_of(rows: asyncpg.Connection, subject_id: str) -> list[AuditRecord]:
    """What the trail is told of somebody or something, the oldest first."""
    found = []
    for row in await rows.fetch("SELECT envelope FROM outbox WHERE type LIKE '%ActRecorded' ORDER BY id"):
        act = ActRecorded.FromString(Envelope.FromString(row["envelope"]).payload)
        if act.record.subject.id == subject_id:
            found.append(act.record)
    return found


async def reason_of(call: Any) -> str:
    """The reason for which a call is refused."""
    return (await refusal_of(call)).reason


async def refusal_of(call: Any) -> MeshError:
    """The error that a call ends with."""
    try:
        answer = await call
    except MeshError as error:
        return error
    raise AssertionError(f"refused it was to be, but it answered {answer}")


async def until_refused(person: Client, reason: str = "CREDENTIAL_REVOKED") -> None:
    """Waits until calls of the person are refused: a restriction takes a moment to come round."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                await person("GetMe", pb.GetMeRequest())
            except MeshError as error:
                if error.reason != reason:
                    raise
                return


async def prove_address(rows: asyncpg.Connection, user_id: str) -> None:
    """As if a person had opened the link that was mailed."""
    await rows.execute("UPDATE users SET email_verify_time = now() WHERE user_id = $1", user_id)

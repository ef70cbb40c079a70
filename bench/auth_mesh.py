"""A mesh whose auth is asked straight, and what that costs its process in CPU time, which others do not blur."""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import psutil
from promptmesh.auth.v1 import accounts_pb2, auth_pb2
from promptmesh.auth.v1.accounts_pb2_grpc import AccountServiceStub
from promptmesh.auth.v1.auth_pb2_grpc import AuthServiceStub

from bench.harness import EDGE_WIDE_OPEN
from services.local.data_folder import DataFolder
from services.local.mail_files import read_mails
from services.local.testing import LocalMesh, local_mesh, wait_until

PASSWORD = "a long enough password"
TIMEOUT_S = 30.0
_MANY = "1000000"
#: Tries are not what is measured.
UNTHROTTLED = {
    f"PROMPTMESH_{name}_MAX": _MANY
    for name in (
        "LOGINS_PER_ACCOUNT_AND_ADDRESS",
        "LOGINS_PER_ACCOUNT_BY_STRANGERS",
        "LOGINS_PER_ADDRESS",
        "REGISTRATIONS_PER_ADDRESS",
        "MAIL_REQUESTS_PER_ADDRESS",
        "MAILS_PER_RECIPIENT",
    )
}
#: One person logs in hundreds of times, and their first session goes on.
UNTHROTTLED |= {"PROMPTMESH_SESSIONS_PER_USER_MAX": "10000"}
_TOKEN = re.compile(r"#token=(\S+)")


@dataclass
class Auth:
    """Calls of one mesh's auth, each from an address of its own."""

    mesh: LocalMesh
    channel: grpc.aio.Channel
    process: psutil.Process

    def __post_init__(self) -> None:
        self._auth, self._accounts = AuthServiceStub(self.channel), AccountServiceStub(self.channel)
        self._addresses = itertools.count()

    async def __call__(self, method: str, request: Any, credential: str = "") -> Any:
        """One call. Raises grpc.aio.AioRpcError."""
        number = next(self._addresses)
        metadata = [("x-envoy-external-address", f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}")]
        if credential:
            metadata.append(("authorization", f"Bearer {credential}"))
        stub = self._auth if hasattr(self._auth, method) else self._accounts
        return await getattr(stub, method)(request, metadata=metadata, timeout=TIMEOUT_S)

    async def register(self, email: str) -> None:
        """A person, or what becomes one."""
        await self("Register", auth_pb2.RegisterRequest(email=email, password=PASSWORD, display_name="Ada"))

    async def log_in(self, email: str, password: str = PASSWORD) -> auth_pb2.Session:
        """A session."""
        session: auth_pb2.Session = await self(
            "CreateSession", auth_pb2.CreateSessionRequest(email=email, password=password)
        )
        return session

    async def verify(self, email: str) -> None:
        """Proves an address with the link that was mailed."""
        folder = DataFolder(self.mesh.data).mail
        found: list[str] = []

        def there() -> bool:
            found[:] = [
                link[1] for one in read_mails(folder) if one.recipient == email and (link := _TOKEN.search(one.body))
            ]
            return bool(found)

        wait_until(f"a mail to {email}", there, TIMEOUT_S)
        await self("VerifyEmail", accounts_pb2.VerifyEmailRequest(token=found[-1], password=PASSWORD))

    def cpu_s(self) -> float:
        """CPU time of its process so far, all threads, in seconds."""
        times = self.process.cpu_times()
        return float(times.user + times.system)

    async def cost(self, work: Callable[[], Awaitable[int]]) -> tuple[float, float]:
        """CPU seconds of auth's process an operation, and operations a second; work answers how many it did."""
        before_s, began_s = self.cpu_s(), time.monotonic()
        count = await work()
        return (self.cpu_s() - before_s) / count, count / (time.monotonic() - began_s)


@contextmanager
def auth_mesh(environment: Mapping[str, str] | None = None, models_yaml: str | None = None) -> Iterator[LocalMesh]:
    """A mesh that counts no tries."""
    settings = UNTHROTTLED | {"PROMPTMESH_LOG_LEVEL": "warning"} | dict(environment or {})
    with local_mesh(edge=EDGE_WIDE_OPEN, environment=settings, models_yaml=models_yaml) as mesh:
        yield mesh


def channel_to(mesh: LocalMesh, service: str) -> grpc.aio.Channel:
    """Straight to the first process of a service."""
    return grpc.aio.insecure_channel(f"127.0.0.1:{mesh.processes()[f'{service}-0']['port']}")


def auth_of(mesh: LocalMesh) -> Auth:
    """Whom to ask. Within a running loop; whoever calls closes its channel."""
    return Auth(mesh, channel_to(mesh, "auth"), psutil.Process(int(mesh.processes()["auth-0"]["pid"])))

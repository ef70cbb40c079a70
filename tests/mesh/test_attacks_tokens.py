"""Every way that is known to forge a token, against every service: through the edge, and straight at it."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Mapping

import grpc
import jwt
import pytest
import pytest_asyncio

from services.local.testing import LocalMesh
from services.mesh.access.tokens import LIFETIME_S_MAX
from tests.mesh.client import Client
from tests.mesh.errors import fault_of, fault_of_rpc
from tests.mesh.forgery import HOUR_S, Forger
from tests.mesh.people import Person
from tests.mesh.test_credentials import NATIVE_WAYS, WAYS

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]

#: The first worker of each service, and a method of it that takes an empty request.
STRAIGHT = {f"{path.split('.')[1]}-0": path for path in NATIVE_WAYS}


class Table(Forger):
    """More of them: what the header says where the key is to be found, and claims that reach too far."""

    def all(self) -> dict[str, tuple[str, str]]:
        now = time.time()
        other_org = "00000000-0000-7000-8000-000000000002"
        more = {
            "a key id that is a path": self._signed(header={"kid": "../../../../dev/null"}),
            "a key id that is an address": self._signed(header={"kid": "https://attacker.example/key"}),
            "a key id that is SQL": self._signed(header={"kid": "x' UNION SELECT 'AAAA' -- "}),
            "a key id with a zero": self._signed(header={"kid": "a\x00b"}),
            "a key id that is a number": self._signed(header={"kid": 1}),
            "a key id that is a list": self._signed(header={"kid": [jwt.get_unverified_header(self._good)["kid"]]}),
            "an empty key id": self._signed(header={"kid": ""}),
            "a critical header that nobody knows": self._signed(header={"crit": ["exp2"], "exp2": 1}),
            "no algorithm": self._signed(header={"alg": None}),
            "an algorithm of another curve": self._signed(header={"alg": "ES384"}),
            "RS256 under an EC key": self._signed(header={"alg": "RS256"}),
            "the type with other letters": self._signed(header={"typ": "AT+JWT"}),
            "no type": self._signed(header={"typ": None}),
            "another tenant under the old signature": self._tampered(org=other_org),
            "another person under the old signature": self._tampered(sub=other_org),
            "another session under the old signature": self._tampered(sid=other_org),
            "a fresh proof under the old signature": self._tampered(auth_time=now + HOUR_S),
            "lives longer than tokens do": self._signed(iat=now, exp=now + LIFETIME_S_MAX + HOUR_S),
            "issued long ago and good for years": self._signed(iat=now - HOUR_S, exp=now + 1e8),
            "an expiry without end": self._signed(exp=float("inf")),
            "an expiry that is no number, as floats write it": self._signed(exp=float("nan")),
            "no tenant": self._signed(org=None),
            "an empty tenant": self._signed(org=""),
            "a tenant that is a list": self._signed(org=[other_org]),
            "a session that is a number": self._signed(sid=7),
            "roles in one text": self._signed(roles="1234"),
            "roles that are truths": self._signed(roles=[True, 3.0]),
            "issued at no time": self._signed(iat=None),
            "no person": self._signed(sub=None),
            "a second token behind the first": f"{self._good}.{self._good}",
            "with a space inside": self._good.replace(".", " .", 1),
            "the parts of another encoding": self._good.replace(".", "%2E"),
        }
        expired = {"expired a minute ago": self._signed(iat=now - HOUR_S, exp=now - 60)}
        return (
            super().all()
            | {what: (token, "CREDENTIAL_INVALID") for what, token in more.items()}
            | {what: (token, "CREDENTIAL_EXPIRED") for what, token in expired.items()}
        )


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def table(mesh: LocalMesh, someone: Person) -> Table:
    return Table(mesh.data, someone.token)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def straight(mesh: LocalMesh) -> AsyncIterator[Mapping[str, grpc.aio.Channel]]:
    """A channel to each service, past the edge."""
    processes = mesh.processes()
    channels = {
        path: grpc.aio.insecure_channel(f"127.0.0.1:{processes[name]['port']}") for name, path in STRAIGHT.items()
    }
    yield channels
    for channel in channels.values():
        await channel.close()


async def test_the_table_is_long_and_each_is_another_token(table: Table) -> None:
    tokens = [token for token, _ in table.all().values()]
    assert len(tokens) > 50
    assert len(set(tokens)) == len(tokens)


async def test_through_the_edge(client: Client, table: Table) -> None:
    for what, (token, reason) in table.all().items():
        for verb, path, body in WAYS:
            fault = fault_of(await client.ask(verb, path, body, token=token))
            assert fault.brief == ("UNAUTHENTICATED", reason), f"{what} at {path}: {fault}"


async def test_straight_at_every_service(straight: Mapping[str, grpc.aio.Channel], table: Table) -> None:
    for path, channel in straight.items():
        good = (("authorization", f"Bearer {table.good()}"),)
        # Somebody without the role, perhaps, but somebody.
        assert await _reason(channel.unary_unary(path)(b"", metadata=good)) in ("", "ROLE_MISSING"), path
        for what, (token, reason) in table.all().items():
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await channel.unary_unary(path)(b"", metadata=(("authorization", f"Bearer {token}"),))
            assert fault_of_rpc(caught.value).brief == ("UNAUTHENTICATED", reason), f"{what} at {path}"


async def _reason(call: Awaitable[bytes]) -> str:
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return fault_of_rpc(error).reason
    return ""


async def test_a_refresh_token_and_a_tenants_name_open_nothing(
    client: Client, someone: Person, stranger: Person
) -> None:
    for verb, path, body in WAYS:
        fault = fault_of(await client.ask(verb, path, body, token=someone.refresh_token))
        assert fault.brief == ("UNAUTHENTICATED", "CREDENTIAL_INVALID")
    # Whose tenant it is, the token says and no header: what the caller claims changes nothing.
    me = (await someone.ask("GET", "/api/v1/users/me")).ok()
    for name in ("x-promptmesh-org-id", "openai-organization", "x-org-id"):
        claimed = (await stranger.ask("GET", "/api/v1/users/me", headers={name: me["orgId"]})).ok()
        assert claimed["orgId"] != me["orgId"]

"""Who calls by mutual TLS: SPIFFE ids of real certificates on a real port, and what a sidecar says of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from promptmesh.access.v1.access_pb2 import Role
from promptmesh.auth.v1 import auth_pb2
from promptmesh.prompts.v1 import posts_pb2, posts_pb2_grpc

from services.mesh.access import keys
from services.mesh.access.scopes import scopes_of
from services.mesh.access.workloads import Origins, networks_of, workloads_of
from services.mesh.call import CallerKind
from services.mesh.errors import MeshError, error_of
from services.mesh.server import Server, ServerOptions
from services.mesh.tls import TlsFiles
from tests.integration.mesh_grpc.certificates import Authority
from tests.integration.mesh_grpc.conftest import PEPPER, WAIT_S, Posts, Service

BATCH = "spiffe://example.org/ns/shop/sa/batch"
PROMPTS = "spiffe://example.org/ns/mesh/sa/prompts"
ACCOUNT, ORG = "0190b5d0-0000-7000-8000-00000000000a", "0190b5d0-0000-7000-8000-00000000000b"
WORKLOADS = f"{BATCH}=account:{ACCOUNT}@{ORG}, {PROMPTS}=service:prompts"
NEW_POST = posts_pb2.CreatePostRequest(title="A title", body="A body")
EDGE = "203.0.113.7"
DIGEST = keys.account_digest(ACCOUNT)


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


class Running:
    """A server with a TLS port, and what reached its handlers."""

    def __init__(self, server: Server, posts: Posts, authority: Authority) -> None:
        self.server, self.posts, self.authority = server, posts, authority

    async def create(
        self, *uris: str, by: Authority | None = None, names: tuple[str, ...] = (), **metadata: str
    ) -> Any:
        """CreatePost over TLS as who has a certificate of these URIs. Raises MeshError."""
        key, certificate = (by or self.authority).issue(*uris, names=names)
        credentials = grpc.ssl_channel_credentials(self.authority.pem, key, certificate)
        return await self._create(grpc.aio.secure_channel(f"127.0.0.1:{self.server.tls_port}", credentials), metadata)

    async def create_plainly(self, **metadata: str) -> Any:
        """The same over the port without TLS."""
        return await self._create(grpc.aio.insecure_channel(f"127.0.0.1:{self.server.port}"), metadata)

    async def _create(self, channel: grpc.aio.Channel, metadata: dict[str, str]) -> Any:
        sent = tuple((name.replace("_", "-"), value) for name, value in metadata.items())
        async with channel:
            try:
                await posts_pb2_grpc.PostServiceStub(channel).CreatePost(NEW_POST, metadata=sent, timeout=10.0)
            except grpc.aio.AioRpcError as error:
                raise error_of(error) from error
        return self.posts.calls[-1].caller


@pytest.fixture(autouse=True)
def account(service: Service) -> auth_pb2.KeyIdentity:
    """The service account, as auth knows it."""
    identity = auth_pb2.KeyIdentity(
        digest=DIGEST,
        org_id=ORG,
        user_id=ACCOUNT,
        display_name="Batch",
        roles=[Role.ROLE_SERVICE],
        scopes=sorted(scopes_of([Role.ROLE_SERVICE])),
        plan="pro",
    )
    service.auth.api_keys[DIGEST] = identity
    return identity


@asynccontextmanager
async def running(service: Service, authority: Authority, folder: Path, **origins: Any) -> AsyncIterator[Running]:
    files = TlsFiles(*authority.files(folder, *authority.issue("spiffe://example.org/ns/mesh/sa/server")))
    found = Origins(workloads_of(WORKLOADS), **origins)
    server, posts = Server(service.access, options=ServerOptions(origins=found, tls=files)), Posts()
    server.add(posts_pb2_grpc.add_PostServiceServicer_to_server, posts)
    await server.start()
    await server.ready()
    try:
        yield Running(server, posts, authority)
    finally:
        await server.stop()


async def refused(call: Any) -> str:
    with pytest.raises(MeshError) as caught:
        await call
    return caught.value.reason


async def test_a_certificate_stands_for_a_service_account(
    service: Service, authority: Authority, tmp_path: Path
) -> None:
    async with running(service, authority, tmp_path) as one:
        caller = await one.create(BATCH)
        assert (caller.kind, caller.user_id, caller.org_id) == (CallerKind.API_KEY, ACCOUNT, ORG)
        assert caller.roles == {Role.ROLE_SERVICE}
        assert not caller.api_key_id
        assert (caller.plan, caller.display_name) == ("pro", "Batch")

        assert await refused(one.create(PROMPTS)) == "AUDIENCE_MISMATCH"  # a service; this method is for people
        assert await refused(one.create(f"{BATCH}2")) == "CREDENTIAL_MISSING"
        assert await refused(one.create()) == "CREDENTIAL_MISSING"
        # Exactly one URI makes a SPIFFE identity, and a name of another kind makes none.
        assert await refused(one.create(BATCH, "spiffe://example.org/other")) == "CREDENTIAL_MISSING"
        with_key = await one.create("spiffe://example.org/nobody", x_api_key=service.auth.api_key(("posts:write",)))
        assert with_key.api_key_id
        other = await one.create(BATCH, x_api_key=service.auth.api_key(("posts:write",)))
        assert other.api_key_id, "a credential comes before the certificate"


async def test_an_account_is_as_it_is_now(
    service: Service, account: auth_pb2.KeyIdentity, authority: Authority, tmp_path: Path
) -> None:
    async with running(service, authority, tmp_path) as one:
        await one.create(BATCH)
        asked = service.auth.resolved
        await one.create(BATCH)
        assert service.auth.resolved == asked, "what is known is not asked for again"
        restriction = auth_pb2.OrgRestriction(org_id=ORG, plan="free")
        restriction.change_time.GetCurrentTime()
        service.auth._say(org_changed=restriction)
        async with asyncio.timeout(WAIT_S):
            while (await one.create(BATCH)).plan != "free":
                pass
        restriction.suspend_time.FromSeconds(int(time.time()) + 600)
        service.auth._say(org_changed=restriction)
        assert await until_refused(one) == "SUSPENDED"
        restriction.ClearField("suspend_time")
        service.auth._say(org_changed=restriction)
        async with asyncio.timeout(WAIT_S):
            while await reason_or_ok(one) == "SUSPENDED":
                pass
        account.revoked = True
        service.auth._say(key_changed=account)
        assert await until_refused(one) == "CREDENTIAL_REVOKED"


@pytest.mark.parametrize(("org_id", "reason"), [(ACCOUNT, "CREDENTIAL_REVOKED"), ("", "CREDENTIAL_INVALID")])
async def test_an_account_that_is_not_or_is_elsewhere(
    service: Service, account: auth_pb2.KeyIdentity, authority: Authority, tmp_path: Path, org_id: str, reason: str
) -> None:
    account.org_id = org_id
    if not org_id:
        del service.auth.api_keys[DIGEST]
    async with running(service, authority, tmp_path) as one:
        assert await refused(one.create(BATCH)) == reason


async def until_refused(one: Running) -> str:
    async with asyncio.timeout(WAIT_S):
        while (reason := await reason_or_ok(one)) == "":
            pass
    return reason


async def reason_or_ok(one: Running) -> str:
    try:
        await one.create(BATCH)
    except MeshError as error:
        return error.reason
    return ""


async def test_certificates_of_another_ca_and_none_do_not_connect(
    service: Service, authority: Authority, tmp_path: Path
) -> None:
    async with running(service, authority, tmp_path) as one:
        assert await refused(one.create(BATCH, by=Authority())) == "DEPENDENCY_UNAVAILABLE"
        bare = grpc.aio.secure_channel(f"127.0.0.1:{one.server.tls_port}", grpc.ssl_channel_credentials(authority.pem))
        assert await refused(one._create(bare, {})) == "DEPENDENCY_UNAVAILABLE"
        assert one.posts.calls == []


async def test_a_certificate_that_was_replaced_is_used(service: Service, authority: Authority, tmp_path: Path) -> None:
    async with running(service, authority, tmp_path) as one:
        assert await one.create(BATCH)
        other = Authority("the next CA")
        other.files(tmp_path, *other.issue())
        one.authority = other
        assert await one.create(BATCH)


async def test_what_a_header_says_of_a_certificate_is_believed_by_setting_alone(
    service: Service, authority: Authority, tmp_path: Path
) -> None:
    said = f'By=spiffe://example.org/edge;Subject="O=a;URI={PROMPTS}, b";URI={BATCH}'
    async with running(service, authority, tmp_path) as one:
        assert await refused(one.create_plainly(x_forwarded_client_cert=said)) == "CREDENTIAL_MISSING"
    async with running(service, authority, tmp_path, forwarded=True) as one:
        assert (await one.create_plainly(x_forwarded_client_cert=said)).user_id == ACCOUNT
        spoofed = f"URI={BATCH},By=spiffe://example.org/edge;URI=spiffe://example.org/somebody"
        assert await refused(one.create_plainly(x_forwarded_client_cert=spoofed)) == "CREDENTIAL_MISSING"
        assert await refused(one.create_plainly(x_forwarded_client_cert=f"URI={BATCH};URI={BATCH}")) == (
            "CREDENTIAL_MISSING"
        )


async def test_a_key_of_networks(service: Service, authority: Authority, tmp_path: Path) -> None:
    secret = service.auth.api_key(("posts:write",))
    identity = service.auth.api_keys[keys.digest(PEPPER, secret)]
    identity.allowed_networks.extend(["203.0.113.0/24", "2001:db8::/32"])
    async with running(service, authority, tmp_path) as one:
        assert await refused(one.create_plainly(x_api_key=secret)) == "ADDRESS_REFUSED"
        for address, good in (
            (EDGE, True),
            ("203.0.114.1", False),
            ("2001:db8::1", True),
            ("::ffff:203.0.113.9", True),
        ):
            call = one.create_plainly(x_api_key=secret, x_envoy_external_address=address)
            if good:
                assert await call
            else:
                assert await refused(call) == "ADDRESS_REFUSED"
    async with running(service, authority, tmp_path, edge_networks=networks_of("127.0.0.0/8")) as one:
        assert await one.create_plainly(x_api_key=secret, x_envoy_external_address=EDGE)
    async with running(service, authority, tmp_path, edge_networks=networks_of("10.0.0.0/8")) as one:
        call = one.create_plainly(x_api_key=secret, x_envoy_external_address=EDGE)
        assert await refused(call) == "ADDRESS_REFUSED", "whoever is not the edge says nobody's address"

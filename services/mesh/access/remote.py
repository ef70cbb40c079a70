"""Identities from auth, over gRPC."""

from __future__ import annotations

from collections.abc import AsyncIterable, Sequence

import grpc
from promptmesh.auth.v1.auth_pb2 import (
    KeyIdentity,
    ReportKeyUsesRequest,
    ResolveApiKeyRequest,
    WatchIdentitiesRequest,
    WatchIdentitiesResponse,
)
from promptmesh.auth.v1.auth_pb2_grpc import AuthServiceStub

from services.mesh.access.keys import account_of
from services.mesh.errors import error_of

RESOLVE_TIMEOUT_S = 2.0


class RemoteIdentities:
    """What every service but auth knows identities from."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._auth = AuthServiceStub(channel)

    def watch(self, after_version: int) -> AsyncIterable[WatchIdentitiesResponse]:
        """The feed; ends or fails when auth is away."""
        call: AsyncIterable[WatchIdentitiesResponse] = self._auth.WatchIdentities(
            WatchIdentitiesRequest(after_version=after_version)
        )
        return call

    async def resolve(self, digest: bytes) -> KeyIdentity:
        """The identity behind a key's digest. Raises MeshError."""
        try:
            account_id = account_of(digest)
            request = (
                ResolveApiKeyRequest(service_account_id=account_id)
                if account_id
                else ResolveApiKeyRequest(digest=digest)
            )
            identity: KeyIdentity = await self._auth.ResolveApiKey(request, timeout=RESOLVE_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            raise error_of(error) from error
        return identity

    async def report_uses(self, api_key_ids: Sequence[str]) -> None:
        """Tells which keys were used. Raises AioRpcError."""
        await self._auth.ReportKeyUses(ReportKeyUsesRequest(api_key_ids=api_key_ids), timeout=RESOLVE_TIMEOUT_S)

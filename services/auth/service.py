"""The gRPC face: each method hands on to the file that is about it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from google.protobuf import empty_pb2
from promptmesh.auth.v1 import auth_pb2 as pb
from promptmesh.auth.v1 import auth_pb2_grpc as pb_grpc

from services.auth.api_keys import ApiKeys
from services.auth.identities import IdentityFeed
from services.auth.sessions import Sessions
from services.auth.signing_keys import SigningKeys
from services.auth.users import Users
from services.mesh.call import current
from services.mesh.streams import GuardHost, Item, guard


class Auth(pb_grpc.AuthServiceServicer):
    """AuthService."""

    def __init__(
        self,
        users: Users,
        sessions: Sessions,
        api_keys: ApiKeys,
        signing_keys: SigningKeys,
        feed: IdentityFeed,
        host: GuardHost,
    ) -> None:
        self._users, self._sessions, self._api_keys = users, sessions, api_keys
        self._signing_keys, self._feed, self._host = signing_keys, feed, host

    async def Register(self, request: pb.RegisterRequest, context: Any) -> pb.User:
        return await self._users.register(request)

    async def CreateSession(self, request: pb.CreateSessionRequest, context: Any) -> pb.Session:
        return await self._sessions.create(request)

    async def RefreshSession(self, request: pb.RefreshSessionRequest, context: Any) -> pb.Session:
        return await self._sessions.refresh(request)

    async def DeleteSession(self, request: pb.DeleteSessionRequest, context: Any) -> empty_pb2.Empty:
        await self._sessions.delete(current().caller)
        return empty_pb2.Empty()

    async def GetMe(self, request: pb.GetMeRequest, context: Any) -> pb.User:
        return await self._users.me(current().caller)

    async def SetRoles(self, request: pb.SetRolesRequest, context: Any) -> pb.User:
        return await self._users.set_roles(current().caller, request)

    async def CreateApiKey(self, request: pb.CreateApiKeyRequest, context: Any) -> pb.CreateApiKeyResponse:
        return await self._api_keys.create(current().caller, request)

    async def ListApiKeys(self, request: pb.ListApiKeysRequest, context: Any) -> pb.ListApiKeysResponse:
        return await self._api_keys.list(current().caller, request)

    async def RevokeApiKey(self, request: pb.RevokeApiKeyRequest, context: Any) -> pb.ApiKey:
        return await self._api_keys.revoke(current().caller, request)

    async def GetJwks(self, request: pb.GetJwksRequest, context: Any) -> pb.JsonWebKeySet:
        return await self._signing_keys.present()

    async def ResolveApiKey(self, request: pb.ResolveApiKeyRequest, context: Any) -> pb.KeyIdentity:
        return await self._feed.resolve(request.digest)

    async def WatchIdentities(
        self, request: pb.WatchIdentitiesRequest, context: Any
    ) -> AsyncIterator[pb.WatchIdentitiesResponse]:
        # The guard's own heartbeats say less than the feed's. At its end the watcher connects anew, with its version.
        async for item in guard(current(), self._feed.watch(request.after_version), mesh=self._host):
            if isinstance(item, Item):
                yield item.value

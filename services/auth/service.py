"""The gRPC face: each method hands on to the file that is about it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from google.protobuf import empty_pb2
from promptmesh.auth.v1 import auth_pb2 as pb
from promptmesh.auth.v1 import auth_pb2_grpc as pb_grpc

from services.auth.accounts.registration import Registration
from services.auth.api_keys import ApiKeys
from services.auth.cookies import RefreshCookie, in_cookie
from services.auth.identities import IdentityFeed
from services.auth.key_rotation import KeyRotation
from services.auth.sessions import Sessions
from services.auth.signing_keys import SigningKeys
from services.auth.users import Users
from services.mesh.access import keys
from services.mesh.call import current
from services.mesh.errors import MeshError
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
        rotation: KeyRotation,
        *,
        registration: Registration,
        cookie: RefreshCookie,
    ) -> None:
        self._users, self._sessions, self._api_keys = users, sessions, api_keys
        self._signing_keys, self._feed, self._host = signing_keys, feed, host
        self._registration, self._cookie = registration, cookie
        self._rotation = rotation

    async def Register(self, request: pb.RegisterRequest, context: Any) -> pb.User:
        return await self._registration.register(request)

    async def CreateSession(self, request: pb.CreateSessionRequest, context: Any) -> pb.Session:
        if not request.cookie:
            return await self._sessions.create(request)
        metadata = context.invocation_metadata()
        self._cookie.check(metadata, logging_in=True)  # no other site may log anybody in
        return await self._in_cookie(await self._sessions.create(request, self._cookie.read(metadata)), context)

    async def RefreshSession(self, request: pb.RefreshSessionRequest, context: Any) -> pb.Session:
        if request.refresh_token:
            return await self._sessions.refresh(request.refresh_token)
        metadata = context.invocation_metadata()
        token = self._cookie.read(metadata)
        if not token:
            raise MeshError(
                "CREDENTIAL_MISSING",
                "No refresh token came with the call, in the request or in a cookie. Log in with CreateSession.",
            )
        self._cookie.check(metadata)
        return await self._in_cookie(await self._sessions.refresh(token), context)

    async def DeleteSession(self, request: pb.DeleteSessionRequest, context: Any) -> empty_pb2.Empty:
        # The access token came in a header, which no other site can send: the cookie needs no protection here.
        token = self._cookie.read(context.invocation_metadata())
        await self._sessions.delete(current().caller, token)
        if token:
            await context.send_initial_metadata((self._cookie.clear(),))
        return empty_pb2.Empty()

    async def GetMe(self, request: pb.GetMeRequest, context: Any) -> pb.User:
        return await self._users.me(current().caller)

    async def ListUsers(self, request: pb.ListUsersRequest, context: Any) -> pb.ListUsersResponse:
        return await self._users.list(request)

    async def SetRoles(self, request: pb.SetRolesRequest, context: Any) -> pb.User:
        return await self._users.set_roles(current().caller, request)

    async def CreateApiKey(self, request: pb.CreateApiKeyRequest, context: Any) -> pb.CreateApiKeyResponse:
        return await self._api_keys.create(current().caller, request)

    async def ListApiKeys(self, request: pb.ListApiKeysRequest, context: Any) -> pb.ListApiKeysResponse:
        return await self._api_keys.list(current().caller, request)

    async def RevokeApiKey(self, request: pb.RevokeApiKeyRequest, context: Any) -> pb.ApiKey:
        return await self._api_keys.revoke(current().caller, request)

    async def RotateApiKey(self, request: pb.RotateApiKeyRequest, context: Any) -> pb.CreateApiKeyResponse:
        return await self._rotation.rotate(current().caller, request)

    async def GetJwks(self, request: pb.GetJwksRequest, context: Any) -> pb.JsonWebKeySet:
        return await self._signing_keys.present()

    async def ResolveApiKey(self, request: pb.ResolveApiKeyRequest, context: Any) -> pb.KeyIdentity:
        return await self._feed.resolve(request.digest or keys.account_digest(request.service_account_id))

    async def ReportKeyUses(self, request: pb.ReportKeyUsesRequest, context: Any) -> empty_pb2.Empty:
        await self._api_keys.used(request.api_key_ids)
        return empty_pb2.Empty()

    async def WatchIdentities(
        self, request: pb.WatchIdentitiesRequest, context: Any
    ) -> AsyncIterator[pb.WatchIdentitiesResponse]:
        # The guard's own heartbeats say less than the feed's. At its end the watcher connects anew, with its version.
        async for item in guard(current(), self._feed.watch(request.after_version), mesh=self._host):
            if isinstance(item, Item):
                yield item.value

    async def _in_cookie(self, session: pb.Session, context: Any) -> pb.Session:
        """The session with its refresh token in a cookie instead."""
        return await in_cookie(self._cookie, session, context)

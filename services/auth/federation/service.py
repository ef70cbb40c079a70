"""The gRPC face of log-ins elsewhere."""

from __future__ import annotations

import time
from typing import Any

from google.protobuf import empty_pb2
from promptmesh.auth.v1 import federation_pb2 as pb
from promptmesh.auth.v1 import federation_pb2_grpc as pb_grpc

from services.auth.cookies import RefreshCookie
from services.auth.federation.begun import LoginCookie
from services.auth.federation.identities import Identities
from services.auth.federation.logins import FederatedLogins
from services.mesh.call import current


class Federation(pb_grpc.FederationServiceServicer):
    """FederationService."""

    def __init__(
        self, logins: FederatedLogins, identities: Identities, *, cookie: LoginCookie, refresh_cookie: RefreshCookie
    ) -> None:
        self._logins, self._identities = logins, identities
        self._cookie, self._refresh_cookie = cookie, refresh_cookie

    async def ListIdentityProviders(
        self, request: pb.ListIdentityProvidersRequest, context: Any
    ) -> pb.ListIdentityProvidersResponse:
        return self._logins.providers()

    async def BeginFederatedLogin(
        self, request: pb.BeginFederatedLoginRequest, context: Any
    ) -> pb.BeginFederatedLoginResponse:
        # A browser's word for the origin does: the page may not have a session yet.
        self._refresh_cookie.check(context.invocation_metadata(), logging_in=True)
        begun = await self._logins.begin(current().caller, request.provider)
        await context.send_initial_metadata((self._cookie.put(begun.cookie),))
        return pb.BeginFederatedLoginResponse(authorization_url=begun.authorization_url)

    async def CompleteFederatedLogin(
        self, request: pb.CompleteFederatedLoginRequest, context: Any
    ) -> pb.CompleteFederatedLoginResponse:
        metadata = context.invocation_metadata()
        self._refresh_cookie.check(metadata, logging_in=True)
        replaced = self._refresh_cookie.read(metadata) if request.cookie else ""
        response = await self._logins.complete(
            current().caller, request, self._cookie.read(metadata), replaced=replaced
        )
        headers = [self._cookie.clear()]
        # Reading a field of a oneof does not set it; a challenge has no refresh token.
        if request.cookie and response.session.refresh_token:
            session = response.session
            lifetime_s = session.refresh_expire_time.seconds - int(time.time())
            headers.append(self._refresh_cookie.put(session.refresh_token, lifetime_s))
            session.refresh_token = ""
        await context.send_initial_metadata(tuple(headers))
        return response

    async def LinkIdentity(self, request: pb.LinkIdentityRequest, context: Any) -> pb.LinkedIdentity:
        return await self._identities.accept(current().caller, request.link_token)

    async def ListIdentities(self, request: pb.ListIdentitiesRequest, context: Any) -> pb.ListIdentitiesResponse:
        return await self._identities.list(current().caller)

    async def UnlinkIdentity(self, request: pb.UnlinkIdentityRequest, context: Any) -> empty_pb2.Empty:
        await self._identities.unlink(current().caller, request.identity_id)
        return empty_pb2.Empty()

"""The gRPC face of AdministrationService."""

from __future__ import annotations

from typing import Any

from promptmesh.auth.v1 import administration_pb2 as pb
from promptmesh.auth.v1 import administration_pb2_grpc as pb_grpc
from promptmesh.auth.v1 import auth_pb2

from services.auth.administration import Administration
from services.mesh.call import current


class AdministrationFace(pb_grpc.AdministrationServiceServicer):
    """AdministrationService."""

    def __init__(self, administration: Administration) -> None:
        self._administration = administration

    async def GetUser(self, request: pb.GetUserRequest, context: Any) -> auth_pb2.User:
        return await self._administration.get(request.user_id)

    async def SuspendUser(self, request: pb.SuspendUserRequest, context: Any) -> auth_pb2.User:
        return await self._administration.suspend(current().caller, request)

    async def RestoreUser(self, request: pb.RestoreUserRequest, context: Any) -> auth_pb2.User:
        return await self._administration.restore(current().caller, request)

    async def EndSessions(self, request: pb.EndSessionsRequest, context: Any) -> pb.EndSessionsResponse:
        return pb.EndSessionsResponse(ended=await self._administration.end_sessions(current().caller, request))

    async def ResetSecondFactor(self, request: pb.ResetSecondFactorRequest, context: Any) -> auth_pb2.User:
        return await self._administration.reset_second_factor(current().caller, request)

    async def RevokeApiKeys(self, request: pb.RevokeApiKeysRequest, context: Any) -> pb.RevokeApiKeysResponse:
        return pb.RevokeApiKeysResponse(revoked=await self._administration.revoke_api_keys(current().caller, request))

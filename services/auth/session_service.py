"""The gRPC face of sessions: the methods of AccountService that are about them.

The whole service (account_service.py) takes them over by inheriting.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import empty_pb2
from promptmesh.auth.v1 import accounts_pb2 as pb

from services.auth.session_list import SessionList
from services.mesh.call import current


class SessionMethods:
    """ListSessions, RevokeSession and RevokeOtherSessions of AccountService."""

    def __init__(self, session_list: SessionList) -> None:
        self._session_list = session_list

    async def ListSessions(self, request: pb.ListSessionsRequest, context: Any) -> pb.ListSessionsResponse:
        return await self._session_list.list(current().caller, request)

    async def RevokeSession(self, request: pb.RevokeSessionRequest, context: Any) -> empty_pb2.Empty:
        await self._session_list.revoke(current().caller, request.session_id)
        return empty_pb2.Empty()

    async def RevokeOtherSessions(
        self, request: pb.RevokeOtherSessionsRequest, context: Any
    ) -> pb.RevokeOtherSessionsResponse:
        return pb.RevokeOtherSessionsResponse(ended=await self._session_list.revoke_others(current().caller))

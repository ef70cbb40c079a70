"""The gRPC face of sessions: the methods of AccountService that are about them.

The whole service takes the methods over by inheriting; until it is there, `AccountSessions` stands for it and refuses
what is not built.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from google.protobuf import empty_pb2
from promptmesh.auth.v1 import accounts_pb2 as pb
from promptmesh.auth.v1 import accounts_pb2_grpc

from services.auth.session_list import SessionList
from services.mesh.call import current
from services.mesh.errors import MeshError


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


class AccountSessions(SessionMethods, accounts_pb2_grpc.AccountServiceServicer):
    """AccountService, of which only sessions are served."""


async def _not_built(self: object, request: object, context: Any) -> None:
    raise MeshError("METHOD_UNKNOWN", "This method is not served yet.")


def _refuse_the_rest(servicer: type, own: type, methods: Iterable[str]) -> None:
    for name in methods:
        if not hasattr(own, name):
            setattr(servicer, name, _not_built)


_refuse_the_rest(AccountSessions, SessionMethods, pb.DESCRIPTOR.services_by_name["AccountService"].methods_by_name)

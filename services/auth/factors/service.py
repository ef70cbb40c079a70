"""The gRPC face of second factors."""

from __future__ import annotations

from typing import Any

from google.protobuf import empty_pb2
from promptmesh.auth.v1 import auth_pb2
from promptmesh.auth.v1 import factors_pb2 as pb
from promptmesh.auth.v1 import factors_pb2_grpc as pb_grpc

from services.auth.cookies import RefreshCookie, in_cookie
from services.auth.factors.logins import Logins
from services.auth.factors.setup import Setup
from services.mesh.call import current


class Factors(pb_grpc.FactorServiceServicer):
    """FactorService."""

    def __init__(self, setup: Setup, logins: Logins, *, cookie: RefreshCookie) -> None:
        self._setup, self._logins, self._cookie = setup, logins, cookie

    async def ListFactors(self, request: pb.ListFactorsRequest, context: Any) -> pb.ListFactorsResponse:
        return await self._setup.list(current().caller)

    async def BeginTotp(self, request: pb.BeginTotpRequest, context: Any) -> pb.BeginTotpResponse:
        return await self._setup.begin_totp(current().caller)

    async def CreateTotp(self, request: pb.CreateTotpRequest, context: Any) -> pb.CreateFactorResponse:
        return await self._setup.create_totp(current().caller, request)

    async def BeginPasskey(self, request: pb.BeginPasskeyRequest, context: Any) -> pb.BeginPasskeyResponse:
        return await self._setup.begin_passkey(current().caller)

    async def CreatePasskey(self, request: pb.CreatePasskeyRequest, context: Any) -> pb.CreateFactorResponse:
        return await self._setup.create_passkey(current().caller, request)

    async def DeleteFactor(self, request: pb.DeleteFactorRequest, context: Any) -> empty_pb2.Empty:
        await self._setup.delete(current().caller, request.factor_id)
        return empty_pb2.Empty()

    async def CreateRecoveryCodes(
        self, request: pb.CreateRecoveryCodesRequest, context: Any
    ) -> pb.CreateRecoveryCodesResponse:
        return await self._setup.renew_codes(current().caller)

    async def BeginPasskeyProof(
        self, request: pb.BeginPasskeyProofRequest, context: Any
    ) -> pb.BeginPasskeyProofResponse:
        return await self._logins.begin_passkey(current().caller)

    async def CompleteSession(self, request: pb.CompleteSessionRequest, context: Any) -> auth_pb2.Session:
        if not request.cookie:
            return await self._logins.complete(request)
        metadata = context.invocation_metadata()
        self._cookie.check(metadata, logging_in=True)  # no other site may log anybody in
        session = await self._logins.complete(request, self._cookie.read(metadata))
        return await in_cookie(self._cookie, session, context)

    async def ConfirmSession(self, request: pb.ConfirmSessionRequest, context: Any) -> auth_pb2.Session:
        return await self._logins.confirm(current().caller, request)

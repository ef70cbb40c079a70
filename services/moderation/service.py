"""The gRPC face: each method hands on to the file that is about it."""

from __future__ import annotations

from typing import Any

from promptmesh.moderation.v1 import moderation_pb2 as pb
from promptmesh.moderation.v1 import moderation_pb2_grpc as pb_grpc

from services.mesh.call import current
from services.mesh.errors import FieldViolation, MeshError
from services.moderation.cases import Cases
from services.moderation.policies import Policies
from services.moderation.wire import screening_of, texts_of

#: Together, the texts of one BatchScreen hold the event loop for some ten milliseconds and no longer.
BATCH_CHARS_MAX = 131_072


class Moderation(pb_grpc.ModerationServiceServicer):
    """Screens text and serves the moderators' queue."""

    def __init__(self, policies: Policies, cases: Cases) -> None:
        self._policies = policies
        self._cases = cases

    async def Screen(self, request: pb.ScreenRequest, context: Any) -> pb.Screening:
        (result,) = await self._policies.screen(texts_of([request]))
        return screening_of(result)

    async def BatchScreen(self, request: pb.BatchScreenRequest, context: Any) -> pb.BatchScreenResponse:
        chars = sum(len(one.text) for one in request.requests)
        if chars > BATCH_CHARS_MAX:
            fault = f"hold {chars:,} characters of text together; at most {BATCH_CHARS_MAX:,} are allowed"
            raise MeshError("INVALID_FIELD", f"The requests {fault}.", violations=[FieldViolation("requests", fault)])
        results = await self._policies.screen(texts_of(request.requests))
        return pb.BatchScreenResponse(screenings=[screening_of(one) for one in results])

    async def ListCases(self, request: pb.ListCasesRequest, context: Any) -> pb.ListCasesResponse:
        return await self._cases.list(request)

    async def GetCase(self, request: pb.GetCaseRequest, context: Any) -> pb.Case:
        return await self._cases.get(request)

    async def ResolveCase(self, request: pb.ResolveCaseRequest, context: Any) -> pb.Case:
        return await self._cases.resolve(request)


class PolicyAdmin(pb_grpc.PolicyServiceServicer):
    """Applies and shows the policy."""

    def __init__(self, policies: Policies) -> None:
        self._policies = policies

    async def ApplyPolicy(self, request: pb.ApplyPolicyRequest, context: Any) -> pb.PolicyVersion:
        return await self._policies.apply(
            request.yaml, author_id=current().caller.user_id, validate_only=request.validate_only
        )

    async def GetPolicy(self, request: pb.GetPolicyRequest, context: Any) -> pb.PolicyVersion:
        return self._policies.present

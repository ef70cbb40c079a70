"""The gRPC face of plans."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from promptmesh.auth.v1 import plans_pb2 as pb
from promptmesh.auth.v1 import plans_pb2_grpc as pb_grpc

from services.auth.plans.versions import Plans
from services.mesh.call import current
from services.mesh.streams import GuardHost, Item, guard


class PlanAdmin(pb_grpc.PlanServiceServicer):
    """PlanService. heartbeat_s: after so much silence the feed says once more what holds."""

    def __init__(self, plans: Plans, host: GuardHost, *, heartbeat_s: float) -> None:
        self._plans, self._host, self._heartbeat_s = plans, host, heartbeat_s

    async def ListPlans(self, request: pb.ListPlansRequest, context: Any) -> pb.Plans:
        return self._plans.present

    async def ApplyPlans(self, request: pb.ApplyPlansRequest, context: Any) -> pb.Plans:
        return await self._plans.apply(request.yaml, current().caller.user_id, validate_only=request.validate_only)

    async def SetPlan(self, request: pb.SetPlanRequest, context: Any) -> pb.SetPlanResponse:
        return pb.SetPlanResponse(plan=await self._plans.set_plan(request))

    async def WatchPlans(self, request: pb.WatchPlansRequest, context: Any) -> AsyncIterator[pb.Plans]:
        feed = self._plans.watch(request.after_version, self._heartbeat_s)
        # At its end the watcher connects anew, with its version.
        async for item in guard(current(), feed, mesh=self._host):
            if isinstance(item, Item):
                yield item.value

"""`inference.v1.LimitService`: what administrators set, and what is left for a caller. The contract says who may."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import asyncpg
import grpc
from google.protobuf import empty_pb2
from promptmesh.inference.v1 import limits_pb2 as pb
from promptmesh.inference.v1 import limits_pb2_grpc as pb_grpc

from services.inference.limits.limits import Limits
from services.inference.limits.model import KIND_NAMES, ORG, VALUE_NAMES, LimitValues
from services.inference.limits.overrides import Overrides
from services.mesh.call import current
from services.mesh.errors import MeshError
from services.mesh.paging import PageTokens, page_size

PAGE_SIZE_DEFAULT = 100
NIL_ID = "00000000-0000-0000-0000-000000000000"
_FILTERS = {"list": "limits"}


class LimitAdmin(pb_grpc.LimitServiceServicer):
    """`inference.v1.LimitService`."""

    def __init__(
        self, limits: Limits, overrides: Overrides, pages: PageTokens, plan_name: Callable[[str], str] = str
    ) -> None:
        """plan_name: the name of the plan in force for what a caller brings, which is empty for the default one."""
        self._limits = limits
        self._overrides = overrides
        self._pages = pages
        self._plan_name = plan_name

    async def SetLimits(self, request: pb.SetLimitsRequest, context: grpc.aio.ServicerContext[Any, Any]) -> pb.Limits:
        asked = request.limits
        set_fields = {descriptor.name: value for descriptor, value in asked.ListFields()}
        values = LimitValues(**{name: set_fields.get(name) for name in VALUE_NAMES})
        subject_id = asked.subject_id.lower()
        org_id = subject_id if asked.kind == ORG else current().caller.org_id or NIL_ID
        return _message(await self._overrides.set(asked.kind, subject_id, org_id, values))

    async def DeleteLimits(
        self, request: pb.DeleteLimitsRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> empty_pb2.Empty:
        if not await self._overrides.remove(request.kind, request.subject_id.lower()):
            subject = f"{KIND_NAMES[request.kind]}:{request.subject_id}"
            raise MeshError(
                "LIMITS_NOT_FOUND",
                f"No limits are set for {subject}; its plan and the configuration's defaults hold for it already.",
                metadata={"subject": subject},
            )
        return empty_pb2.Empty()

    async def ListLimits(
        self, request: pb.ListLimitsRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.ListLimitsResponse:
        cursor = self._pages.decode(request.page_token, _FILTERS)
        after = (0, NIL_ID) if cursor is None else (int(cursor[0]), str(cursor[1]))
        size = page_size(request.page_size, PAGE_SIZE_DEFAULT)
        rows = await self._overrides.page(after, size + 1)
        token = ""
        if len(rows) > size:
            rows = rows[:size]
            token = self._pages.encode([rows[-1]["kind"], rows[-1]["subject_id"]], _FILTERS)
        return pb.ListLimitsResponse(limits=[_message(row) for row in rows], next_page_token=token)

    async def GetRemaining(
        self, request: pb.GetRemainingRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.GetRemainingResponse:
        caller = current().caller
        response = pb.GetRemainingResponse(plan=self._plan_name(caller.plan))
        for one in await self._limits.left(caller):
            message = response.remaining.add(
                kind=one.kind,
                subject_id=one.subject_id,
                limit=one.limit,
                limit_value=one.limit_value,
                remaining=one.remaining,
                source=cast(pb.LimitSource.ValueType, one.source),
            )
            if one.reset_time:
                message.reset_time.FromSeconds(one.reset_time)
        return response


def _message(row: asyncpg.Record) -> pb.Limits:
    message = pb.Limits(
        kind=row["kind"],
        subject_id=row["subject_id"],
        **{name: row[name] for name in VALUE_NAMES if row[name] is not None},
    )
    message.update_time.FromDatetime(row["update_time"])
    return message

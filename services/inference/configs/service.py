"""`inference.v1.ConfigService`."""

from __future__ import annotations

from typing import Any

import grpc
from promptmesh.inference.v1 import inference_pb2 as pb
from promptmesh.inference.v1 import inference_pb2_grpc as pb_grpc

from services.inference.configs.versions import Configs
from services.mesh.call import current
from services.mesh.paging import PageTokens

PAGE_SIZE_DEFAULT = 20
PAGE_FILTERS = {"list": "config versions"}


class ConfigAdmin(pb_grpc.ConfigServiceServicer):
    """For people who administer the mesh."""

    def __init__(self, configs: Configs, page_tokens: PageTokens) -> None:
        self._configs = configs
        self._page_tokens = page_tokens

    async def ApplyConfig(
        self, request: pb.ApplyConfigRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.ConfigVersion:
        author_id = current().caller.user_id or None
        return await self._configs.apply(request.yaml, author_id, validate_only=request.validate_only)

    async def ListConfigVersions(
        self, request: pb.ListConfigVersionsRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.ListConfigVersionsResponse:
        """A token carries the last version of its page. Long texts make pages that are shorter than asked for."""
        cursor = self._page_tokens.decode(request.page_token, PAGE_FILTERS)
        page = await self._configs.page(
            before_version=int(cursor[0]) if cursor else None, size=request.page_size or PAGE_SIZE_DEFAULT
        )
        response = pb.ListConfigVersionsResponse(versions=page.versions)
        if page.more:
            response.next_page_token = self._page_tokens.encode([page.versions[-1].version], PAGE_FILTERS)
        return response

    async def RollbackConfig(
        self, request: pb.RollbackConfigRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.ConfigVersion:
        return await self._configs.roll_back(request.version, current().caller.user_id or None)

    async def GetConfig(
        self, request: pb.GetConfigRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.ConfigVersion:
        return await self._configs.current()

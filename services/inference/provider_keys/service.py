"""`inference.v1.ProviderKeyService`."""

from __future__ import annotations

from typing import Any

import grpc
from google.protobuf import empty_pb2
from promptmesh.inference.v1 import provider_keys_pb2 as pb
from promptmesh.inference.v1 import provider_keys_pb2_grpc as pb_grpc

from services.inference.provider_keys.keys import ProviderKeys
from services.mesh.call import current


class ProviderKeyAdmin(pb_grpc.ProviderKeyServiceServicer):
    """For people who administer the mesh."""

    def __init__(self, keys: ProviderKeys) -> None:
        self._keys = keys

    async def CreateProviderKey(
        self, request: pb.CreateProviderKeyRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.ProviderKey:
        author_id = current().caller.user_id
        return await self._keys.add(request.provider, request.secret, request.display_name, author_id)

    async def ListProviderKeys(
        self, request: pb.ListProviderKeysRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.ListProviderKeysResponse:
        return pb.ListProviderKeysResponse(provider_keys=await self._keys.listed(request.provider))

    async def DeleteProviderKey(
        self, request: pb.DeleteProviderKeyRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> empty_pb2.Empty:
        await self._keys.remove(request.provider_key_id)
        return empty_pb2.Empty()

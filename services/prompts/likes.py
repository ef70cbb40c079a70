"""LikePost and UnlikePost."""

from __future__ import annotations

from typing import Any

from promptmesh.prompts.v1 import posts_pb2

from services.mesh.call import current
from services.prompts.rules import require_visible
from services.prompts.store import PostStore


class Likes:
    """Part of PostService: likes of published posts."""

    def __init__(self, store: PostStore) -> None:
        self._store = store

    async def LikePost(self, request: posts_pb2.LikePostRequest, context: Any) -> posts_pb2.Post:
        """Likes a published post; again changes nothing."""
        await self._store.like(current().caller, request.post_id)
        return await self._seen(request.post_id)

    async def UnlikePost(self, request: posts_pb2.UnlikePostRequest, context: Any) -> posts_pb2.Post:
        """Takes a like back; where there is none changes nothing."""
        await self._store.unlike(current().caller, request.post_id)
        return await self._seen(request.post_id)

    async def _seen(self, post_id: str) -> posts_pb2.Post:
        caller = current().caller
        return require_visible(caller, post_id, await self._store.get(caller, post_id))

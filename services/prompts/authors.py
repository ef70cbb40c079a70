"""GetAuthor: what everyone may know of who has published something."""

from __future__ import annotations

from typing import Any

from promptmesh.prompts.v1 import posts_pb2

from services.mesh.errors import MeshError
from services.prompts.store import PostStore


class Authors:
    """Part of PostService: authors, as their published posts tell of them."""

    def __init__(self, store: PostStore, *, posts_counted_max: int) -> None:
        """posts_counted_max: over how many posts counts go; beyond, the answer says that there are more."""
        self._store = store
        self._posts_counted_max = posts_counted_max

    async def GetAuthor(self, request: posts_pb2.GetAuthorRequest, context: Any) -> posts_pb2.Author:
        """Reads an author. Who has published nothing is told of like one who does not exist."""
        row = await self._store.author(request.author_id, self._posts_counted_max)
        if row is None:
            raise MeshError(
                "AUTHOR_NOT_FOUND",
                f"Author {request.author_id} does not exist, or has published nothing.",
                metadata={"author_id": request.author_id},
            )
        author = posts_pb2.Author(
            author_id=row["author_id"],
            author_name=row["author_name"],
            published_count=row["published_count"],
            like_count=row["like_count"],
            more=row["more"],
        )
        author.first_publish_time.FromDatetime(row["first_publish_time"])
        return author

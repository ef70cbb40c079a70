"""Who may do what with a post, and the errors that say so."""

from __future__ import annotations

from typing import Never

import asyncpg
from promptmesh.prompts.v1 import posts_pb2

from services.mesh.call import Caller
from services.mesh.errors import MeshError
from services.prompts.views import etag_of, is_author, view_for


def not_found(post_id: str) -> MeshError:
    """The same words for a post that is not there and one that the caller may not see."""
    return MeshError(
        "POST_NOT_FOUND", f"Post {post_id} does not exist, or you may not see it.", metadata={"post_id": post_id}
    )


def require_visible(caller: Caller, post_id: str, row: asyncpg.Record | None) -> posts_pb2.Post:
    """The post as the caller may see it. Raises POST_NOT_FOUND."""
    view = None if row is None else view_for(caller, row)
    if view is None:
        raise not_found(post_id)
    return view


def require_author(caller: Caller, post_id: str, row: asyncpg.Record | None) -> asyncpg.Record:
    """The row, if the caller wrote the post for the organisation that they act for.

    Raises NOT_OWNER to who may see it, POST_NOT_FOUND to others.
    """
    if row is not None and is_author(caller, row["author_id"], row["org_id"]):
        return row
    require_visible(caller, post_id, row)
    raise MeshError(
        "NOT_OWNER",
        "Only its author, acting for the organisation that it belongs to, may change or delete a post.",
        metadata={"post_id": post_id},
    )


def require_etag(row: asyncpg.Record, etag: str) -> None:
    """Raises ETAG_MISMATCH unless the etag is the post's present one, or none was given."""
    present = etag_of(row["revision"], row["state"])
    if etag and etag != present:
        raise MeshError(
            "ETAG_MISMATCH",
            "The post was changed since it was read. Read it again, look at what changed, and send its new etag.",
            metadata={"post_id": row["post_id"], "etag": present},
        )


def refuse_reused(request_id: str) -> Never:
    """Raises REQUEST_ID_REUSED."""
    raise MeshError(
        "REQUEST_ID_REUSED",
        f"You created another post with request_id {request_id}. Send the same title, body and tags to get that post, "
        "or a new request_id to make another one.",
        metadata={"request_id": request_id},
    )

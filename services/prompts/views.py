"""From a row of `post_records` to the Post that somebody may see, and its etag."""

from __future__ import annotations

import base64
import struct
from datetime import datetime

import asyncpg
import orjson
from promptmesh.access.v1 import access_pb2
from promptmesh.prompts.v1 import posts_pb2

from services.mesh.call import Caller

# Roles that see every post in every state.
OVERSEERS = (access_pb2.ROLE_MODERATOR, access_pb2.ROLE_ADMIN, access_pb2.ROLE_AUDITOR)
_ETAG = struct.Struct(">BiB")
_ETAG_FORM = 1


def sees_latest(caller: Caller, author_id: str, org_id: str) -> bool:
    """Whether the caller sees posts of an author in an organisation in any state."""
    return is_author(caller, author_id, org_id) or caller.is_(*OVERSEERS)


def is_author(caller: Caller, author_id: str, org_id: str) -> bool:
    """Whether the caller is that author and acts for the organisation that the post belongs to: who left a team has no
    hand in its posts any more. Nobody in particular is the author of nothing."""
    return bool(author_id) and caller.user_id == author_id and caller.org_id == org_id


def view_for(caller: Caller, row: asyncpg.Record) -> posts_pb2.Post | None:
    """The post as the caller may see it: the latest revision, the published one, or None."""
    if sees_latest(caller, row["author_id"], row["org_id"]):
        return latest_view(row)
    return published_view(row)


def latest_view(row: asyncpg.Record) -> posts_pb2.Post:
    """The post with its latest revision, as its author and overseers see it."""
    post = _common(row)
    post.title, post.body = row["title"], row["body"]
    post.tags.extend(row["tags"])
    post.state = row["state"]
    post.revision = row["revision"]
    set_time(post, "update_time", row["update_time"])
    if row["reasons"] is not None:
        for reason in orjson.loads(row["reasons"]):
            post.reasons.add(category=reason["category"], message=reason["message"])
    post.etag = etag_of(post.revision, post.state)
    return post


def published_view(row: asyncpg.Record) -> posts_pb2.Post | None:
    """The post as everyone sees it, or None. Says nothing of a later revision that waits or was refused."""
    published_revision = row["published_revision"]
    if not published_revision:
        return None
    if published_revision == row["revision"]:
        return latest_view(row)
    post = _common(row)
    post.title, post.body = row["published_title"], row["published_body"]
    post.tags.extend(row["published_tags"])
    post.state = posts_pb2.POST_STATE_PUBLISHED
    post.revision = published_revision
    set_time(post, "update_time", row["shown_time"])
    post.etag = etag_of(post.revision, post.state)
    return post


def etag_of(revision: int, state: int) -> str:
    """Opaque, 8 characters. Of revision and state alone: an example that arrives while its author edits the post makes
    their edit no stale one."""
    return base64.urlsafe_b64encode(_ETAG.pack(_ETAG_FORM, revision, state)).decode()


def set_time(post: posts_pb2.Post, field: str, moment: datetime | None) -> None:
    """Sets a time of the post; None leaves it unset."""
    if moment is not None:
        getattr(post, field).FromDatetime(moment)


def _common(row: asyncpg.Record) -> posts_pb2.Post:
    post = posts_pb2.Post(
        post_id=row["post_id"],
        org_id=row["org_id"],
        author_id=row["author_id"],
        author_name=row["author_name"],
        published_revision=row["published_revision"],
        like_count=row["like_count"],
        liked=row["liked"],
    )
    if row["example"] is not None:
        post.example.ParseFromString(row["example"])
    set_time(post, "create_time", row["create_time"])
    set_time(post, "publish_time", row["publish_time"])
    return post

"""The events that tell of a post's changes, made from its row."""

from __future__ import annotations

import asyncpg
from promptmesh.prompts.v1 import events_pb2, posts_pb2

from services.mesh.events import Event, NewEvent
from services.prompts.views import etag_of, latest_view, published_view, set_time


def changed(row: asyncpg.Record, change: events_pb2.PostChange.ValueType) -> NewEvent:
    """PostChanged, of a row that was read without anybody's likes."""
    latest = latest_view(row)
    published = latest if row["published_revision"] == row["revision"] else published_view(row)
    payload = events_pb2.PostChanged(change=change, latest=latest, published=published)
    return NewEvent(row["org_id"], row["post_id"], row["version"], payload)


def submitted(row: asyncpg.Record) -> NewEvent:
    """PostSubmitted of the latest revision."""
    payload = events_pb2.PostSubmitted(
        post_id=row["post_id"],
        revision=row["revision"],
        author_id=row["author_id"],
        author_name=row["author_name"],
        title=row["title"],
        body=row["body"],
        tags=row["tags"],
    )
    return NewEvent(row["org_id"], row["post_id"], row["version"], payload)


def example_requested(row: asyncpg.Record) -> NewEvent:
    """ExampleRequested of a revision that was just published, which is the latest."""
    payload = events_pb2.ExampleRequested(
        post_id=row["post_id"], revision=row["published_revision"], title=row["title"], body=row["body"]
    )
    return NewEvent(row["org_id"], row["post_id"], row["version"], payload)


def deleted(row: asyncpg.Record) -> NewEvent:
    """PostDeleted, of the row as it was before."""
    shown = published_view(row)
    payload = events_pb2.PostDeleted(
        post_id=row["post_id"],
        author_id=row["author_id"],
        published_tags=() if shown is None else shown.tags,
        published_revision=row["published_revision"],
    )
    return NewEvent(row["org_id"], row["post_id"], row["version"] + 1, payload)


def first_submitted(post: posts_pb2.Post) -> NewEvent:
    """PostSubmitted of a post that is being created. It is the only event of a creation: `created_post` makes the
    change that its author's watchers see out of it, which saves a row and a copy of the body on the hot path."""
    payload = events_pb2.PostSubmitted(
        post_id=post.post_id,
        revision=post.revision,
        author_id=post.author_id,
        author_name=post.author_name,
        title=post.title,
        body=post.body,
        tags=post.tags,
    )
    return NewEvent(post.org_id, post.post_id, 1, payload)


def new_post() -> posts_pb2.Post:
    """A post as it begins: revision 1, waiting for moderation; its content, author and times are to be set."""
    return posts_pb2.Post(state=posts_pb2.POST_STATE_PENDING, revision=1, etag=etag_of(1, posts_pb2.POST_STATE_PENDING))


def created_post(event: Event, payload: events_pb2.PostSubmitted) -> posts_pb2.Post:
    """The post that a first PostSubmitted tells of, as its author sees it."""
    post = new_post()
    post.post_id, post.org_id = payload.post_id, event.org_id
    post.author_id, post.author_name = payload.author_id, payload.author_name
    post.title, post.body = payload.title, payload.body
    post.tags.extend(payload.tags)
    set_time(post, "create_time", event.create_time)
    post.update_time.CopyFrom(post.create_time)
    return post

"""CreatePost, GetPost, ListPosts, UpdatePost, DeletePost."""

from __future__ import annotations

from typing import Any

from google.protobuf import empty_pb2
from promptmesh.prompts.v1 import posts_pb2

from services.mesh.call import current
from services.mesh.errors import FieldViolation, MeshError
from services.mesh.paging import PageTokens, page_size
from services.prompts.content import Content
from services.prompts.masks import edit_of
from services.prompts.quotas import PostQuotas, Take
from services.prompts.rules import require_visible
from services.prompts.store import FIRST_PAGE, PostStore
from services.prompts.views import latest_view, published_view

PAGE_SIZE = 20  # where the caller names none; the proto bounds what they name
_STATES_OF_OTHERS = "One's own posts alone are listed by state: set author_id to your own user id, or leave states out."


class Posts:
    """Part of PostService: the standard methods."""

    def __init__(self, store: PostStore, page_tokens: PageTokens, quotas: PostQuotas) -> None:
        self._store = store
        self._quotas = quotas
        self._page_tokens = page_tokens

    async def CreatePost(self, request: posts_pb2.CreatePostRequest, context: Any) -> posts_pb2.Post:
        """Creates a post that waits for moderation."""
        content = Content(request.title, request.body, tuple(request.tags))
        caller = current().caller
        take = self._quotas.of(caller)
        post = await self._store.create(caller, content, request.request_id, take)
        await _tell_left(context, take)
        return post

    async def GetPost(self, request: posts_pb2.GetPostRequest, context: Any) -> posts_pb2.Post:
        """Reads a post as the caller may see it."""
        caller = current().caller
        return require_visible(caller, request.post_id, await self._store.get(caller, request.post_id))

    async def ListPosts(self, request: posts_pb2.ListPostsRequest, context: Any) -> posts_pb2.ListPostsResponse:
        """Lists what is published, newest first; an author's own with all that is not."""
        caller = current().caller
        author_id = request.author_id.lower()
        own = bool(author_id) and author_id == caller.user_id
        if request.states and not own:
            raise MeshError(
                "INVALID_FIELD", _STATES_OF_OTHERS, violations=[FieldViolation("states", _STATES_OF_OTHERS)]
            )
        limit = page_size(request.page_size, PAGE_SIZE)
        states = sorted(request.states)
        filters: dict[str, Any] = {"list": "posts", "author_id": author_id, "tag": request.tag}
        filters |= {"own": own and caller.org_id} | ({"states": states} if states else {})
        cursor = self._page_tokens.decode(request.page_token, filters)
        after = str(cursor[0]) if cursor else FIRST_PAGE
        rows = await self._store.list_page(
            caller, author_id=author_id, tag=request.tag, states=states, after=after, limit=limit + 1
        )
        posts = [latest_view(row) if own else published_view(row) for row in rows[:limit]]
        return posts_pb2.ListPostsResponse(
            posts=[post for post in posts if post is not None],
            next_page_token=self._page_tokens.encode([rows[limit - 1]["post_id"]], filters)
            if len(rows) > limit
            else "",
        )

    async def UpdatePost(self, request: posts_pb2.UpdatePostRequest, context: Any) -> posts_pb2.Post:
        """Makes a new revision; the published one stays until moderation has allowed it."""
        edit = edit_of(request)
        caller = current().caller
        take = self._quotas.of(caller)
        post = await self._store.update(caller, request.post.post_id, request.post.etag, edit, take)
        await _tell_left(context, take)
        return post

    async def DeletePost(self, request: posts_pb2.DeletePostRequest, context: Any) -> empty_pb2.Empty:
        """Deletes a post for everyone, at once."""
        await self._store.delete(current().caller, request.post_id, request.etag)
        return empty_pb2.Empty()


async def _tell_left(context: Any, take: Take | None) -> None:
    if take is not None and take.headers:
        await context.send_initial_metadata(take.headers)

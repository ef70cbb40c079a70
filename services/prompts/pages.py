"""GetPostPage: the web app's page of a post, as browsers and link previews ask for it."""

from __future__ import annotations

import re
from typing import Any

from google.api.httpbody_pb2 import HttpBody
from promptmesh.prompts.v1 import posts_pb2

from services.mesh.call import ANONYMOUS
from services.mesh.dependencies import is_away
from services.mesh.telemetry.logs import get_logger
from services.prompts.shell import Shell
from services.prompts.store import PostStore
from services.prompts.views import published_view

log = get_logger()

STATUS_KEY = "x-promptmesh-http-status"  # initial metadata; the edge makes `:status` of it
CONTENT_TYPE = "text/html; charset=utf-8"
_POST_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


class Pages:
    """Part of PostService: pages of posts. They say what everyone may see, whoever asks."""

    def __init__(self, store: PostStore, shell: Shell, *, public_url: str) -> None:
        """public_url: of the edge, with which links to posts begin."""
        self._store = store
        self._shell = shell
        self._public_url = public_url

    async def GetPostPage(self, request: posts_pb2.GetPostPageRequest, context: Any) -> HttpBody:
        """The page of a published post; else the app's bare page: 404, or 503 while PostgreSQL is away."""
        try:
            post = await self._published(request.post_id)
        except Exception as error:
            if not is_away(error):
                raise
            log.warning("a post's page goes out without its post", error=f"{type(error).__name__}: {error}")
            return await self._bare("503", context)
        if post is None:
            return await self._bare("404", context)
        return HttpBody(
            content_type=CONTENT_TYPE, data=self._shell.of_post(post, f"{self._public_url}/p/{post.post_id}")
        )

    async def _published(self, post_id: str) -> posts_pb2.Post | None:
        if not _POST_ID.fullmatch(post_id):
            return None
        row = await self._store.get(ANONYMOUS, post_id)
        return None if row is None else published_view(row)

    async def _bare(self, status: str, context: Any) -> HttpBody:
        await context.send_initial_metadata(((STATUS_KEY, status),))
        return HttpBody(content_type=CONTENT_TYPE, data=self._shell.of_nothing())

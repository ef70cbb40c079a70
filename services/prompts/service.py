"""PostService as a whole; its methods are in posts.py, likes.py, authors.py, pages.py and watch.py."""

from __future__ import annotations

from promptmesh.prompts.v1 import posts_pb2_grpc

from services.mesh.events import Tail
from services.mesh.paging import PageTokens
from services.mesh.streams import GuardHost
from services.prompts.authors import Authors
from services.prompts.example_buffer import ExampleBuffer
from services.prompts.follower import Follower
from services.prompts.likes import Likes
from services.prompts.pages import Pages
from services.prompts.places import Places
from services.prompts.posts import Posts
from services.prompts.quotas import PostQuotas
from services.prompts.shell import Shell
from services.prompts.store import PostStore
from services.prompts.waiters import Waiters
from services.prompts.watch import Watches


class PostService(Posts, Likes, Authors, Pages, Watches, posts_pb2_grpc.PostServiceServicer):
    """All methods of promptmesh.prompts.v1.PostService."""

    def __init__(
        self,
        store: PostStore,
        page_tokens: PageTokens,
        *,
        quotas: PostQuotas,
        host: GuardHost,
        tail: Tail,
        follower: Follower,
        buffer: ExampleBuffer,
        waiters: Waiters,
        places: Places,
        shell: Shell,
        public_url: str,
        author_posts_counted_max: int,
    ) -> None:
        """See Posts, Likes, Authors, Pages and Watches."""
        Posts.__init__(self, store, page_tokens, quotas)
        Likes.__init__(self, store)
        Authors.__init__(self, store, posts_counted_max=author_posts_counted_max)
        Pages.__init__(self, store, shell, public_url=public_url)
        Watches.__init__(self, host, store, tail, follower, buffer, waiters, places=places)

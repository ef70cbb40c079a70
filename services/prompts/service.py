"""PostService as a whole; its methods are in posts.py, likes.py and watch.py."""

from __future__ import annotations

from promptmesh.prompts.v1 import posts_pb2_grpc

from services.mesh.events import Tail
from services.mesh.paging import PageTokens
from services.mesh.streams import GuardHost
from services.prompts.example_buffer import ExampleBuffer
from services.prompts.follower import Follower
from services.prompts.likes import Likes
from services.prompts.places import Places
from services.prompts.posts import Posts
from services.prompts.store import PostStore
from services.prompts.waiters import Waiters
from services.prompts.watch import Watches


class PostService(Posts, Likes, Watches, posts_pb2_grpc.PostServiceServicer):
    """All methods of promptmesh.prompts.v1.PostService."""

    def __init__(
        self,
        store: PostStore,
        page_tokens: PageTokens,
        *,
        host: GuardHost,
        tail: Tail,
        follower: Follower,
        buffer: ExampleBuffer,
        waiters: Waiters,
        places: Places,
    ) -> None:
        """See Posts, Likes and Watches."""
        Posts.__init__(self, store, page_tokens)
        Likes.__init__(self, store)
        Watches.__init__(self, host, store, tail, follower, buffer, waiters, places=places)

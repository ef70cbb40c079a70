"""The prompts service, as a list of its parts."""

from __future__ import annotations

from promptmesh.auth.v1.events_pb2 import UserRenamed
from promptmesh.inference.v1.events_pb2 import ExampleFinished
from promptmesh.moderation.v1.events_pb2 import PostScreened
from promptmesh.prompts.v1 import posts_pb2_grpc

from services.mesh.events import TailOptions
from services.mesh.events.erasure import EVENT_TYPES, Erasures
from services.mesh.live import LiveStream
from services.mesh.run import Mesh
from services.prompts.example_buffer import ExampleBuffer
from services.prompts.examples import ExampleHandler
from services.prompts.follower import Follower
from services.prompts.people import PostsOfGone, RenamedHandler
from services.prompts.places import Places
from services.prompts.quotas import PostQuotas
from services.prompts.screened import ScreenedHandler
from services.prompts.service import PostService
from services.prompts.settings import PromptsSettings
from services.prompts.shell import Shell
from services.prompts.store import PostStore
from services.prompts.waiters import Waiters

SERVES = (4, 4)  # lowest and highest of our migrations that this code serves


async def main(mesh: Mesh[PromptsSettings]) -> None:
    """Serves until the process is told to stop."""
    settings = mesh.settings
    database = await mesh.open_database(serves=SERVES)
    redis = await mesh.open_redis()
    access = await mesh.follow_identities()
    quotas = PostQuotas(mesh.follow_plans())
    mesh.background("post counts", lambda: quotas.purge(database))
    outbox = mesh.outbox(database)
    tail = mesh.tail(
        outbox,
        TailOptions(
            max_subscribers=settings.watch_streams_max + 1,  # one is the follower
            resume_s=settings.watch_resume_s,
            catch_up_reads_max=settings.watch_catch_up_reads_max,
        ),
    )
    store = PostStore(database, outbox)

    waiters = Waiters()
    buffer = ExampleBuffer(
        posts_max=settings.example_buffer_posts_max,
        bytes_max=settings.example_buffer_bytes_max,
        age_s=settings.example_buffer_age_s,
        on_text=waiters.text,
    )
    follower = Follower(tail, LiveStream(redis, "examples"), buffer, waiters)
    mesh.background("follow_log", follower.follow_log)
    mesh.background("follow_pieces", follower.follow_pieces)
    mesh.ready_when("log", follower.ready.wait)

    mesh.consume("moderation", group="prompts.screened", types=[PostScreened], handle=ScreenedHandler(outbox))
    mesh.consume("inference", group="prompts.examples", types=[ExampleFinished], handle=ExampleHandler(outbox))
    mesh.consume("auth", group="prompts.renamed", types=[UserRenamed], handle=RenamedHandler())
    erasures = Erasures(database, PostsOfGone(outbox), committed=outbox.wake)
    mesh.consume("auth", group="prompts.erasure", types=EVENT_TYPES, handle=erasures)
    mesh.background("erasure", erasures.again)

    server = mesh.server(access)
    server.add(
        posts_pb2_grpc.add_PostServiceServicer_to_server,
        PostService(
            store,
            mesh.page_tokens(),
            quotas=quotas,
            host=mesh,
            tail=tail,
            follower=follower,
            buffer=buffer,
            waiters=waiters,
            places=Places(
                streams_max=settings.watch_streams_max,
                per_caller_max=settings.watch_streams_per_caller_max,
                per_address_max=settings.watch_streams_per_address_max,
            ),
            shell=Shell.read(settings.prompts_web_shell),
            public_url=settings.public_url,
            author_posts_counted_max=settings.author_posts_counted_max,
        ),
    )
    await server.serve()

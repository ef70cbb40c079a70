"""`promptmesh post` and `promptmesh watch`: publish a prompt and see what becomes of it."""

from __future__ import annotations

import random
import sys
import time
import uuid
from collections.abc import Iterator

import click
import grpc
from promptmesh.auth.v1 import auth_pb2, auth_pb2_grpc
from promptmesh.prompts.v1 import posts_pb2, posts_pb2_grpc

from services.local.api import CALL_TIMEOUT_S, Api, ApiError, connected, explain, explained
from services.local.data_folder import DataFolder
from services.local.interrupts import EXIT_INTERRUPTED
from services.local.options import command_line, data_option, text_or_stdin
from services.local.post_view import PostView

TITLE_MAX_CHARACTERS = 80
ATTEMPTS = 4
RECONNECT_FIRST_S = 0.2
RECONNECT_MAX_S = 5.0
RECONNECT_GIVE_UP_S = 60.0
_LOST = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL)


@click.command(short_help="Publish a prompt.")
@click.argument("text", required=False)
@click.option("--title", help="Title. [default: the first line of TEXT]")
@click.option("--tag", "tags", multiple=True, help="Tag, as in short-story. May be given up to 10 times.")
@click.option("--watch", "watching", is_flag=True, help="Then watch it, as `promptmesh watch` does.")
@data_option
def post(text: str | None, title: str | None, tags: tuple[str, ...], watching: bool, data: DataFolder) -> None:
    """Publish the prompt TEXT (without it: what standard input says)."""
    body = text_or_stdin(text, "the prompt to publish")
    request = posts_pb2.CreatePostRequest(
        title=title if title is not None else _title_of(body), body=body, tags=tags, request_id=str(uuid.uuid4())
    )
    with connected(data) as api:
        made = _create(api, request)
        click.echo(made.post_id)
        if watching:
            _watch(api, made.post_id, data, follow=False)
        else:
            click.echo(f"It is being moderated: `{command_line('watch', made.post_id, data=data)}`", err=True)


@click.command(short_help="Watch a post: its moderation, and its example as it is written.")
@click.argument("post_id", required=False, type=click.UUID)
@click.option("--follow", is_flag=True, help="Stay when its example is written, and show every change until Ctrl-C.")
@data_option
def watch(post_id: uuid.UUID | None, follow: bool, data: DataFolder) -> None:
    """Watch a post: its moderation, and its example as it is written. Without POST_ID: the newest one of yours."""
    with connected(data) as api:
        _watch(api, str(post_id) if post_id else _newest(api), data, follow=follow)


def _title_of(body: str) -> str:
    line = next((line.strip() for line in body.splitlines() if line.strip()), "")
    return line if len(line) <= TITLE_MAX_CHARACTERS else line[: TITLE_MAX_CHARACTERS - 1] + "…"


def _create(api: Api, request: posts_pb2.CreatePostRequest) -> posts_pb2.Post:
    """Creates the post once, however often it has to be asked: the request id is the same each time."""
    stub = posts_pb2_grpc.PostServiceStub(api.channel)
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return stub.CreatePost(request, timeout=CALL_TIMEOUT_S, metadata=api.metadata)
        except grpc.RpcError as error:
            failed = explain(error)
            if failed.code is not grpc.StatusCode.UNAVAILABLE or attempt == ATTEMPTS:
                raise failed from error
            time.sleep(RECONNECT_FIRST_S * 2**attempt)
    raise AssertionError("the last attempt returns or raises")


def _newest(api: Api) -> str:
    with explained():
        auth = auth_pb2_grpc.AuthServiceStub(api.channel)
        me = auth.GetMe(auth_pb2.GetMeRequest(), timeout=CALL_TIMEOUT_S, metadata=api.metadata)
        stub = posts_pb2_grpc.PostServiceStub(api.channel)
        request = posts_pb2.ListPostsRequest(author_id=me.user_id, page_size=1)
        listed = stub.ListPosts(request, timeout=CALL_TIMEOUT_S, metadata=api.metadata)
    if not listed.posts:
        raise ApiError("You have no posts yet. Publish one with `promptmesh post`, or name a post to watch.")
    return listed.posts[0].post_id


def _watch(api: Api, post_id: str, data: DataFolder, *, follow: bool) -> None:
    view = PostView(sys.stdout)
    try:
        for message in _messages(api, post_id):
            view.show(message)
            if view.settled and not follow:
                break
    except KeyboardInterrupt:
        view.end_line()
        raise click.exceptions.Exit(EXIT_INTERRUPTED) from None
    view.end_line()
    if view.held and not follow:
        wait = command_line("watch", "--follow", post_id, data=data)
        click.echo(f"A moderator decides whether it is published; `{wait}` waits for that.", err=True)


def _messages(api: Api, post_id: str) -> Iterator[posts_pb2.WatchPostResponse]:
    """The post's messages, resumed after the last one seen when the stream is cut or its server goes away."""
    stub = posts_pb2_grpc.PostServiceStub(api.channel)
    cursor, lost_since, wait_s = 0, 0.0, RECONNECT_FIRST_S
    while True:
        call = stub.WatchPost(posts_pb2.WatchPostRequest(post_id=post_id, after=cursor), metadata=api.metadata)
        try:
            for message in call:
                lost_since, wait_s = 0.0, RECONNECT_FIRST_S
                cursor = message.cursor or cursor
                yield message
                if message.WhichOneof("event") == "done" and message.done.reason != posts_pb2.WATCH_END_DRAINING:
                    return
        except grpc.RpcError as error:
            failed = explain(error)
            lost_since = lost_since or time.monotonic()
            if failed.code not in _LOST or time.monotonic() - lost_since > RECONNECT_GIVE_UP_S:
                raise failed from error
        finally:
            call.cancel()  # type: ignore[no-untyped-call]
        time.sleep(wait_s * random.uniform(0.5, 1.0))
        wait_s = min(wait_s * 2, RECONNECT_MAX_S)

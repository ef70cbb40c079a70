"""GetPostPage: pages of published posts, and one and the same page for all that is not to be seen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from promptmesh.moderation.v1.moderation_pb2 import VERDICT_ALLOW, VERDICT_REJECT
from promptmesh.prompts.v1.posts_pb2 import (
    POST_STATE_PUBLISHED,
    DeletePostRequest,
    GetPostPageRequest,
    WatchPostRequest,
)

from services.mesh.ids import uuid7
from services.prompts.content import Edit
from services.prompts.pages import Pages
from services.prompts.shell import Shell
from tests.integration.prompts.support import Bench, person, screened
from tests.integration.prompts.test_watch_post import allow, create, is_post
from tests.integration.prompts.world import collect, running_world

PAGE = '<!doctype html><html><head><title>Promptmesh</title></head><body><div id="app"></div></body></html>'
PUBLIC_URL = "https://mesh.example"


class Context:
    """What a handler is given, as far as it is used."""

    def __init__(self) -> None:
        self.said: dict[str, str] = {}

    async def send_initial_metadata(self, metadata: tuple[tuple[str, str], ...]) -> None:
        self.said |= dict(metadata)


async def page(bench: Bench, post_id: str) -> tuple[str, str]:
    """Status and text of a page."""
    context = Context()
    pages = Pages(bench.store, Shell(PAGE), public_url=PUBLIC_URL)
    body = await pages.GetPostPage(GetPostPageRequest(post_id=post_id), context)
    assert body.content_type == "text/html; charset=utf-8"
    return context.said.get("x-promptmesh-http-status", "200"), body.data.decode()


async def test_a_published_post_has_its_own_head(bench: Bench) -> None:
    post = await bench.create(person("Ada"), "A <haiku>", "poetry", body="Write a haiku\nabout envoys.")
    await bench.screen(screened(post.post_id, 1, VERDICT_ALLOW))
    for asked in (post.post_id, post.post_id.upper()):
        status, text = await page(bench, asked)
        assert status == "200"
        assert "<title>A &lt;haiku&gt; · Promptmesh</title>" in text
        assert '<meta name="description" content="Write a haiku about envoys.">' in text
        assert f'<link rel="canonical" href="{PUBLIC_URL}/p/{post.post_id}">' in text
        assert '<meta name="author" content="Ada">' in text
        assert '<div id="app">' in text


async def test_everyone_sees_the_published_revision_alone(bench: Bench) -> None:
    author = person()
    post = await bench.create(author, "The first")
    await bench.screen(screened(post.post_id, 1, VERDICT_ALLOW))
    await bench.store.update(author, post.post_id, "", Edit(title="The second"))
    assert "The first" in (await page(bench, post.post_id))[1]
    assert "The second" not in (await page(bench, post.post_id))[1]


@pytest.mark.parametrize(
    "post_id",
    ["", "x", "..", "%2e%2e", "0190b5d0", "{0190b5d0-0000-7000-8000-000000000001}", "<script>", "a" * 10_000, "\u202e"],
)
async def test_what_is_no_id_is_not_there(bench: Bench, post_id: str) -> None:
    assert await page(bench, post_id) == await page(bench, uuid7())


async def test_what_is_not_published_is_not_there(bench: Bench) -> None:
    author = person()
    waiting, refused, deleted = [await bench.create(author, "Secret") for _ in range(3)]
    await bench.screen(screened(refused.post_id, 1, VERDICT_REJECT), screened(deleted.post_id, 1, VERDICT_ALLOW))
    await bench.store.delete(author, deleted.post_id, "")
    status, text = unknown = await page(bench, uuid7())
    assert status == "404"
    assert '<meta name="robots" content="noindex">' in text
    assert "canonical" not in text
    for post in (waiting, refused, deleted):
        assert await page(bench, post.post_id) == unknown


async def test_without_the_database_the_app_comes_all_the_same(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(*_: Any) -> None:
        raise ConnectionRefusedError

    monkeypatch.setattr(type(bench.store), "get", away)
    status, text = await page(bench, uuid7())
    assert status == "503"
    assert '<div id="app">' in text


async def test_the_service_serves_it_from_the_file_that_the_setting_names(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    shell = tmp_path / "index.html"
    shell.write_text(PAGE)
    async with running_world(database_url, redis_url, prompts_web_shell=shell, public_url=PUBLIC_URL) as world:
        ann = world.auth.person("Ann")
        post = await create(world, ann)
        watch = world.stub.WatchPost(WatchPostRequest(post_id=post.post_id), metadata=ann.metadata)
        call = world.stub.GetPostPage(GetPostPageRequest(post_id=post.post_id), metadata=ann.metadata)
        assert "noindex" in (await call).data.decode()  # its author too is told what everyone is
        assert dict(await call.initial_metadata())["x-promptmesh-http-status"] == "404"
        await world.moderation.tell(allow(post.post_id))
        await collect(watch, [], until=is_post(POST_STATE_PUBLISHED))
        watch.cancel()
        call = world.stub.GetPostPage(GetPostPageRequest(post_id=post.post_id))
        assert f"{PUBLIC_URL}/p/{post.post_id}" in (await call).data.decode()
        assert "x-promptmesh-http-status" not in dict(await call.initial_metadata())
        await world.stub.DeletePost(DeletePostRequest(post_id=post.post_id), metadata=ann.metadata)
        assert "noindex" in (await world.stub.GetPostPage(GetPostPageRequest(post_id=post.post_id))).data.decode()

"""Long streams: heartbeats, the end of a credential, draining, and that nothing is left behind."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from promptmesh.prompts.v1 import posts_pb2

from services.mesh.call import current
from services.mesh.ids import uuid7
from services.mesh.streams import CREDENTIAL_ENDED, DRAINING, HEARTBEAT, Item, guard

WAIT_S = 10.0


class Watched:
    """A guarded stream as a service writes it: cursors are the items, and how it ended is its last message."""

    def __init__(self, service: Any) -> None:
        self.service = service
        self.items: asyncio.Queue[int | None] = asyncio.Queue()
        self.closed = asyncio.Event()
        service.posts.on_watch = self.watch

    async def source(self) -> AsyncIterator[int]:
        try:
            while (item := await self.items.get()) is not None:
                yield item
        finally:
            self.closed.set()

    async def watch(self, request: Any, context: Any) -> AsyncIterator[Any]:
        async for item in guard(current(), self.source(), mesh=self.service.host):
            if isinstance(item, Item):
                yield posts_pb2.WatchFeedResponse(cursor=item.value)
            elif item is HEARTBEAT:
                yield posts_pb2.WatchFeedResponse(heartbeat=posts_pb2.Heartbeat())
            else:
                reason = {
                    CREDENTIAL_ENDED: posts_pb2.WATCH_END_CREDENTIAL_ENDED,
                    DRAINING: posts_pb2.WATCH_END_DRAINING,
                }[item]
                yield posts_pb2.WatchFeedResponse(done=posts_pb2.WatchDone(reason=reason))

    def call(self, metadata: Any = ()) -> Any:
        return self.service.stub.WatchFeed(posts_pb2.WatchFeedRequest(), metadata=metadata)

    async def over(self) -> None:
        async with asyncio.timeout(WAIT_S):
            await self.closed.wait()
            while self.service.server.pipeline.calls:
                await asyncio.sleep(0.005)
        assert not [task for task in asyncio.all_tasks() if task.get_name() == "guarded stream"]


@pytest.fixture
def watched(service: Any) -> Watched:
    return Watched(service)


async def rest(call: Any) -> list[Any]:
    messages: list[Any] = []
    async with asyncio.timeout(WAIT_S):
        while (message := await call.read()) is not grpc.aio.EOF:
            messages.append(message)
    return messages


async def test_items_in_order_until_the_source_ends(watched: Watched) -> None:
    for item in [*range(1, 101), None]:
        watched.items.put_nowait(item)
    assert [message.cursor for message in await rest(watched.call())] == list(range(1, 101))
    await watched.over()


async def test_silence_is_filled_with_heartbeats(watched: Watched) -> None:
    watched.service.host.heartbeat_s = 0.02
    call = watched.call()
    async with asyncio.timeout(WAIT_S):
        assert (await call.read()).WhichOneof("event") == "heartbeat"
        assert (await call.read()).WhichOneof("event") == "heartbeat"
    watched.items.put_nowait(None)
    await rest(call)
    await watched.over()


@pytest.mark.parametrize("kind", ["session", "key"])
async def test_a_revoked_credential_ends_the_stream(watched: Watched, bearer: Any, kind: str) -> None:
    auth, session_id = watched.service.auth, uuid7()
    secret = auth.api_key()
    call = watched.call(bearer(secret if kind == "key" else auth.token(session_id=session_id)))
    watched.items.put_nowait(7)
    async with asyncio.timeout(WAIT_S):
        assert (await call.read()).cursor == 7
    if kind == "key":
        auth.revoke(secret)
    else:
        auth.end_session(session_id)
    (last,) = await rest(call)
    assert last.done.reason == posts_pb2.WATCH_END_CREDENTIAL_ENDED
    await watched.over()


async def test_a_token_that_expires_ends_the_stream(watched: Watched, bearer: Any) -> None:
    call = watched.call(bearer(watched.service.auth.token(expire_time=time.time() + 0.2)))
    (last,) = await rest(call)
    assert last.done.reason == posts_pb2.WATCH_END_CREDENTIAL_ENDED
    await watched.over()


async def test_another_session_of_the_mesh_ends_nothing(watched: Watched, bearer: Any) -> None:
    call = watched.call(bearer(watched.service.auth.token()))
    watched.items.put_nowait(1)
    async with asyncio.timeout(WAIT_S):
        await call.read()
        watched.service.auth.end_session(uuid7())
        await watched.service.heard()
        watched.items.put_nowait(2)
        assert (await call.read()).cursor == 2
    watched.items.put_nowait(None)
    await rest(call)


async def test_draining_ends_streams_and_then_the_server(watched: Watched) -> None:
    call = watched.call()
    watched.items.put_nowait(1)
    async with asyncio.timeout(WAIT_S):
        await call.read()
    stopping = asyncio.create_task(watched.service.server.stop())
    (last,) = await rest(call)
    assert last.done.reason == posts_pb2.WATCH_END_DRAINING
    await asyncio.wait_for(stopping, WAIT_S)
    await watched.over()


async def test_an_old_stream_is_told_to_come_again(watched: Watched) -> None:
    watched.service.host.stream_age_s = 0.05
    (last,) = await rest(watched.call())
    assert last.done.reason == posts_pb2.WATCH_END_DRAINING
    await watched.over()


async def test_what_was_read_is_sent_before_the_end(watched: Watched) -> None:
    """A cursor told with the end must not skip items that were read ahead."""
    for item in range(1, 13):
        watched.items.put_nowait(item)
    call = watched.call()
    async with asyncio.timeout(WAIT_S):
        await call.read()
    watched.service.host.draining.set()
    messages = await rest(call)
    cursors = [message.cursor for message in messages[:-1]]
    assert cursors == list(range(2, 2 + len(cursors)))
    assert messages[-1].done.reason == posts_pb2.WATCH_END_DRAINING


async def test_a_watcher_that_leaves_closes_the_source(watched: Watched) -> None:
    call = watched.call()
    watched.items.put_nowait(1)
    async with asyncio.timeout(WAIT_S):
        await call.read()
    call.cancel()
    await watched.over()


async def test_a_source_that_fails_fails_the_stream(watched: Watched) -> None:
    async def broken(request: Any, context: Any) -> AsyncIterator[Any]:
        async def source() -> AsyncIterator[int]:
            yield 1
            raise ZeroDivisionError

        async for item in guard(current(), source(), mesh=watched.service.host):
            assert isinstance(item, Item)
            yield posts_pb2.WatchFeedResponse(cursor=item.value)

    watched.service.posts.on_watch = broken
    call = watched.call()
    assert (await call.read()).cursor == 1
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call.read()
    assert caught.value.code() is grpc.StatusCode.INTERNAL

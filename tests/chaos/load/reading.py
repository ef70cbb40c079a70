"""Strangers who read: pages, single posts, and the feed, which they never stop watching."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import aiohttp

from tests.chaos.load import methods
from tests.chaos.load.callers import Caller, ProgramCaller, RestCaller
from tests.chaos.load.failures import FailureError, failure_of_answer, failure_of_connection
from tests.chaos.load.journal import FAILED, OK
from tests.chaos.load.people import Cast
from tests.chaos.traffic import sse
from tests.mesh.client import Answer

PAGE_SIZE = 50
RESUME_S = 0.5
#: A watch over plain HTTP that says nothing for so long is dead: the mesh says every 15 s that it is alive.
SILENCE_S = 45.0


@dataclass
class Reader:
    """A stranger who lists, searches by tag and author, and opens single posts."""

    cast: Cast
    caller: Caller

    async def turn(self) -> None:
        """One read."""
        rng, journal = self.cast.rng, self.cast.journal
        drawn = rng.random()
        fields: dict[str, Any] = {"pageSize": PAGE_SIZE}
        method = methods.LIST_POSTS
        if drawn < 0.4:
            known = [op for op in journal.ops[-400:] if op.kind == "post" and op.ok]
            if not known:
                return
            method, fields = methods.GET_POST, {"postId": rng.choice(known).answer["post_id"]}
        elif drawn < 0.6:
            fields |= {"tag": "chaos"}
        elif drawn < 0.8:
            fields |= {"authorId": rng.choice(self.cast.authors).person.user_id}
        op = journal.begin("read", self.caller.name, **fields)
        try:
            answer = await self.caller.call({}, method, fields, {"POST_NOT_FOUND"})
        except FailureError as error:
            if error.reason == "POST_NOT_FOUND":
                journal.end(op, OK, found=False)
                return
            journal.failed_try(op, error.brief)
            journal.end(op, FAILED, code=error.code, reason=error.reason)
            if error.strange:
                journal.wonder(f"a read of the {self.caller.name} client: {error.strange}")
            return
        posts = answer.get("page", [answer])
        journal.end(op, OK, count=len(posts))
        for post in posts:
            saw(self.cast, f"{self.caller.name} reads", post)


def saw(cast: Cast, by: str, post: dict[str, Any], cursor: int = 0) -> None:
    """Writes down that a stranger saw a post."""
    cast.journal.saw(
        by,
        post_id=post["postId"],
        revision=int(post["revision"]),
        state=str(post["state"]),
        body=post["body"],
        cursor=cursor,
    )


def watcher(caller: Caller) -> str:
    """How the watcher that uses this client is called in the journal."""
    return f"{caller.name} watches"


async def watch(cast: Cast, caller: ProgramCaller | RestCaller) -> None:
    """Watches the feed as a stranger, for ever. A watch that its client gives up is begun anew, and may miss some."""
    by = watcher(caller)
    after = None
    while True:
        try:
            messages = (
                _rest_feed(caller, after)
                if isinstance(caller, RestCaller)
                else caller.watch({}, methods.WATCH_FEED, {})
            )
            async with contextlib.aclosing(messages) as stream:  # type: ignore[type-var]
                async for message in stream:
                    if message.get("gap"):
                        cast.journal.gap(by)
                        continue
                    after = _told(cast, by, message)
        except FailureError as error:
            cast.journal.failures["watch"] += 1
            if error.strange and error.reason != "CURSOR_EXPIRED":
                cast.journal.wonder(f"{by}: {error.strange}")
            if error.reason == "CURSOR_EXPIRED":
                after = None
            if not isinstance(caller, RestCaller):
                cast.journal.gap(by)  # its client gave up, and begins anew
        if isinstance(caller, RestCaller) and after is None:
            cast.journal.gap(by)  # it goes on from now
        await asyncio.sleep(RESUME_S)


def _told(cast: Cast, by: str, message: dict[str, Any]) -> int:
    cursor = int(message["cursor"])
    if message.get("post"):
        cast.journal.answers["watch"] += 1
        saw(cast, by, message["post"], cursor)
    elif message.get("gone"):
        cast.journal.saw(by, post_id=message["gone"]["postId"], gone=True, cursor=cursor)
    return cursor


async def _rest_feed(caller: RestCaller, after: int | None) -> AsyncIterator[dict[str, Any]]:
    """Server-sent events until the stream ends. Raises FailureError."""
    resume = "" if after is None else f"?after={after}"
    timeout = aiohttp.ClientTimeout(total=None, sock_read=SILENCE_S)
    try:
        async with caller.client.http.get(f"{caller.client.url}/api/v1/feed:watch{resume}", timeout=timeout) as answer:
            if answer.status != 200:
                raise failure_of_answer(Answer(answer.status, answer.headers, await answer.read()), {"CURSOR_EXPIRED"})
            async for message in sse(answer):
                if "cursor" in message:
                    yield message
                elif "post" in message or "gone" in message:
                    raise FailureError("", "", "", f"a message without a cursor: {message}")
    except (aiohttp.ClientError, TimeoutError) as error:
        raise failure_of_connection(error) from error

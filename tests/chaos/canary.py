"""Whether a mesh is whole: every process serves, the edge says so, a post gets its example and a model answers."""

from __future__ import annotations

import asyncio
import itertools
import uuid
from collections.abc import Mapping
from typing import Any

import aiohttp

from tests.chaos.parts import Parts, Stopwatch
from tests.chaos.world import STEADY, World

WHOLE_TIMEOUT_S = 120.0
POLL_S = 0.1
CALL_TIMEOUT_S = 5.0
STEP_TIMEOUT_S = 20.0  # after which a post is written anew: the first may wait for a retry far away
BODY = "Write a short story about a lighthouse keeper and canary {n}."


class NotWholeError(Exception):
    """It took too long; the message says what was missing."""


class Canary:
    """A person with a key. `api_key`: for posts and for models."""

    def __init__(self, world: World, parts: Parts, http: aiohttp.ClientSession, api_key: str) -> None:
        self._world, self._parts, self._http = world, parts, http
        self._headers = {"authorization": f"Bearer {api_key}"}
        self._numbers = itertools.count()
        self.waited: list[str] = []
        self.last = ""  # how its last post went

    async def until_whole(self, restarts: Mapping[str, int], timeout_s: float = WHOLE_TIMEOUT_S) -> float:
        """Seconds until all is whole. restarts: processes that died, with how often they had been started again before.

        Raises NotWholeError. `waited` then says what was missing until when.
        """
        took, missing = Stopwatch(), "nothing was asked yet"
        self.waited = []
        try:
            async with asyncio.timeout(timeout_s):
                while missing := self._not_ready(restarts) or await self._not_healthy() or await self._not_working():
                    self.waited.append(f"{took.s:.1f} s: {missing}")
                    await asyncio.sleep(POLL_S)
        except TimeoutError:
            raise NotWholeError(f"not whole after {timeout_s:.0f} s: {missing}") from None
        return took.s

    def _not_ready(self, restarts: Mapping[str, int]) -> str:
        state = self._parts.state()
        if state.phase != "ready":
            return f"the mesh is {state.phase}: {state.error}"
        waiting = [one.name for one in state.processes if not one.ready or one.restarts <= restarts.get(one.name, -1)]
        return f"{', '.join(waiting)} not ready" if waiting else ""

    async def _not_healthy(self) -> str:
        status, said = await self._ask("GET", "/healthz")
        return "" if status == 200 else f"the edge's health is {status} {said}"

    async def _not_working(self) -> str:
        model, post = await asyncio.gather(self._not_answered(), self._not_published())
        return model or post

    async def _not_answered(self) -> str:
        call = {"model": STEADY, "messages": [{"role": "user", "content": f"canary {next(self._numbers)}"}]}
        status, said = await self._ask("POST", "/v1/chat/completions", call)
        return "" if status == 200 else f"a call of a model is answered {status} {said}"

    async def _not_published(self) -> str:
        body = BODY.format(n=next(self._numbers))
        asked = Stopwatch()
        request_id = str(uuid.uuid4())
        self._world.others.add(request_id)
        post = {"title": "CLEAN canary", "body": body, "tags": ["canary"], "requestId": request_id}
        status, said = await self._ask("POST", "/api/v1/posts", post)
        if status != 200:
            return f"a post is answered {status} {said}"
        took, accepted_s, published_s = Stopwatch(), asked.s, None
        while took.s < STEP_TIMEOUT_S:
            status, said = await self._ask("GET", f"/api/v1/posts/{said['postId']}")
            if status != 200:
                return f"reading a post is answered {status} {said}"
            state, example = said["state"], said.get("example", {}).get("state", "")
            if state == "POST_STATE_PUBLISHED" and published_s is None:
                published_s = asked.s
            if state == "POST_STATE_PUBLISHED" and example == "EXAMPLE_STATE_READY":
                self.last = f"its post was accepted in {accepted_s:.1f} s, published in {published_s or 0.0:.1f} s, "
                self.last += f"with its example in {asked.s:.1f} s"
                return ""
            if example == "EXAMPLE_STATE_FAILED":
                return f"the example of a post failed: {said['example']}"
            await asyncio.sleep(POLL_S)
        return f"a post is {state} and its example {example or 'not begun'} after {STEP_TIMEOUT_S:.0f} s"

    async def _ask(self, verb: str, path: str, body: object = None) -> tuple[int, dict[str, Any]]:
        """Status and JSON; 0 where nobody answered."""
        timeout = aiohttp.ClientTimeout(total=CALL_TIMEOUT_S)
        url = self._world.mesh.url + path
        try:
            async with self._http.request(verb, url, json=body, headers=self._headers, timeout=timeout) as answer:
                return answer.status, await answer.json(content_type=None)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            return 0, {"error": type(error).__name__}

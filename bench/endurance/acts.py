"""What callers do: each act is one call, or a few that belong together, through the edge.

An act answers nothing, and raises FailedError where an answer is not what it should be.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import grpc
import orjson
from promptmesh.inference.v1 import inference_pb2, inference_pb2_grpc

from bench.endurance.setting import CACHED, MODEL, PASSWORD

BODY = "Write a short story about a lighthouse keeper who counts ships. " * 4
KNOWN_POSTS = 500
SAME_QUESTIONS = 50
WATCH_S = (1.0, 20.0)
LEAVE_S = (0.01, 0.5)
CALL_TIMEOUT_S = 60.0
_ID_LENGTH = 32


class FailedError(Exception):
    """An answer that is not what it should be: status and reason."""


@dataclass
class Callers:
    """Who acts, on what."""

    http: aiohttp.ClientSession
    url: str
    channel: grpc.aio.Channel
    people: list[dict[str, str]]
    rng: random.Random
    published: deque[str] = field(default_factory=lambda: deque(maxlen=KNOWN_POSTS))
    accepted: int = 0  # posts
    number: int = 0

    @property
    def acts(self) -> Mapping[str, Callable[[], Awaitable[None]]]:
        """Acts by name."""
        return {
            "post": self.post,
            "feed read": self.read_feed,
            "post read": self.read_post,
            "like, unlike": self.like,
            "watch a feed": self.watch_feed,
            "watch a post": self.watch_post,
            "log in, refresh, log out": self.session,
            "key made, used, revoked": self.key,
            "chat": lambda: self.chat(stream=False),
            "chat, streamed": lambda: self.chat(stream=True),
            "chat, cached": lambda: self.chat(model=CACHED, question=f"same {self.rng.randrange(SAME_QUESTIONS)}"),
            "chat, to be cached": lambda: self.chat(model=CACHED),
            "generate": self.generate,
            "generate over REST": self.generate_rest,
            "chat, cancelled": self.leave_chat,
            "generate, cancelled": self.cancel_generate,
        }

    async def post(self) -> None:
        number = self._next()
        body = {"title": f"Story {number}", "body": f"{BODY}{number}", "tags": ["endurance", f"n{number % 10}"]}
        await self._ask("POST", "/api/v1/posts", body, self._key("posts"))
        self.accepted += 1

    async def read_feed(self) -> None:
        found = await self._ask("GET", "/api/v1/posts?pageSize=20")
        self.published.extend(one["postId"] for one in found.get("posts", ()))

    async def read_post(self) -> None:
        if self.published:
            await self._ask("GET", f"/api/v1/posts/{self.rng.choice(self.published)}")

    async def like(self) -> None:
        if self.published:
            post, key = self.rng.choice(self.published), self._key("posts")
            await self._ask("POST", f"/api/v1/posts/{post}:like", {}, key)
            await self._ask("POST", f"/api/v1/posts/{post}:unlike", {}, key)

    async def watch_feed(self) -> None:
        await self._watch("/api/v1/feed:watch")

    async def watch_post(self) -> None:
        if self.published:
            await self._watch(f"/api/v1/posts/{self.published[-1]}:watch")

    async def session(self) -> None:
        who = {"email": self.rng.choice(self.people)["email"], "password": PASSWORD}
        session = await self._ask("POST", "/api/v1/sessions", who)
        session = await self._ask("POST", "/api/v1/sessions:refresh", {"refreshToken": session["refreshToken"]})
        await self._ask("GET", "/api/v1/users/me", token=session["accessToken"])
        await self._ask("GET", "/api/v1/posts?pageSize=5", token=session["accessToken"])
        await self._ask("DELETE", "/api/v1/sessions/current", token=session["accessToken"])

    async def key(self) -> None:
        who = {"email": self.rng.choice(self.people)["email"], "password": PASSWORD}
        token = (await self._ask("POST", "/api/v1/sessions", who))["accessToken"]
        wanted = {"displayName": "endurance", "scopes": ["posts:read", "inference:invoke"]}
        made = await self._ask("POST", "/api/v1/apiKeys", wanted, token)
        await self._ask("GET", "/api/v1/posts?pageSize=5", token=made["secret"])
        await self._ask("POST", "/v1/chat/completions", self._chat(MODEL, stream=False), made["secret"])
        await self._ask("DELETE", f"/api/v1/apiKeys/{made['apiKey']['apiKeyId']}", token=token)
        await self._ask("DELETE", "/api/v1/sessions/current", token=token)

    async def chat(self, *, model: str = MODEL, stream: bool = False, question: str = "") -> None:
        await self._ask("POST", "/v1/chat/completions", self._chat(model, stream, question), self._key("calls"))

    async def generate(self) -> None:
        try:
            async for _ in self._generate():
                pass
        except grpc.aio.AioRpcError as error:
            raise FailedError(error.code().name) from error

    async def generate_rest(self) -> None:
        content = f"Count, {self._next()}."
        body = {"model": MODEL, "messages": [{"role": "MESSAGE_ROLE_USER", "content": content}]}
        await self._ask("POST", "/api/v1/generate", body, self._key("calls"))

    async def leave_chat(self) -> None:
        try:
            async with asyncio.timeout(self.rng.uniform(*LEAVE_S)):
                await self.chat(stream=True)
        except TimeoutError:
            pass

    async def cancel_generate(self) -> None:
        stream = self._generate()
        timer = asyncio.get_running_loop().call_later(self.rng.uniform(*LEAVE_S), stream.cancel)
        reading = asyncio.create_task(_to_its_end(stream))
        try:
            await asyncio.wait([reading])
        finally:
            timer.cancel()
            stream.cancel()
        if not reading.cancelled() and (error := reading.exception()) is not None:
            raise FailedError(error.code().name if isinstance(error, grpc.aio.AioRpcError) else str(error)) from error

    def _generate(self) -> Any:
        message = inference_pb2.Message(role=inference_pb2.MESSAGE_ROLE_USER, content=f"Count, {self._next()}.")
        return inference_pb2_grpc.InferenceServiceStub(self.channel).Generate(
            inference_pb2.GenerateRequest(model=MODEL, messages=[message]),
            metadata=(("authorization", f"Bearer {self._key('calls')}"),),
            timeout=CALL_TIMEOUT_S,
        )

    def _chat(self, model: str, stream: bool, question: str = "") -> dict[str, Any]:
        content = question or f"Say something, {self._next()}."
        body = {"model": model, "messages": [{"role": "user", "content": content}], "stream": stream}
        return body | ({"temperature": 0} if model == CACHED else {})

    async def _watch(self, path: str) -> None:
        try:
            async with asyncio.timeout(self.rng.uniform(*WATCH_S)):
                async with self.http.get(self.url + path) as answer:
                    if answer.status != 200:
                        raise FailedError(f"{answer.status} {_reason(await answer.read())}")
                    async for _ in answer.content.iter_any():
                        pass
        except TimeoutError:
            pass

    async def _ask(self, method: str, path: str, body: object = None, token: str = "") -> Any:
        headers = {"authorization": f"Bearer {token}"} if token else {}
        data = None
        if body is not None:
            headers["content-type"] = "application/json"
            data = orjson.dumps(body)
        try:
            async with self.http.request(method, self.url + path, data=data, headers=headers) as answer:
                said = await answer.read()
        except (aiohttp.ClientError, OSError) as error:
            raise FailedError(f"{type(error).__name__}: {error}") from error
        if answer.status != 200:
            raise FailedError(f"{method} {_kind(path)}: {answer.status} {_reason(said)}")
        if answer.content_type == "text/event-stream":
            if b'"error"' in said:
                raise FailedError(f"{method} {_kind(path)}: in its stream {_reason(said)}")
            return None
        return orjson.loads(said) if said else {}

    def _key(self, of: str) -> str:
        return self.rng.choice(self.people)[of]

    def _next(self) -> int:
        self.number += 1
        return self.number


def _kind(path: str) -> str:
    """A path without what is different in each."""
    return "/".join(one for one in path.partition("?")[0].split("/") if len(one) < _ID_LENGTH)


def _reason(said: bytes) -> str:
    """The reason that an error names, else how it begins."""
    for name in (b'"reason":"', b'"code":"'):
        _, found, rest = said.partition(name)
        if found:
            return rest.partition(b'"')[0].decode(errors="replace")
    return said[:80].decode(errors="replace")


async def _to_its_end(stream: Any) -> None:
    async for _ in stream:
        pass

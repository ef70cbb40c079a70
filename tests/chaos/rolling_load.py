"""Callers of every kind, each with exactly one retry, who count what it took and what they lost."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import grpc
import openai
from promptmesh.inference.v1 import inference_pb2, inference_pb2_grpc

from services.local.testing import LocalMesh

FIRST_WAIT_S = 0.5  # OpenAI's clients wait for half a second to one
TIMEOUT_S = 60.0
WATCHERS = 4
PAUSE_S = 0.05  # between the calls of one caller
REQUEST = {"messages": [{"role": "user", "content": "Say it."}]}


class AgainError(Exception):
    """A call that failed in a way that a client repeats once. cause: what the table says; wait_s: what it was told."""

    def __init__(self, cause: str, wait_s: float | None = None) -> None:
        super().__init__(cause)
        self.cause, self.wait_s = cause, wait_s


@dataclass(frozen=True)
class Stream:
    """One stream that ended whole, in seconds of time.monotonic()."""

    kind: str
    begun_s: float
    ended_s: float


@dataclass
class Counts:
    """What callers got."""

    calls: Counter[str] = field(default_factory=Counter)
    retried: Counter[str] = field(default_factory=Counter)  # "kind: cause"
    failed: list[str] = field(default_factory=list)
    cut: list[str] = field(default_factory=list)
    streams: list[Stream] = field(default_factory=list)
    resumed: int = 0  # watchers' streams that ended with a last message, and were taken up again
    posted: set[str] = field(default_factory=set)
    seen: list[set[str]] = field(default_factory=list)  # by each watcher

    async def once_more(self, kind: str, call: Callable[[], Awaitable[None]]) -> None:
        """Calls, and once more where a client would."""
        self.calls[kind] += 1
        try:
            await call()
            return
        except AgainError as error:
            self.retried[f"{kind}: {error.cause}"] += 1
            await asyncio.sleep(FIRST_WAIT_S if error.wait_s is None else error.wait_s)
        try:
            await call()
        except AgainError as error:
            self.failed.append(f"{kind}: {error.cause}, twice")


@dataclass
class Load:
    """Everyone who calls. `texts`: model → what its provider says."""

    mesh: LocalMesh
    api_key: str
    token: str  # of a session
    texts: dict[str, str]
    counts: Counts = field(default_factory=Counts)
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    _numbers: Any = field(default_factory=itertools.count)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Counts]:
        """Calls until the end of the block, and then lets every call end."""
        async with AsyncExitStack() as stack:
            session = await stack.enter_async_context(
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_S))
            )
            channel = await stack.enter_async_context(grpc.aio.insecure_channel(f"127.0.0.1:{self.mesh.edge_port}"))
            client = await stack.enter_async_context(
                openai.AsyncOpenAI(base_url=f"{self.mesh.url}/v1", api_key=self.api_key, max_retries=0)
            )
            works: list[tuple[str, Callable[[], Awaitable[None]]]] = [
                ("OpenAI, whole", lambda: self._openai_whole(client)),
                ("OpenAI, whole", lambda: self._openai_whole(client)),
                ("OpenAI, short streams", lambda: self._openai_stream(client, "fast")),
                ("gRPC, typed streams", lambda: self._grpc_stream(channel, "fast")),
                ("gRPC, reads", lambda: self._grpc_read(channel)),
                ("REST, reads", lambda: self._rest_read(session)),
                ("REST, reads", lambda: self._rest_read(session)),
            ]
            works += [("OpenAI, long streams", lambda: self._openai_stream(client, "slow"))] * 6
            works += [("gRPC, long streams", lambda: self._grpc_stream(channel, "slow"))] * 4
            callers = [asyncio.create_task(self._forever(kind, call)) for kind, call in works]
            callers += [asyncio.create_task(self._post_forever(session)) for _ in range(2)]
            watchers = [asyncio.create_task(self._watch(session)) for _ in range(WATCHERS)]
            try:
                await self._all_watch()
                yield self.counts
                self.stop.set()
                await asyncio.gather(*callers)
                await self._everything_seen()
            finally:
                for task in (*callers, *watchers):
                    task.cancel()
                await asyncio.gather(*callers, *watchers, return_exceptions=True)

    async def _forever(self, kind: str, call: Callable[[], Awaitable[None]]) -> None:
        while not self.stop.is_set():
            await self.counts.once_more(kind, call)
            await asyncio.sleep(PAUSE_S)

    # OpenAI's client

    async def _openai_whole(self, client: openai.AsyncOpenAI) -> None:
        with _openai_errors():
            answer = await client.chat.completions.create(model="fast", **REQUEST)  # type: ignore[call-overload]
        assert answer.choices[0].message.content == self.texts["fast"]

    async def _openai_stream(self, client: openai.AsyncOpenAI, model: str) -> None:
        begun = time.monotonic()
        with _openai_errors():
            chunks = await client.chat.completions.create(model=model, stream=True, **REQUEST)  # type: ignore[call-overload]
        said, finish = "", None
        try:
            async for chunk in chunks:
                for choice in chunk.choices:
                    said += choice.delta.content or ""
                    finish = choice.finish_reason or finish
        except (openai.APIError, Exception) as error:  # whatever ends a stream before its end
            self._cut("OpenAI", model, said, error)
            return
        self._ended("OpenAI", model, begun, said, finish == "stop")

    # gRPC

    def _metadata(self) -> tuple[tuple[str, str], ...]:
        return (("authorization", f"Bearer {self.api_key}"),)

    async def _grpc_stream(self, channel: grpc.aio.Channel, model: str) -> None:
        request = inference_pb2.GenerateRequest(
            model=model, messages=[inference_pb2.Message(role=inference_pb2.MESSAGE_ROLE_USER, content="Say it.")]
        )
        begun, said, whole = time.monotonic(), "", False
        stub: Any = inference_pb2_grpc.InferenceServiceStub(channel)
        try:
            async for event in stub.Generate(request, metadata=self._metadata(), timeout=TIMEOUT_S):
                if event.HasField("delta"):
                    said += event.delta.text
                whole = whole or event.HasField("done")
        except grpc.aio.AioRpcError as error:
            if not said:
                raise _again_of_rpc(error) from error
            self._cut("gRPC", model, said, error)
            return
        self._ended("gRPC", model, begun, said, whole)

    async def _grpc_read(self, channel: grpc.aio.Channel) -> None:
        stub: Any = inference_pb2_grpc.InferenceServiceStub(channel)
        try:
            await stub.ListModels(inference_pb2.ListModelsRequest(), metadata=self._metadata(), timeout=TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            raise _again_of_rpc(error) from error

    # REST

    async def _rest_read(self, session: aiohttp.ClientSession) -> None:
        await self._rest(session, "GET", "/api/v1/posts?pageSize=20")
        await self._rest(session, "GET", "/api/v1/users/me", credential=self.token)

    async def _post_forever(self, session: aiohttp.ClientSession) -> None:
        while not self.stop.is_set():
            number = next(self._numbers)
            body = {
                "title": f"Lighthouse {number}",
                "body": f"Write a short story about a lighthouse keeper and number {number}.",
                "tags": ["rolling"],
                "requestId": str(uuid.uuid4()),
            }

            async def post(body: object = body) -> None:
                made = await self._rest(session, "POST", "/api/v1/posts", json=body)
                self.counts.posted.add(made["postId"])

            await self.counts.once_more("REST, posts", post)
            await asyncio.sleep(PAUSE_S)

    async def _rest(
        self, session: aiohttp.ClientSession, verb: str, path: str, *, credential: str = "", **more: Any
    ) -> Any:
        headers = {"authorization": f"Bearer {credential or self.api_key}"}
        try:
            async with session.request(verb, self.mesh.url + path, headers=headers, **more) as answer:
                text = await answer.text()
                if answer.status in (429, 502, 503, 504):
                    told = answer.headers.get("retry-after")
                    raise AgainError(f"{answer.status} {_reason(text)}", float(told) if told else None)
                assert answer.status == 200, f"{verb} {path} answered {answer.status}: {text}"
                return json.loads(text)
        except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError) as error:
            raise AgainError(type(error).__name__) from error

    # Watchers

    async def _watch(self, session: aiohttp.ClientSession) -> None:
        """Follows the feed; a stream that ends is taken up where it ended, and one that breaks was cut."""
        seen: set[str] = set()
        self.counts.seen.append(seen)
        cursor = ""
        begun = time.monotonic()

        async def follow() -> None:
            nonlocal cursor, begun
            url = f"{self.mesh.url}/api/v1/feed:watch" + (f"?after={cursor}" if cursor else "")
            began = False
            try:
                async with session.get(url, timeout=aiohttp.ClientTimeout(total=None)) as answer:
                    if answer.status != 200:
                        raise AgainError(f"{answer.status} {_reason(await answer.text())}")
                    began, begun = True, time.monotonic()
                    async for line in answer.content:
                        if line.startswith(b"data:"):
                            message = json.loads(line[5:])
                            cursor = str(message.get("cursor") or cursor)
                            if "post" in message:
                                seen.add(message["post"]["postId"])
            except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError) as error:
                if not began:
                    raise AgainError(type(error).__name__) from error
                self.counts.cut.append(f"a watcher after {time.monotonic() - begun:.1f} s: {error!r}")

        while True:
            await self.counts.once_more("watchers", follow)
            self.counts.resumed += 1

    async def _all_watch(self) -> None:
        """What was posted before each watcher saw something may be from before its time."""
        async with asyncio.timeout(TIMEOUT_S):
            while len(self.counts.seen) < WATCHERS or not all(self.counts.seen):
                await asyncio.sleep(0.1)
        self.counts.posted.clear()

    async def _everything_seen(self) -> None:
        async with asyncio.timeout(TIMEOUT_S):
            while any(self.counts.posted - seen for seen in self.counts.seen):
                await asyncio.sleep(0.1)

    # What streams came to

    def _ended(self, client: str, model: str, begun: float, said: str, whole: bool) -> None:
        if said != self.texts[model] or not whole:
            self.counts.cut.append(f"{client}, {model}: {len(said)} of {len(self.texts[model])} characters, {whole=}")
            return
        self.counts.streams.append(Stream(f"{client}, {model}", begun, time.monotonic()))

    def _cut(self, client: str, model: str, said: str, error: Exception) -> None:
        self.counts.cut.append(f"{client}, {model}, after {len(said)} characters: {error!r}")


class _openai_errors:  # noqa: N801 - a context manager
    """What OpenAI's own client would repeat, as `openai._base_client` has it."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, _type: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, openai.APIStatusError):
            if error.status_code in (408, 409, 429) or error.status_code >= 500:
                told = error.response.headers.get("retry-after")
                cause = f"{error.status_code} {(error.body or {}).get('code')}"  # type: ignore[attr-defined]
                raise AgainError(cause, float(told) if told else None) from error
        elif isinstance(error, openai.APIConnectionError):
            raise AgainError(f"{type(error).__name__} ({type(error.__cause__).__name__})") from error


def _again_of_rpc(error: grpc.aio.AioRpcError) -> AgainError:
    code = error.code()
    again = (
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.DEADLINE_EXCEEDED,  # as 504 over HTTP; the table shows it
    )
    assert code in again, error
    return AgainError(f"{code.name} {error.details()}")


def _reason(text: str) -> str:
    try:
        error = json.loads(text)
    except ValueError:
        return text[:80]
    details = error.get("details") or error.get("error", {}).get("details") or [{}]
    return next((str(one["reason"]) for one in details if "reason" in one), str(error)[:120])

"""An OpenAI-compatible server on a real socket that does, on command, what providers do wrong.

    async with running_provider() as provider:
        provider.default = Behaviour(pace_s=0.01)
        provider.then(Behaviour(status=429, headers={"Retry-After": "7"}))     # the next request only
        ... provider.base_url ...
        await provider.calls[0].aborted.wait()                                  # the client left

It remembers every request, and whether its client left before the answer was whole.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import web

from tests.support.provider.behaviour import Behaviour, Fault

CREATED = 1_700_000_000
HUGE_LINE_BYTES = 1024 * 1024 + 1024


@dataclass(slots=True)
class SeenCall:
    """One request as the provider saw it. `abort_time`: of time.monotonic()."""

    body: dict[str, Any]
    headers: dict[str, str]
    peer: object  # address of the client's end of the connection
    began: asyncio.Event = field(default_factory=asyncio.Event)
    aborted: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    abort_time: float | None = None
    whole: bool = False


class MisbehavingProvider:
    """The server; make it with `running_provider`."""

    def __init__(self) -> None:
        self.default = Behaviour()
        self.calls: list[SeenCall] = []
        self.models = ["mock-small", "mock-large"]
        self.max_model_len: int | None = None  # told in the list of models, as vLLM does
        self.running = 0
        self.port = 0
        self._next: deque[Behaviour] = deque()
        self._arrival = asyncio.Condition()

    @property
    def base_url(self) -> str:
        """What a client appends `/chat/completions` to."""
        return f"http://127.0.0.1:{self.port}/v1"

    def then(self, *behaviours: Behaviour) -> None:
        """How the next requests are answered, one each; afterwards `default` again."""
        self._next.extend(behaviours)

    async def call(self, number: int) -> SeenCall:
        """The request of this number, from 0, as soon as it is there."""
        async with self._arrival:
            await self._arrival.wait_for(lambda: len(self.calls) > number)
        return self.calls[number]

    async def chat(self, request: web.Request) -> web.StreamResponse:
        """POST /v1/chat/completions."""
        body = await request.json(loads=orjson.loads)
        seen = SeenCall(body, dict(request.headers), _peer(request))
        behaviour = self._next.popleft() if self._next else self.default
        async with self._arrival:
            self.calls.append(seen)
            self._arrival.notify_all()
        self.running += 1
        try:
            response = await self._answer(request, seen, behaviour)
            seen.whole = True
            return response
        except (asyncio.CancelledError, ConnectionError):
            seen.abort_time = time.monotonic()
            seen.aborted.set()
            raise
        finally:
            self.running -= 1
            seen.ended.set()

    async def list_models(self, request: web.Request) -> web.Response:
        """GET /v1/models."""
        data = [{"id": name, "object": "model", "created": CREATED, "owned_by": "tests"} for name in self.models]
        if self.max_model_len:
            data = [{**entry, "max_model_len": self.max_model_len} for entry in data]
        return web.json_response({"object": "list", "data": data})

    async def _answer(self, request: web.Request, seen: SeenCall, do: Behaviour) -> web.StreamResponse:
        if do.fault is Fault.RESET_BEFORE_HEADERS:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        if do.fault is Fault.SILENCE:
            await asyncio.Event().wait()
        if do.latency_s:
            await asyncio.sleep(do.latency_s)
        if do.fault is Fault.REDIRECT:
            return web.Response(status=307, headers={"Location": "http://127.0.0.1:1/elsewhere"})
        if do.status != 200:
            return self._error(do)
        if do.fault is Fault.WRONG_CONTENT_TYPE:
            return web.Response(text="<html><body>Sign in to the hotel's Wi-Fi</body></html>", content_type="text/html")
        if seen.body.get("stream"):
            return await self._stream(request, seen, do)
        return await self._whole(request, seen, do)

    def _error(self, do: Behaviour) -> web.Response:
        error = do.error
        if error is None:
            error = {
                "error": {
                    "message": do.error_message,
                    "type": "invalid_request_error" if do.status < 500 else "server_error",
                    "param": None,
                    "code": do.error_code,
                }
            }
        if isinstance(error, str):
            return web.Response(status=do.status, text=error, headers=do.headers)
        return web.Response(
            status=do.status, body=orjson.dumps(error), content_type="application/json", headers=do.headers
        )

    async def _whole(self, request: web.Request, seen: SeenCall, do: Behaviour) -> web.StreamResponse:
        answer: dict[str, Any] = {
            "id": "chatcmpl-test",
            "object": "chat.completion",
            "created": CREATED,
            "model": do.model or seen.body["model"],
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": do.text},
                    "finish_reason": None if do.fault is Fault.CUT_CLEANLY else do.finish_reason,
                }
            ],
        }
        if usage := self._usage(seen, do):
            answer["usage"] = usage
        if do.fault is Fault.ERROR_IN_STREAM:
            answer = {"error": {"message": do.error_message, "type": "server_error", "code": do.error_code}}
        raw = orjson.dumps(answer)
        if do.fault in {Fault.NOT_JSON, Fault.BROKEN_CHUNK}:
            raw = raw[: len(raw) // 2]
        if do.fault in {Fault.CUT, Fault.STALL, Fault.SLOW_FIRST_TOKEN}:
            response = web.StreamResponse(headers={"Content-Type": "application/json", "Content-Length": str(len(raw))})
            await response.prepare(request)
            if do.fault is not Fault.SLOW_FIRST_TOKEN:
                await response.write(raw[: len(raw) // 2])
            seen.began.set()
            await self._stop(request, do.fault)
        return web.Response(body=raw, content_type="application/json", headers=do.headers)

    async def _stream(self, request: web.Request, seen: SeenCall, do: Behaviour) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", **do.headers})
        await response.prepare(request)
        if do.fault is Fault.SLOW_FIRST_TOKEN:
            seen.began.set()
            await asyncio.Event().wait()
        end = b"\r\n\r\n" if do.comments else b"\n\n"
        tokens = re.findall(r"\s*\S+", do.text)
        groups = [
            "".join(tokens[i : i + do.tokens_per_chunk]) for i in range(0, len(tokens), max(1, do.tokens_per_chunk))
        ]
        for number, group in enumerate(groups):
            if number == do.after_chunks and await self._fault(request, response, do):
                return response
            delta = {"content": group} if number else {"role": "assistant", "content": group}
            if do.comments:
                await response.write(b": still thinking" + end)
            await response.write(b"data: " + orjson.dumps(self._chunk(seen, do, delta)) + end)
            seen.began.set()
            if do.pace_s:
                await asyncio.sleep(do.pace_s)
        await response.write(b"data: " + orjson.dumps(self._chunk(seen, do, {}, do.finish_reason)) + end)
        wants_usage = (seen.body.get("stream_options") or {}).get("include_usage")
        if wants_usage and (usage := self._usage(seen, do)):
            chunk = {**self._chunk(seen, do, {}), "choices": [], "usage": usage}
            await response.write(b"data: " + orjson.dumps(chunk) + end)
        if do.fault is not Fault.NO_DONE:
            await response.write(b"data: [DONE]" + end)
        await response.write_eof()
        return response

    async def _fault(self, request: web.Request, response: web.StreamResponse, do: Behaviour) -> bool:
        """Does what goes wrong in the middle of a stream; True: the answer is over."""
        match do.fault:
            case Fault.STALL | Fault.CUT:
                await self._stop(request, do.fault)
            case Fault.CUT_CLEANLY:
                await response.write_eof()
                return True
            case Fault.BROKEN_CHUNK | Fault.NOT_JSON:
                await response.write(b'data: {"id":"chatcmpl-test","choices":[{"del\n\n')
            case Fault.HUGE_LINE:
                await response.write(b"data: " + b"x" * HUGE_LINE_BYTES)
                await response.write(b"\n\n")
            case Fault.ERROR_IN_STREAM:
                error = {"error": {"message": do.error_message, "type": "server_error", "code": do.error_code}}
                await response.write(b"data: " + orjson.dumps(error) + b"\n\n")
                await response.write_eof()
                return True
            case _:
                pass
        return False

    async def _stop(self, request: web.Request, fault: Fault) -> None:
        if fault is Fault.CUT:
            assert request.transport is not None
            request.transport.close()
            raise ConnectionResetError("told to cut the answer")
        await asyncio.Event().wait()

    @staticmethod
    def _chunk(
        seen: SeenCall, do: Behaviour, delta: dict[str, Any], finish_reason: str | None = None
    ) -> dict[str, Any]:
        return {
            "id": "chatcmpl-test",
            "object": "chat.completion.chunk",
            "created": CREATED,
            "model": do.model or seen.body["model"],
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}],
        }

    @staticmethod
    def _usage(seen: SeenCall, do: Behaviour) -> dict[str, int] | None:
        if do.fault is Fault.NO_USAGE:
            return None
        if do.fault is Fault.ABSURD_USAGE:
            return {"prompt_tokens": -5, "completion_tokens": 10**15, "total_tokens": 0}
        prompt = sum(len(str(message.get("content", "")).split()) for message in seen.body["messages"])
        answer = len(do.text.split())
        return {"prompt_tokens": prompt, "completion_tokens": answer, "total_tokens": prompt + answer}


def _peer(request: web.Request) -> object:
    return request.transport.get_extra_info("peername") if request.transport else None


@contextlib.asynccontextmanager
async def running_provider(port: int = 0) -> AsyncIterator[MisbehavingProvider]:
    """Serves on 127.0.0.1; a free port by default."""
    provider = MisbehavingProvider()
    app = web.Application(client_max_size=64 * 1024 * 1024)
    app.router.add_post("/v1/chat/completions", provider.chat)
    app.router.add_get("/v1/models", provider.list_models)
    # Without it aiohttp lets a handler run on when its client has left, and we could not see the abort.
    runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port)
    await site.start()
    provider.port = runner.addresses[0][1]
    try:
        yield provider
    finally:
        await runner.cleanup()

"""One request answered as a behaviour says."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson

from tests.support.provider.behaviour import Behaviour, Fault
from tests.support.provider.body import Body, head, told_headers
from tests.support.provider.chat import Saying, embeddings, error_body, is_honest, saying, usage
from tests.support.provider.connection import Exchange

HUGE_LINE_BYTES = 1024 * 1024 + 1024
COMMENT_PACE_S = 0.02
# Without a pace chunks go out together up to this size, as they do from a server that is faster than its network.
TOGETHER_BYTES = 16 * 1024
NOWHERE = "http://127.0.0.1:1/elsewhere"
WIFI_PAGE = "<html><body>Sign in to the hotel's Wi-Fi</body></html>"
IN_THE_MIDDLE = frozenset({Fault.STALL, Fault.CUT, Fault.CUT_RESET, Fault.BAD_FRAMING})


async def answer(exchange: Exchange, do: Behaviour, endpoint: str) -> None:
    """Answers a request to `chat` or `embeddings`."""
    if await _before_the_head(exchange, do):
        return
    body = exchange.seen.body
    if do.fault is Fault.REDIRECT:
        exchange.seen.status = 307
        exchange.send(head(307, {"Location": NOWHERE, "Content-Length": "0", **told_headers(do)}))
        await exchange.finish()
    elif do.status != 200:
        error = error_body(do) if do.error is None else do.error
        if isinstance(error, str):
            kind = "text/html" if error.lstrip().startswith("<") else "text/plain"
            await _one_piece(exchange, do, error.encode(), kind)
        else:
            await _one_piece(exchange, do, orjson.dumps(error))
    elif do.fault is Fault.WRONG_CONTENT_TYPE:
        await _one_piece(exchange, do, (do.raw or WIFI_PAGE).encode(), "text/html")
    elif do.raw is not None:
        await _one_piece(
            exchange, do, do.raw.encode(), "text/event-stream" if body.get("stream") else "application/json"
        )
    elif endpoint == "embeddings":
        await _whole(exchange, do, embeddings(body, do), None)
    else:
        said = saying(body, do, exchange.seen.number)
        if body.get("stream"):
            await _Stream(exchange, do, said).play()
        else:
            await _whole(exchange, do, said.whole(), said.tokens)


async def _before_the_head(exchange: Exchange, do: Behaviour) -> bool:
    """What goes wrong before the head; True: that was all."""
    match do.fault:
        case Fault.RESET_BEFORE_HEADERS:
            await exchange.cut(reset=True)
            return True
        case Fault.CLOSE_BEFORE_HEADERS:
            await exchange.cut()
            return True
        case Fault.CLOSE_IF_REUSED if exchange.request.reused:
            await exchange.cut()
            return True
        case Fault.SILENCE:
            await asyncio.Event().wait()
        case _:
            pass
    if do.latency_s:
        await asyncio.sleep(do.latency_s)
    match do.fault:
        case Fault.NOT_HTTP:
            exchange.send(b"SSH-2.0-OpenSSH_9.6\r\n")
            await exchange.cut()
            return True
        case Fault.HEADERS_UNFINISHED:
            exchange.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nX-Slow: ")
            await asyncio.Event().wait()
        case Fault.INTERIM:
            exchange.send(b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n")
        case _:
            pass
    return False


async def _whole(exchange: Exchange, do: Behaviour, answered: dict[str, Any], tokens: int | None) -> None:
    """An answer in one piece, with its usage. `tokens`: of a completion; None: the answer has none."""
    if do.fault is Fault.ERROR_IN_STREAM:
        await _one_piece(exchange, do, orjson.dumps(error_body(do)))
        return
    seen = exchange.seen
    seen.model, seen.tokens_said = answered["model"], tokens or 0
    if do.fault is not Fault.NO_USAGE:
        answered["usage"] = usage(do, seen.prompt_tokens, tokens)
    raw = orjson.dumps(answered)
    match do.fault:
        case Fault.NOT_JSON | Fault.BROKEN_CHUNK:
            raw = raw[: len(raw) // 2]
        case Fault.NOT_AN_OBJECT:
            raw = b"[" + raw + b"]"
        case Fault.BROKEN_UTF8:
            raw = raw.replace(b'"model":"', b'"model":"\xe2\x82', 1)
        case Fault.NO_USAGE:
            pass
        case _ if is_honest(do):
            await _one_piece(exchange, do, raw, reports=(seen.prompt_tokens, seen.tokens_said))
            return
    await _one_piece(exchange, do, raw)


async def _one_piece(
    exchange: Exchange,
    do: Behaviour,
    raw: bytes,
    content_type: str = "application/json",
    *,
    reports: tuple[int, int] | None = None,
) -> None:
    body = Body(exchange, do)
    raw = body.head(do.status, content_type, raw)
    if do.fault is Fault.SLOW_FIRST_TOKEN:
        await body.break_off()
        return
    if do.first_token_s:
        await asyncio.sleep(do.first_token_s)
    if do.fault in IN_THE_MIDDLE:
        await body.write(raw[: len(raw) // 2])
        await body.break_off()
        return
    await body.write(raw)
    exchange.seen.reported = reports
    await body.end()


class _Stream:
    """An answer as server-sent events."""

    def __init__(self, exchange: Exchange, do: Behaviour, said: Saying) -> None:
        self._exchange = exchange
        self._do = do
        self._said = said
        self._body = Body(exchange, do)
        self._end = b"\r\n\r\n" if do.comments else b"\n\n"
        self._prefix = do.data_prefix.encode()
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        self._pending_chunks = 0
        self._pending_tokens = 0
        options = exchange.seen.body.get("stream_options")
        self._wants_usage = isinstance(options, dict) and bool(options.get("include_usage"))

    async def play(self) -> None:
        do, said = self._do, self._said
        self._body.head(200, "text/event-stream")
        if do.fault is Fault.SLOW_FIRST_TOKEN:
            await self._body.break_off()
            return
        if do.first_token_s:
            await asyncio.sleep(do.first_token_s)
        if do.fault is Fault.ONLY_COMMENTS:
            while True:
                await self._body.write(b": keep-alive" + self._end)
                await asyncio.sleep(do.pace_s or COMMENT_PACE_S)
        number = -1
        for number, (chunk, tokens) in enumerate(said.chunks(do.tokens_per_chunk)):
            if number == do.after_chunks and await self._goes_wrong():
                return
            await self._say(chunk, tokens)
        if number < do.after_chunks and await self._goes_wrong():
            return
        await self._finish()

    async def _finish(self) -> None:
        do, seen, reports = self._do, self._exchange.seen, None
        if do.fault is not Fault.NO_FINISH:
            for chunk in self._said.finishes():
                self._add(self._event(chunk))
        if self._wants_usage and do.fault is not Fault.NO_USAGE:
            self._add(self._event({**self._said.chunk([]), "usage": usage(do, seen.prompt_tokens, self._said.tokens)}))
            reports = (seen.prompt_tokens, self._said.tokens) if is_honest(do) else None
        if do.fault not in {Fault.NO_DONE, Fault.CUT_AT_END}:
            self._add(self._prefix + b"[DONE]" + self._end)
        await self._flush()
        seen.reported = reports
        if do.fault is Fault.CUT_AT_END:
            await self._exchange.cut()
        else:
            await self._body.end()

    async def _say(self, chunk: dict[str, Any], tokens: int) -> None:
        do = self._do
        if do.comments:
            self._add(b": still thinking" + self._end)
        if self._wants_usage:
            chunk["usage"] = None  # as OpenAI has it
            if do.fault is Fault.USAGE_IN_EVERY_CHUNK:
                seen = self._exchange.seen
                chunk["usage"] = usage(do, seen.prompt_tokens, seen.tokens_said + self._pending_tokens + tokens)
        self._add(self._event(chunk))
        self._pending_chunks += 1
        self._pending_tokens += tokens
        if do.drip_bytes:
            await self._flush()  # which takes its time
        elif do.pace_s:
            await self._flush()
            await asyncio.sleep(do.pace_s)
        elif self._pending_bytes > TOGETHER_BYTES:
            await self._flush()
            await asyncio.sleep(0)  # others run too, while the client takes all it is given

    async def _goes_wrong(self) -> bool:
        """Does what goes wrong in the middle of a stream; True: the answer is over."""
        match self._do.fault:
            case fault if fault in IN_THE_MIDDLE:
                await self._flush()
                await self._body.break_off()
                return True
            case Fault.CUT_CLEANLY:
                await self._flush()
                await self._body.end()
                return True
            case Fault.ERROR_IN_STREAM:
                self._add(self._event(error_body(self._do)))
                await self._flush()
                await self._body.end()
                return True
            case Fault.BROKEN_CHUNK | Fault.NOT_JSON:
                self._add(self._prefix + b'{"id":"chatcmpl-0","choices":[{"del' + self._end)
            case Fault.NOT_AN_OBJECT:
                self._add(self._prefix + b'["a","list"]' + self._end)
            case Fault.BROKEN_UTF8:
                whole = orjson.dumps(self._said.chunk([{"index": 0, "delta": {"content": "@"}, "finish_reason": None}]))
                self._add(self._prefix + whole.replace(b"@", b"\xe2\x82") + self._end)
            case Fault.HUGE_LINE:
                self._add(self._prefix + b"x" * HUGE_LINE_BYTES + self._end)
            case _:
                pass
        return False

    def _event(self, chunk: dict[str, Any]) -> bytes:
        return self._prefix + orjson.dumps(chunk) + self._end

    def _add(self, data: bytes) -> None:
        self._pending.append(data)
        self._pending_bytes += len(data)

    async def _flush(self) -> None:
        if not self._pending:
            return
        data, seen = b"".join(self._pending), self._exchange.seen
        # Counted before it is taken: who waits for the client to take more than it does sees what was said to it.
        if self._pending_chunks:
            seen.model = self._said.model
        seen.chunks_sent += self._pending_chunks
        seen.tokens_said += self._pending_tokens
        self._pending, self._pending_bytes, self._pending_chunks, self._pending_tokens = [], 0, 0, 0
        await self._body.write(data)
        self._exchange.changed()

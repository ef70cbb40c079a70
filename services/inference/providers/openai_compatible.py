"""Upstreams that speak OpenAI's API: our own path, because a general client costs milliseconds a call (DESIGN.md).

A caller's body goes on as it is, with the upstream's model name in it; what streams back is passed on as read, each
chunk checked. The caller's name of the model replaces the upstream's in what comes back.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import replace
from typing import Any

import aiohttp
import orjson
from yarl import URL

from services.inference.providers import faults
from services.inference.providers.base import AnswerRecord, OpenAiCall, Piece, ProviderRequest
from services.inference.providers.http import Answer, Timeouts, post
from services.inference.providers.openai_chunks import DONE, ChunkReader, answer_bytes, text_of, usage_of
from services.mesh.errors import MeshError

_KEEP_ALIVE = b": keep-alive\n\n"
_DONE_EVENT = b"data: " + DONE + b"\n\n"
_BETWEEN = b"\n\ndata: "


class OpenAiCompatible:
    """A provider at `base_url`, which `/chat/completions` is appended to. `key`: sent as bearer where not empty."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        name: str,
        base_url: str,
        *,
        key: str = "",
        timeouts: Timeouts | None = None,
        stream_usage: bool = True,
        output_cap_field: str = "max_tokens",
    ) -> None:
        self._session = session
        self._name = name
        self._url = URL(f"{base_url}/chat/completions")  # parsed once, not once a call
        self._key = key
        self._timeouts = timeouts or Timeouts()
        # An answer that is not streamed begins when it is whole: the first byte may take as long as all of it.
        self._whole_timeouts = replace(self._timeouts, first_token_s=self._timeouts.total_s)
        self._stream_usage = stream_usage
        self._output_cap_field = output_cap_field
        self._headers = {"Content-Type": "application/json"}
        if key:
            self._headers["Authorization"] = f"Bearer {key}"

    @property
    def name(self) -> str:
        """Name in the configuration."""
        return self._name

    async def stream(self, request: ProviderRequest) -> AsyncGenerator[Piece, None]:
        """See Provider."""
        reader = ChunkReader(self._name, request.model, AnswerRecord(), self._key)
        record = reader.record
        async with aclosing(self._chunks(self._body(request), request.model, reader)) as reads:
            async for chunks in reads:
                if chunks:
                    yield Piece(text="".join([text_of(chunk) for _, chunk in chunks]))
        yield Piece(finish_reason=record.finish_reasons.get(0, "stop"), usage=record.usage)

    async def complete_openai(self, call: OpenAiCall, record: AnswerRecord) -> bytes:
        """See Provider."""
        async with self._post(self._upstream_body(call), call.upstream_model, self._whole_timeouts) as answer:
            raw = await answer.read_all()
        try:
            parsed = orjson.loads(raw)
        except orjson.JSONDecodeError:
            kind = faults.sanitise(answer.content_type)
            raise faults.broken(self._name, f"it is not JSON (its content type is {kind})") from None
        self._check_whole(parsed, call.upstream_model, record)
        if parsed.get("model") == call.model:
            return bytes(raw)
        parsed["model"] = call.model
        return orjson.dumps(parsed)

    async def stream_openai(self, call: OpenAiCall, record: AnswerRecord) -> AsyncGenerator[bytes, None]:
        """See Provider. A usage chunk that the caller did not ask for is read and left out."""
        body = self._upstream_body(call)
        options = body.get("stream_options")
        wants_usage = isinstance(options, dict) and bool(options.get("include_usage"))
        if self._stream_usage and not wants_usage:
            body["stream_options"] = {**(options or {}), "include_usage": True}
        reader = ChunkReader(self._name, call.upstream_model, record, self._key)
        renamer = _Renamer(call.model)
        said_done = False
        async with aclosing(self._chunks(body, call.upstream_model, reader)) as reads:
            async for chunks in reads:
                if reader.saw_usage and not wants_usage:
                    part = renamer.events([one for one in chunks if one[1].get("choices") or not one[1].get("usage")])
                else:
                    part = renamer.events(chunks)
                if reader.done:
                    part += _DONE_EVENT
                    said_done = True
                if part:
                    yield part
                elif reader.saw_comment:
                    yield _KEEP_ALIVE
        if not said_done:
            yield _DONE_EVENT

    async def _chunks(
        self, body: Mapping[str, Any], model: str, reader: ChunkReader
    ) -> AsyncGenerator[list[tuple[bytes, dict[str, Any]]], None]:
        """Checked chunks, one list a read; ends without an error only where the answer is whole."""
        async with self._post({**body, "stream": True}, model, self._timeouts) as answer:
            if answer.content_type != "text/event-stream":
                kind = faults.sanitise(answer.content_type)
                raise faults.broken(self._name, f"its content type is {kind}, not text/event-stream")
            async with aclosing(answer.reads()) as reads:
                async for data in reads:
                    chunks = reader.feed(data)
                    if reader.done:
                        reader.check_whole()
                    if chunks or reader.done or reader.saw_comment:
                        yield chunks
                    if reader.done:
                        break
            if reader.done:
                await answer.finish()
            elif chunks := reader.end():
                yield chunks

    def _post(self, body: Mapping[str, Any], model: str, timeouts: Timeouts) -> AbstractAsyncContextManager[Answer]:
        try:
            data = orjson.dumps(body)
        except orjson.JSONEncodeError:
            raise MeshError("INVALID_FIELD", "The body is nested too deeply; at most 250 levels go on.") from None
        return post(
            self._session,
            self._name,
            self._url,
            data,
            self._headers,
            timeouts,
            model=model,
            key=self._key,
        )

    def _body(self, request: ProviderRequest) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": request.model,
            "messages": [{"role": message.role, "content": message.content} for message in request.messages],
        }
        if request.max_output_tokens is not None:
            body[self._output_cap_field] = request.max_output_tokens
        if request.temperature is not None:
            body["temperature"] = request.temperature
        if request.top_p is not None:
            body["top_p"] = request.top_p
        if request.stop:
            body["stop"] = list(request.stop)
        if request.seed is not None:
            body["seed"] = request.seed
        if self._stream_usage:
            body["stream_options"] = {"include_usage": True}
        return body

    def _upstream_body(self, call: OpenAiCall) -> dict[str, Any]:
        """The caller's body with the upstream's model, and our cap under the name that this upstream knows it by."""
        body = {**call.body, "model": call.upstream_model}
        if call.output_cap is not None:
            body[self._output_cap_field] = call.output_cap
        return body

    def _check_whole(self, parsed: Any, model: str, record: AnswerRecord) -> None:
        if not isinstance(parsed, dict):
            raise faults.broken(self._name, "it is not a JSON object")
        if error := parsed.get("error"):
            raise faults.stream_error(self._name, error, model=model, key=self._key)
        choices = parsed.get("choices")
        if not isinstance(choices, list) or not choices:
            raise faults.broken(self._name, "it holds no choices")
        for index, choice in enumerate(choices):
            message = choice.get("message") if isinstance(choice, dict) else None
            if not isinstance(message, dict):
                raise faults.broken(self._name, "a choice holds no message")
            if not choice.get("finish_reason"):
                raise faults.broken(self._name, "a choice holds no finish reason")
            record.output_bytes += answer_bytes(message)
            record.finish_reasons[index] = str(choice["finish_reason"])
        record.usage = usage_of(parsed.get("usage"))


class _Renamer:
    """Puts the caller's name of the model where the upstream's stands, without writing chunks anew where it can."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._replacement = b'"model":' + orjson.dumps(model)
        self._upstream: Any = None
        self._needles: tuple[bytes, ...] = ()

    def events(self, chunks: list[tuple[bytes, dict[str, Any]]]) -> bytes:
        """Server-sent events of the chunks of one read."""
        if not chunks:
            return b""
        upstream = chunks[0][1].get("model")
        if upstream != self._upstream or not self._needles:
            self._upstream = upstream
            name = orjson.dumps(upstream)
            self._needles = (b'"model":' + name, b'"model": ' + name)
        block = _BETWEEN.join([raw for raw, _ in chunks])
        # Nearly always each chunk names its model once, as the first one did, and has no line break within: then one
        # replacement does for all. Inside a JSON string a quote is escaped, so what is found is a member's name.
        if block.count(b"\n") == 2 * (len(chunks) - 1):
            for needle in self._needles:
                if block.count(needle) == len(chunks) == block.count(b'"model"'):
                    return b"data: " + block.replace(needle, self._replacement) + b"\n\n"
        return b"data: " + _BETWEEN.join([self._one(chunk) for _, chunk in chunks]) + b"\n\n"

    def _one(self, chunk: dict[str, Any]) -> bytes:
        chunk["model"] = self._model
        return orjson.dumps(chunk)

"""Upstreams that speak OpenAI's API: our own path, because a general client costs milliseconds a call (DESIGN.md).

A caller's body goes on as it is, with the upstream's model name in it; what streams back is passed on as read, each
chunk checked. The caller's name of the model replaces the upstream's in what comes back.
"""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator
from typing import Any

import orjson

from services.inference.providers import faults
from services.inference.providers.base import AnswerRecord, Part, UpstreamCall
from services.inference.providers.endpoint import Endpoint, Timeouts, endpoint
from services.inference.providers.http import Answer, Client, refusal
from services.inference.providers.keys import KeyRing
from services.inference.providers.openai_chunks import DONE, ChunkReader, answer_bytes, embedding_usage_of, usage_of
from services.inference.providers.renaming import ChunkRenamer, renamed
from services.mesh.errors import MeshError

_KEEP_ALIVE = b": keep-alive\n\n"
_DONE_EVENT = b"data: " + DONE + b"\n\n"
CAP_FIELDS = ("max_tokens", "max_completion_tokens")
_REFUSED = (401, 402, 403)
# A provider that does not know our cap goes on for as long as it likes. Text has about four bytes a token, and hardly
# any has 32: what is longer than that passes the cap, however it is counted.
RUNAWAY_BYTES_PER_TOKEN = 32
RUNAWAY_SLACK_BYTES = 1024


class OpenAiCompatible:
    """A provider at `base_url`, which `/chat/completions` and `/embeddings` are appended to."""

    def __init__(
        self,
        client: Client,
        name: str,
        base_url: str,
        *,
        keys: KeyRing | None = None,
        timeouts: Timeouts | None = None,
        stream_usage: bool = True,
        output_cap_field: str = "max_tokens",
    ) -> None:
        self._client = client
        self._name = name
        self._chat = endpoint(name, f"{base_url}/chat/completions")
        self._embeddings = endpoint(name, f"{base_url}/embeddings")
        self._keys = KeyRing() if keys is None else keys
        self._timeouts = timeouts or Timeouts()
        self._stream_usage = stream_usage
        self._output_cap_field = output_cap_field

    @property
    def name(self) -> str:
        """Name in the configuration."""
        return self._name

    async def complete(self, call: UpstreamCall, record: AnswerRecord) -> bytes:
        """See Provider."""
        body = self._chat_body(call)
        if body.pop("stream", None):
            body.pop("stream_options", None)
        answer, key = await self._post(self._chat, body, call, record, whole=True)
        raw, parsed = answer.body, self._parse(answer, call, key)
        choices = parsed.get("choices")
        if not isinstance(choices, list) or not choices:
            raise faults.broken(self._name, "it holds no choices")
        record.usage = usage_of(parsed.get("usage"))
        for place, choice in enumerate(choices):
            message = choice.get("message") if isinstance(choice, dict) else None
            if not isinstance(message, dict):
                raise faults.broken(self._name, "a choice holds no message")
            record.output_bytes += answer_bytes(message)
            reason = choice.get("finish_reason")
            if not reason:
                raise faults.broken(self._name, "a choice holds no finish reason")
            record.finish_reasons[place] = str(reason)
        return renamed(raw, parsed, call.model)

    async def stream(self, call: UpstreamCall, record: AnswerRecord) -> AsyncGenerator[Part, None]:
        """See Provider. A usage chunk that the caller did not ask for is read and left out."""
        body = self._chat_body(call)
        body["stream"] = True
        if self._stream_usage:
            options = body.get("stream_options")
            body["stream_options"] = {**(options if isinstance(options, dict) else {}), "include_usage": True}
        answer, key = await self._post(self._chat, body, call, record, whole=False)
        try:
            if answer.content_type != "text/event-stream":
                kind = faults.sanitise(answer.content_type)
                raise faults.broken(self._name, f"its content type is {kind}, not text/event-stream")
            reader = ChunkReader(self._name, call.upstream_model, record, key)
            renamer = ChunkRenamer(call.model)
            ended = begun = False
            most_bytes = _most_bytes(call)
            while not ended:
                try:
                    data = await answer.read()
                except MeshError:
                    # Lost, or too slow, when all was said: what is missing is but the end of the body.
                    if not reader.whole(call.body.get("n") or 1):
                        raise
                    data = b""
                if data:
                    reader.feed(data)
                    ended = reader.done
                    if record.output_bytes > most_bytes and not ended and reader.error is None:
                        reader.error = self._runaway(call)
                else:
                    reader.end()
                    ended = True
                raws, chunks = reader.events, reader.chunks
                if chunks and not begun:
                    begun = True
                    answer.begun()
                if reader.saw_usage and not call.wants_usage:
                    raws, chunks = _without_usage(raws, chunks)
                part = renamer.events(raws, chunks)
                if ended and reader.error is None:
                    # Before the part goes out: whoever takes it may not come back for more.
                    answer.finish()
                    part += _DONE_EVENT
                if part:
                    yield Part(part, chunks)
                elif reader.saw_comment:
                    yield Part(_KEEP_ALIVE, [])
                if reader.error is not None:
                    raise reader.error
        finally:
            answer.close()

    def _runaway(self, call: UpstreamCall) -> MeshError:
        return faults.broken(self._name, f"it goes on far beyond the {call.output_cap:,} tokens that it was allowed")

    async def embed(self, call: UpstreamCall, record: AnswerRecord) -> bytes:
        """See Provider."""
        body = {**call.body, "model": call.upstream_model}
        answer, key = await self._post(self._embeddings, body, call, record, whole=True)
        parsed = self._parse(answer, call, key)
        record.usage = embedding_usage_of(parsed.get("usage"))
        vectors = parsed.get("data")
        asked = call.body.get("input")
        count = len(asked) if isinstance(asked, list) and asked and not isinstance(asked[0], int) else 1
        if not isinstance(vectors, list) or len(vectors) != count:
            raise faults.broken(self._name, f"it does not hold {count} vectors, one for each input")
        for vector in vectors:
            if not isinstance(vector, dict) or not vector.get("embedding"):
                raise faults.broken(self._name, "one of its vectors is missing")
        return renamed(answer.body, parsed, call.model)

    async def _post(
        self, where: Endpoint, body: dict[str, Any], call: UpstreamCall, record: AnswerRecord, *, whole: bool
    ) -> tuple[Answer, str]:
        """The answer, whose status is 200, and the key that it was got with.

        A key that is refused or limited rests, and where another one is there the call goes by that at once.
        """
        try:
            data = orjson.dumps(body)
        except orjson.JSONEncodeError:
            raise MeshError("INVALID_FIELD", "The body is nested too deeply; at most 250 levels go on.") from None
        keys, timeouts = self._keys, self._timeouts
        key: str | None = keys.pick()
        tried: set[str] = set()
        limited: Exception | None = None
        while True:
            assert key is not None
            answer = await self._client.post(where, key, data, timeouts, record, whole=whole)
            status = answer.status
            if status == 200:
                return answer, key
            answer.close()
            record.sent = False  # whoever says no asks nothing for it
            error = refusal(where, answer, model=call.upstream_model, key=key)
            if status == 429 and isinstance(error, MeshError):
                keys.limited(key, error.retry_after_s)
                limited = limited or error
            elif status in _REFUSED:
                keys.refused(key)
            else:
                raise error
            tried.add(key)
            key = keys.pick_other(tried)
            if key is None:
                # A limit passes; that another key was refused is for an operator, and no reason to give up on this.
                raise limited or error

    def _parse(self, answer: Answer, call: UpstreamCall, key: str) -> dict[str, Any]:
        try:
            parsed = orjson.loads(answer.body)
        except orjson.JSONDecodeError:
            kind = faults.sanitise(answer.content_type)
            raise faults.broken(self._name, f"it is not JSON (its content type is {kind})") from None
        if not isinstance(parsed, dict):
            raise faults.broken(self._name, "it is not a JSON object")
        if error := parsed.get("error"):
            raise faults.stream_error(self._name, error, model=call.upstream_model, key=key)
        return parsed

    def _chat_body(self, call: UpstreamCall) -> dict[str, Any]:
        """The caller's body with the upstream's model, and our cap under the name that this upstream knows it by."""
        body = {**call.body, "model": call.upstream_model}
        if call.output_cap is not None:
            for field in CAP_FIELDS:
                body.pop(field, None)
            body[self._output_cap_field] = call.output_cap
        return body


def _most_bytes(call: UpstreamCall) -> float:
    """Of an answer whose provider keeps to its cap."""
    if not call.output_cap:
        return math.inf
    return RUNAWAY_SLACK_BYTES + call.output_cap * (call.body.get("n") or 1) * RUNAWAY_BYTES_PER_TOKEN


def _without_usage(raws: list[bytes], chunks: list[dict[str, Any]]) -> tuple[list[bytes], list[dict[str, Any]]]:
    kept = [place for place, chunk in enumerate(chunks) if chunk.get("choices") or not chunk.get("usage")]
    return [raws[place] for place in kept], [chunks[place] for place in kept]

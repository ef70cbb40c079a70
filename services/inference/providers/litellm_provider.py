"""Providers that do not speak OpenAI's API, through litellm.

litellm takes 2.5 s and 160 MB to import and milliseconds of CPU a call (DESIGN.md), so it is imported when the first
call needs it, in a thread, and never otherwise.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import os
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

import orjson

from services.inference.providers import faults
from services.inference.providers.base import AnswerRecord, OpenAiCall, Piece, ProviderRequest
from services.inference.providers.http import Timeouts
from services.inference.providers.openai_chunks import answer_bytes, usage_of
from services.mesh.errors import MeshError

# Fields of a caller's body that would steer litellm itself: where it calls, with whose key, what it does besides.
# Only what OpenAI's API knows goes on; the rest is left out.
OPENAI_FIELDS = frozenset(
    {
        "messages", "frequency_penalty", "logit_bias", "logprobs", "max_completion_tokens", "max_tokens", "n",
        "parallel_tool_calls", "presence_penalty", "reasoning_effort", "response_format", "seed", "stop",
        "stream_options", "temperature", "tool_choice", "tools", "top_logprobs", "top_p", "user",
    }
)  # fmt: skip
_importing: asyncio.Lock | None = None


def installed() -> bool:
    """Whether litellm could be imported; does not import it."""
    return importlib.util.find_spec("litellm") is not None


class LiteLlm:
    """The provider of kind `litellm`. Its models are named as litellm names them: `anthropic/claude-…`."""

    def __init__(
        self, name: str, *, base_url: str | None = None, key: str = "", timeouts: Timeouts | None = None
    ) -> None:
        self._name = name
        self._base_url = base_url
        self._key = key
        self._timeouts = timeouts or Timeouts()

    @property
    def name(self) -> str:
        """Name in the configuration."""
        return self._name

    async def stream(self, request: ProviderRequest) -> AsyncGenerator[Piece, None]:
        """See Provider. Sampling that the model does not know is left out."""
        body: dict[str, Any] = {
            "messages": [{"role": message.role, "content": message.content} for message in request.messages],
            "max_tokens": request.max_output_tokens,
            "temperature": request.temperature,
            "top_p": request.top_p,
            "stop": list(request.stop) or None,
            "seed": request.seed,
            "stream_options": {"include_usage": True},
        }
        body = {field: value for field, value in body.items() if value is not None}
        record = AnswerRecord()
        async with aclosing(self._chunks(request.model, body, record, drop_params=True)) as chunks:
            async for chunk in chunks:
                text = "".join(
                    choice["delta"].get("content") or "" for choice in chunk["choices"] if choice.get("delta")
                )
                if text:
                    yield Piece(text=text)
        yield Piece(finish_reason=record.finish_reasons.get(0, "stop"), usage=record.usage)

    async def complete_openai(self, call: OpenAiCall, record: AnswerRecord) -> bytes:
        """See Provider."""
        answer = await self._call(call.upstream_model, _body(call), stream=False, drop_params=False)
        parsed: dict[str, Any] = answer.model_dump(exclude_none=True)
        choices = parsed.get("choices")
        if not choices or not all(choice.get("finish_reason") for choice in choices):
            raise faults.broken(self._name, "it holds no choices, or one without a finish reason")
        for index, choice in enumerate(choices):
            record.output_bytes += answer_bytes(choice.get("message") or {})
            record.finish_reasons[index] = str(choice["finish_reason"])
        record.usage = usage_of(parsed.get("usage"))
        return orjson.dumps({**parsed, "model": call.model}, default=str)

    async def stream_openai(self, call: OpenAiCall, record: AnswerRecord) -> AsyncGenerator[bytes, None]:
        """See Provider."""
        body = _body(call)
        options = body.get("stream_options")
        wants_usage = isinstance(options, dict) and bool(options.get("include_usage"))
        body["stream_options"] = {**(options or {}), "include_usage": True}
        async with aclosing(self._chunks(call.upstream_model, body, record, drop_params=False)) as chunks:
            async for chunk in chunks:
                if not chunk["choices"] and not wants_usage:
                    continue
                if not wants_usage:
                    chunk.pop("usage", None)
                yield b"data: " + orjson.dumps({**chunk, "model": call.model}, default=str) + b"\n\n"
        yield b"data: [DONE]\n\n"

    async def _chunks(
        self, model: str, body: Mapping[str, Any], record: AnswerRecord, *, drop_params: bool
    ) -> AsyncGenerator[dict[str, Any], None]:
        loop = asyncio.get_running_loop()
        end_time = loop.time() + self._timeouts.total_s
        answer = await self._call(model, body, stream=True, drop_params=drop_params)
        limit_time = loop.time() + self._timeouts.first_token_s
        try:
            while True:
                try:
                    async with asyncio.timeout_at(min(limit_time, end_time)):
                        chunk = await anext(answer, None)
                except TimeoutError:
                    raise faults.timeout(self._name, "nothing of the answer came in time") from None
                except Exception as error:
                    raise self._fault(error, model) from None
                if chunk is None:
                    break
                parsed = chunk.model_dump(exclude_none=True)
                parsed.setdefault("choices", [])
                for choice in parsed["choices"]:
                    record.output_bytes += answer_bytes(choice.get("delta") or {})
                    if reason := choice.get("finish_reason"):
                        record.finish_reasons[choice.get("index", 0)] = str(reason)
                record.usage = usage_of(parsed.get("usage")) or record.usage
                yield parsed
                limit_time = loop.time() + self._timeouts.idle_s
        finally:
            await answer.aclose()
        if not record.finish_reasons:
            raise faults.broken(self._name, "the stream ended without a finish reason")

    async def _call(self, model: str, body: Mapping[str, Any], *, stream: bool, drop_params: bool) -> Any:
        litellm = await _litellm(self._name)
        try:
            return await litellm.acompletion(
                **body,
                model=model,
                stream=stream,
                api_key=self._key or None,
                base_url=self._base_url,
                timeout=self._timeouts.first_token_s if stream else self._timeouts.total_s,
                num_retries=0,
                max_retries=0,
                drop_params=drop_params,
            )
        except Exception as error:
            raise self._fault(error, model) from None

    def _fault(self, error: Exception, model: str) -> MeshError:
        if isinstance(error, MeshError):
            return error
        name = type(error).__name__
        said = str(getattr(error, "message", "") or error)
        # litellm puts its own class names before the provider's words.
        said = said.removeprefix(f"litellm.{name}: ")
        if name == "Timeout" or isinstance(error, TimeoutError):
            return faults.timeout(self._name, "it did not answer in time")
        if name == "APIConnectionError":
            return faults.unavailable(self._name, "the connection failed")
        code = "context_length_exceeded" if name == "ContextWindowExceededError" else ""
        status = getattr(error, "status_code", None)
        response = getattr(error, "response", None)
        headers = getattr(response, "headers", None) or {}
        return faults.status_error(
            self._name,
            status if isinstance(status, int) and 400 <= status < 600 else 503,
            said,
            code,
            model=model,
            key=self._key,
            retry_after_s=faults.retry_after_s(headers),
        )


def _body(call: OpenAiCall) -> dict[str, Any]:
    body = {field: value for field, value in call.body.items() if field in OPENAI_FIELDS}
    if call.output_cap is not None:
        body["max_tokens"] = call.output_cap
    return body


async def _litellm(provider: str) -> Any:
    global _importing
    if _importing is None:
        _importing = asyncio.Lock()
    async with _importing:
        try:
            return await asyncio.to_thread(_import)
        except ImportError:
            raise faults.unavailable(
                provider, "litellm is not installed; an operator must install promptmesh-mesh[litellm]"
            ) from None


def _import() -> Any:
    # Its list of prices would otherwise be fetched from the network while it is imported.
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    module: Any = importlib.import_module("litellm")
    module.suppress_debug_info = True
    module.telemetry = False
    return module

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
from services.inference.providers.base import AnswerRecord, Part, UpstreamCall
from services.inference.providers.endpoint import Timeouts
from services.inference.providers.keys import KeyRing
from services.inference.providers.openai_chunks import answer_bytes, embedding_usage_of, usage_of
from services.mesh.errors import MeshError

# Fields of a caller's body that would steer litellm itself: where it calls, with whose key, what it does besides.
# Only what OpenAI's API knows goes on; the rest is left out.
OPENAI_FIELDS = frozenset(
    {
        "messages", "audio", "frequency_penalty", "function_call", "functions", "logit_bias", "logprobs",
        "max_completion_tokens", "max_tokens", "modalities", "n", "parallel_tool_calls", "prediction",
        "presence_penalty", "prompt_cache_key", "reasoning_effort", "response_format", "safety_identifier", "seed",
        "service_tier", "stop", "stream_options", "temperature", "tool_choice", "tools", "top_logprobs", "top_p",
        "user", "verbosity", "web_search_options",
    }
)  # fmt: skip
EMBEDDING_FIELDS = frozenset({"input", "dimensions", "encoding_format", "user"})
# What only tunes an answer is left out where a model does not know it. Without anything else the answer would be
# another one than was asked for, so that is refused.
TUNING_FIELDS = frozenset(
    {
        "frequency_penalty", "logit_bias", "parallel_tool_calls", "presence_penalty", "seed", "temperature", "top_p",
        "user",
    }
)  # fmt: skip
CAP_FIELDS = ("max_tokens", "max_completion_tokens")
_DONE = b"data: [DONE]\n\n"
# Errors of litellm's own that say more than their status.
_CODES = {
    "ContextWindowExceededError": "context_length_exceeded",
    "ContentPolicyViolationError": "content_policy_violation",
}
_importing: asyncio.Lock | None = None


def installed() -> bool:
    """Whether litellm could be imported; does not import it."""
    return importlib.util.find_spec("litellm") is not None


class LiteLlm:
    """The provider of kind `litellm`. Its models are named as litellm names them: `anthropic/claude-…`."""

    def __init__(
        self,
        name: str,
        *,
        base_url: str | None = None,
        keys: KeyRing | None = None,
        timeouts: Timeouts | None = None,
    ) -> None:
        self._name = name
        self._base_url = base_url
        self._keys = KeyRing() if keys is None else keys
        self._timeouts = timeouts or Timeouts()

    @property
    def name(self) -> str:
        """Name in the configuration."""
        return self._name

    async def complete(self, call: UpstreamCall, record: AnswerRecord) -> bytes:
        """See Provider."""
        body = _body(call)
        body.pop("stream_options", None)
        answer = await self._ask("acompletion", body, call, record, stream=False)
        parsed: dict[str, Any] = answer.model_dump(exclude_none=True)
        record.usage = usage_of(parsed.get("usage"))
        choices = parsed.get("choices") or []
        for place, choice in enumerate(choices):
            record.output_bytes += answer_bytes(choice.get("message") or {})
            if reason := choice.get("finish_reason"):
                record.finish_reasons[place] = str(reason)
        if not choices or len(record.finish_reasons) < len(choices):
            raise faults.broken(self._name, "it holds no choices, or one without a finish reason")
        return orjson.dumps({**parsed, "model": call.model}, default=str)

    async def stream(self, call: UpstreamCall, record: AnswerRecord) -> AsyncGenerator[Part, None]:
        """See Provider."""
        body = _body(call)
        options = body.get("stream_options")
        body["stream_options"] = {**(options if isinstance(options, dict) else {}), "include_usage": True}
        begun: set[int] = set()
        async with aclosing(self._chunks(call, body, record)) as chunks:
            async for chunk in chunks:
                begun.update(choice.get("index", 0) for choice in chunk["choices"])
                if not call.wants_usage:
                    if not chunk["choices"]:
                        continue
                    chunk.pop("usage", None)
                chunk["model"] = call.model
                yield Part(b"data: " + orjson.dumps(chunk, default=str) + b"\n\n", [chunk])
        if not record.finish_reasons or not begun <= record.finish_reasons.keys():
            raise faults.broken(self._name, "the stream ended without a finish reason")
        yield Part(_DONE, [])

    async def embed(self, call: UpstreamCall, record: AnswerRecord) -> bytes:
        """See Provider."""
        body = {field: value for field, value in call.body.items() if field in EMBEDDING_FIELDS}
        answer = await self._ask("aembedding", body, call, record)
        parsed: dict[str, Any] = answer.model_dump(exclude_none=True)
        record.usage = embedding_usage_of(parsed.get("usage"))
        if not parsed.get("data"):
            raise faults.broken(self._name, "it holds no vectors")
        return orjson.dumps({**parsed, "model": call.model}, default=str)

    async def _chunks(
        self, call: UpstreamCall, body: Mapping[str, Any], record: AnswerRecord
    ) -> AsyncGenerator[dict[str, Any], None]:
        loop = asyncio.get_running_loop()
        begin_time = loop.time()
        end_time = begin_time + self._timeouts.total_s
        answer = await self._ask("acompletion", body, call, record, stream=True)
        limit_time = begin_time + self._timeouts.first_token_s
        try:
            while True:
                try:
                    async with asyncio.timeout_at(min(limit_time, end_time)):
                        chunk = await anext(answer, None)
                except TimeoutError:
                    raise faults.timeout(self._name, "nothing of the answer came in time") from None
                except Exception as error:
                    raise self._fault(error, call.upstream_model, "") from None
                if chunk is None:
                    return
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

    async def _ask(
        self, function: str, body: Mapping[str, Any], call: UpstreamCall, record: AnswerRecord, **options: Any
    ) -> Any:
        """What a function of litellm answers; by another key where one is refused or limited."""
        litellm = await _litellm(self._name)
        model = call.upstream_model
        if function == "acompletion":
            body = _known(litellm, model, body)
            if "tools" in body:
                # Else a caller's tool of type `mcp` would make litellm itself call a server that the caller names;
                # and without the package `mcp` it answers no call with tools at all.
                options["_skip_mcp_handler"] = True
        wait_s = self._timeouts.first_token_s if options.get("stream") else self._timeouts.total_s
        key: str | None = self._keys.pick()
        tried: set[str] = set()
        limited: MeshError | None = None
        while True:
            assert key is not None
            record.sent = True
            try:
                async with asyncio.timeout(wait_s):  # litellm keeps to its own only with some providers
                    return await getattr(litellm, function)(
                        **body,
                        **options,
                        model=model,
                        api_key=key or None,
                        api_base=self._base_url,  # both functions know it by this name
                        timeout=wait_s,
                        num_retries=0,
                        max_retries=0,
                    )
            except Exception as error:
                fault = self._fault(error, model, key)
            if fault.reason == "PROVIDER_RATE_LIMITED":
                self._keys.limited(key, fault.retry_after_s)
                limited = limited or fault
            elif fault.reason == "PROVIDER_CREDENTIAL_REFUSED":
                self._keys.refused(key)
            else:
                raise fault
            tried.add(key)
            key = self._keys.pick_other(tried)
            if key is None:
                raise limited or fault

    def _fault(self, error: Exception, model: str, key: str) -> MeshError:
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
        code = _CODES.get(name, "")
        status = getattr(error, "status_code", None)
        response = getattr(error, "response", None)
        headers = getattr(response, "headers", None) or {}
        return faults.status_error(
            self._name,
            status if isinstance(status, int) and 400 <= status < 600 else 503,
            said,
            code,
            model=model,
            key=key,
            retry_after_s=faults.retry_after_s(headers),
        )


def _body(call: UpstreamCall) -> dict[str, Any]:
    body = {field: value for field, value in call.body.items() if field in OPENAI_FIELDS}
    if call.output_cap is not None:
        for field in CAP_FIELDS:
            body.pop(field, None)
        body["max_tokens"] = call.output_cap
    return body


def _known(litellm: Any, model: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
    """The body without what tunes an answer in a way that the model does not know."""
    asked = body.keys() & TUNING_FIELDS
    if not asked:
        return body
    try:
        supported = litellm.get_supported_openai_params(model=model)
    except Exception:  # a model that litellm does not know: it says so itself when it is called
        return body
    if supported is None:
        return body
    unknown = asked - set(supported)
    return {field: value for field, value in body.items() if field not in unknown} if unknown else body


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

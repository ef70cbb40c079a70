"""litellm, for real, against the misbehaving provider; in a process of its own: importing it is slow and warns."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

CODE = """
import asyncio
import orjson
from services.inference.providers.base import AnswerRecord, TokenUsage
from services.inference.providers.http import Timeouts
from services.inference.providers.keys import KeyRing
from services.inference.providers.litellm_provider import LiteLlm
from services.mesh.errors import MeshError
from tests.support.provider import Behaviour, Fault, running_provider
from tests.unit.inference.calls import completed, embed_request, events, request, streamed, text_of

KEY = "sk-test-1234567890abcdef"
MODEL = "openai/mock-small"
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}]
PARTS = [{"role": "user", "content": [{"type": "text", "text": "Hi"},
         {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}]}]


def call(**body):
    return request(upstream_model=MODEL, output_cap=64, **body)


async def reason(awaitable):
    try:
        await awaitable
    except MeshError as error:
        assert KEY not in str(error)
        return error.reason
    return "OK"


async def main():
    async with running_provider() as upstream:
        timeouts = Timeouts(first_token_s=20, idle_s=20, total_s=30)
        provider = LiteLlm("lite", base_url=upstream.base_url, keys=KeyRing([KEY]), timeouts=timeouts)

        record = AnswerRecord()
        asked = call(api_base="http://evil.example", max_completion_tokens=500, seed=1, messages=PARTS,
                     response_format={"type": "json_object"}, n=2)
        whole = await completed(provider, asked, record)
        assert whole["model"] == "house" and whole["choices"][0]["message"]["content"] == upstream.default.text
        assert record.usage.output_tokens and record.finish_reasons == {0: "stop", 1: "stop"} and record.sent, record
        sent = upstream.calls[0].body
        assert sent["max_tokens"] == 64 and "max_completion_tokens" not in sent, sent
        assert sent["seed"] == 1 and sent["messages"] == PARTS and sent["n"] == 2, sent
        assert sent["response_format"] == {"type": "json_object"}, sent

        record = AnswerRecord()
        chunks = events(await streamed(provider, call(), record))
        assert text_of(chunks) == upstream.default.text
        assert {c["model"] for c in chunks} == {"house"} and not any(c.get("usage") for c in chunks)
        assert record.usage.output_tokens == 8 and record.finish_reasons == {0: "stop"}, record
        shown = events(await streamed(provider, call(wants_usage=True)))
        assert shown[-1]["usage"]["completion_tokens"] == 8, shown[-1]

        called = await completed(provider, call(tools=TOOLS))
        assert called["choices"][0]["message"]["tool_calls"][0]["function"]["name"] == "f", called
        called = events(await streamed(provider, call(tools=TOOLS)))
        assert any(c["choices"] and c["choices"][0]["delta"].get("tool_calls") for c in called), called

        record = AnswerRecord()
        asked = embed_request("one", "two")
        asked = type(asked)(asked.body, "house", MODEL)
        vectors = orjson.loads(await provider.embed(asked, record))
        assert vectors["model"] == "house" and len(vectors["data"]) == 2 and record.usage.input_tokens == 2, vectors

        for behaviour, expected in [
            (Behaviour(status=401), "PROVIDER_CREDENTIAL_REFUSED"),
            (Behaviour(status=429, headers={"retry-after": "7"}), "PROVIDER_RATE_LIMITED"),
            (Behaviour(status=400), "PROVIDER_REJECTED"),
            (Behaviour(status=400, error_message="maximum context length is 5", error_code="context_length_exceeded"),
             "CONTEXT_LENGTH_EXCEEDED"),
            (Behaviour(status=400, error_message="Your request was rejected as a result of our safety system.",
                       error_code="content_policy_violation"), "PROVIDER_CONTENT_REFUSED"),
            (Behaviour(status=500), "PROVIDER_UNAVAILABLE"),
        ]:
            for ask in (completed, streamed):
                before = len(upstream.calls)
                upstream.default = behaviour
                found = await reason(ask(provider, call()))
                assert found == expected, (found, expected, ask)
                assert len(upstream.calls) == before + 1, "one attempt"

        upstream.default = Behaviour()
        upstream.keys = {"second"}
        two = LiteLlm("lite", base_url=upstream.base_url, keys=KeyRing(["first", "second"]), timeouts=timeouts)
        for _ in range(3):
            assert await reason(completed(two, call())) == "OK"
        upstream.keys = None

        upstream.default = Behaviour(fault=Fault.STALL)
        before = len(upstream.calls)
        task = asyncio.create_task(streamed(provider, call()))
        seen = await upstream.call(before)
        await seen.began.wait()
        task.cancel()
        assert await asyncio.gather(task, return_exceptions=True)
        async with asyncio.timeout(10):
            await seen.aborted.wait()

asyncio.run(main())
"""


def test_litellm_end_to_end() -> None:
    environment = {**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        capture_output=True,
        text=True,
        timeout=100,
        env=environment,
        cwd=Path(__file__).parents[3],
    )
    assert done.returncode == 0, done.stderr[-4000:]

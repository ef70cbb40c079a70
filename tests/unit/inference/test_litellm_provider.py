"""litellm, for real, against the misbehaving provider; in a process of its own: importing it is slow and warns."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

CODE = """
import asyncio
from dataclasses import replace
import orjson
from services.inference.providers.base import AnswerRecord, OpenAiCall
from services.inference.providers.http import Timeouts
from services.inference.providers.litellm_provider import LiteLlm
from services.mesh.errors import MeshError
from tests.support.provider import Behaviour, Fault, running_provider
from tests.unit.inference.calls import events, openai_call, pieces, request, run_openai

KEY = "sk-test-1234567890abcdef"


def call(**body):
    made = openai_call(**body)
    return OpenAiCall(made.body, made.model, "openai/mock-small", output_cap=64)


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
        provider = LiteLlm("lite", base_url=upstream.base_url, key=KEY, timeouts=timeouts)
        asked = replace(request("Hi", max_output_tokens=9, seed=1), model="openai/mock-small")
        got = await pieces(provider, asked)
        assert "".join(piece.text for piece in got) == upstream.default.text, got
        assert got[-1].finish_reason == "stop" and got[-1].usage.output_tokens == 8, got[-1]
        assert upstream.calls[0].body["max_tokens"] == 9

        record = AnswerRecord()
        whole = orjson.loads(await run_openai(provider, call(api_base="http://evil.example"), record))
        assert whole["model"] == "house" and whole["choices"][0]["message"]["content"] == upstream.default.text
        assert record.usage.output_tokens == 8 and upstream.calls[1].body["max_tokens"] == 64
        chunks = events(await run_openai(provider, call(stream=True)))
        assert "".join(c["choices"][0]["delta"].get("content") or "" for c in chunks) == upstream.default.text
        assert {c["model"] for c in chunks} == {"house"}

        for behaviour, expected in [
            (Behaviour(status=401), "PROVIDER_CREDENTIAL_REFUSED"),
            (Behaviour(status=429, headers={"retry-after": "7"}), "PROVIDER_RATE_LIMITED"),
            (Behaviour(status=400), "PROVIDER_REJECTED"),
            (Behaviour(status=400, error_message="maximum context length is 5", error_code="context_length_exceeded"),
             "CONTEXT_LENGTH_EXCEEDED"),
            (Behaviour(status=500), "PROVIDER_UNAVAILABLE"),
        ]:
            for stream in (False, True):
                before = len(upstream.calls)
                upstream.default = behaviour
                found = await reason(run_openai(provider, call(stream=stream)))
                assert found == expected, (found, expected, stream)
                assert len(upstream.calls) == before + 1, "one attempt"

        upstream.default = Behaviour(fault=Fault.STALL)
        before = len(upstream.calls)
        task = asyncio.create_task(run_openai(provider, call(stream=True)))
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

"""The provider in a process of its own, and its command line."""

from __future__ import annotations

import aiohttp
import pytest

from tests.support.provider import provider_process
from tests.unit.support.wire import MODEL, chat


async def test_told_and_asked_from_outside() -> None:
    async with provider_process(latency_s=0.001, pace_s=0.001, keep=0) as providers, aiohttp.ClientSession() as session:
        await providers.play("a", [{"fault": "unavailable"}])
        await providers.set_default("a", tokens=4)
        statuses = []
        for stream in (False, False, True):
            async with session.post(f"{providers.base_url('a')}/chat/completions", json=chat(stream)) as answer:
                statuses.append(answer.status)
                raw = await answer.read()
        assert statuses == [503, 200, 200]
        assert raw.endswith(b"data: [DONE]\n\n")
        record = await providers.record("a", requests_min=3, running_max=0)
        assert record["calls"] == []
        assert record["reported_whole"][MODEL] == {"answers": 2, "prompt_tokens": 4, "completion_tokens": 8}
        async with session.post(f"{providers.base_url('b')}/chat/completions", json=chat()) as answer:
            assert answer.status == 200
        assert (await providers.record("a", calls=False))["requests"] == 3
        with pytest.raises(TimeoutError, match="'requests': 3"):
            await providers.record("a", requests_min=4, timeout_s=0.01)
        with pytest.raises(ValueError, match="no fault 'wings'"):
            await providers.play("a", [{"fault": "wings"}])
        await providers.reset("a")
        assert (await providers.record("a"))["requests"] == 0

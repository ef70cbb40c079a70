"""How the provider is told: in Python, over HTTP, on the command line."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from tests.support.provider import FAULTS, Behaviour, ProviderServer, running_server
from tests.support.provider.script import Script, Step, named, steps_of
from tests.unit.support.wire import MODEL, ask, chat


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
async def server() -> AsyncIterator[ProviderServer]:
    async with running_server() as server:
        yield server


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


def names(script: Script, count: int) -> list[str]:
    return [step.name if (step := script.take()) else "" for _ in range(count)]


def test_steps_are_taken_in_order() -> None:
    script = Script(Clock())
    script.add(Step("a", Behaviour(), times=2))
    script.add(Step("b", Behaviour()))
    script.add(Step("c", Behaviour(), times=None))
    script.add(Step("never", Behaviour()))
    assert names(script, 6) == ["a", "a", "b", "c", "c", "c"]
    script.clear()
    assert names(script, 1) == [""]


def test_a_step_for_a_time_ends_by_the_clock() -> None:
    clock = Clock()
    script = Script(clock)
    script.add(Step("down", Behaviour(), times=None), for_s=60)
    script.add(Step("after", Behaviour()))
    assert names(script, 2) == ["down", "down"]
    clock.now_s += 59.9
    assert names(script, 1) == ["down"]
    clock.now_s += 0.1
    assert names(script, 2) == ["after", ""]


async def test_until_told_otherwise(server: ProviderServer) -> None:
    provider = server.provider("a")
    provider.fail("unavailable", times=None)
    assert [(await ask(provider, chat())).status for _ in range(3)] == [503, 503, 503]
    provider.recover()
    assert (await ask(provider, chat())).status == 200


async def test_a_fault_is_changed_without_changing_the_table(server: ProviderServer) -> None:
    provider = server.provider("a")
    provider.fail("rate_limit", retry_after_s=9)
    assert (await ask(provider, chat())).headers["retry-after"] == "9"
    assert FAULTS["rate_limit"].behaviour.retry_after_s == 1
    assert named("rate_limit") is FAULTS["rate_limit"].behaviour


@pytest.mark.parametrize(
    ("steps", "says"),
    [
        ({"fault": "none"}, "list of steps"),
        ([1], "list of steps"),
        ([{"fault": "wings"}], "no fault 'wings'; there are: bad_framing"),
        ([{"fault": 7}], "name of one"),
        ([{"fault": "none", "colour": 1}], "no field 'colour'; fields are: after_chunks"),
        ([{"fault": "none", "pace_s": "slow"}], "pace_s: "),
        ([{"fault": "none", "times": 0}], "times: "),
        ([{"fault": "none", "times": True}], "times: "),
        ([{"fault": "none", "for_s": -1}], "for_s: "),
    ],
)
async def test_a_wrong_script_changes_nothing(
    server: ProviderServer, session: aiohttp.ClientSession, steps: object, says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        steps_of(steps)
    provider = server.provider("a")
    provider.fail("server_error")
    async with session.post(f"{server.url}/_control/a", json=steps) as answer:
        assert answer.status == 400
        assert says in (await answer.json())["error"]
    assert provider.steps_left == 1


async def test_told_over_http(server: ProviderServer, session: aiohttp.ClientSession) -> None:
    url = f"{server.url}/_control/a"
    steps: list[dict[str, Any]] = [
        {"fault": "rate_limit", "retry_after_s": 3, "times": 2},
        {"text": "told", "times": None},
    ]
    async with session.post(url, json=steps) as answer:
        assert await answer.json() == {"base_url": f"{server.url}/p/a/v1", "steps": 2}
    provider = server.provider("a")
    got = [await ask(provider, chat()) for _ in range(3)]
    assert [one.status for one in got] == [429, 429, 200]
    assert got[0].headers["retry-after"] == "3"
    assert got[2].json["choices"][0]["message"]["content"] == "told"
    async with session.post(url, json=[]):
        pass
    assert provider.steps_left == 0
    async with session.put(url, json={"tokens": 3}) as answer:
        assert answer.status == 200
    assert (await ask(provider, chat())).json["usage"]["completion_tokens"] == 3

    async with session.get(url) as answer:
        record = await answer.json()
    assert (record["requests"], record["whole"], record["running"]) == (4, 4, 0)
    assert record["reported"][MODEL] == {"answers": 2, "prompt_tokens": 4, "completion_tokens": 4}
    assert [call["fault"] for call in record["calls"]] == ["rate_limit", "rate_limit", "none", "none"]
    assert record["calls"][0]["body"] == chat()
    async with session.get(f"{url}?calls=0") as answer:
        assert "calls" not in await answer.json()

    async with session.delete(url):
        pass
    assert (provider.record.requests, provider.calls) == (0, [])


async def test_waiting_over_http(server: ProviderServer, session: aiohttp.ClientSession) -> None:
    url = f"{server.url}/_control/a?calls=0"
    waiting = asyncio.create_task(session.get(f"{url}&requests_min=2&running_max=0"))
    for _ in range(2):
        assert not waiting.done()
        await ask(server.provider("a"), chat())
    async with await waiting as answer:
        assert (await answer.json())["requests"] == 2
    async with session.get(f"{url}&requests_min=3&timeout_s=0.01") as answer:
        assert answer.status == 408


async def test_control_says_what_it_knows_and_what_it_does_not(
    server: ProviderServer, session: aiohttp.ClientSession
) -> None:
    server.provider("a")
    async with session.get(f"{server.url}/_control") as answer:
        known = await answer.json()
    assert known["providers"] == ["a"]
    assert set(known["faults"]) == set(FAULTS)
    for method, path, body in [
        ("PATCH", "/_control/a", b""),
        ("POST", "/_control/a", b"{"),
        ("PUT", "/_control/a", b"[]"),
        ("GET", "/_control/a%20b", b""),
        ("GET", "/_control/a?requests_min=x", b""),
    ]:
        async with session.request(method, server.url + path, data=body) as answer:
            assert answer.status == 400, path


async def test_a_server_that_goes_away_and_comes_back(server: ProviderServer) -> None:
    provider = server.provider("a")
    provider.fail("stall")
    hanging = asyncio.create_task(ask(provider, chat(stream=True)))
    await (await provider.call(0)).began.wait()
    await server.refuse()
    assert (await hanging).end == "reset"
    assert provider.calls[0].outcome == "cut"
    with pytest.raises(ConnectionRefusedError):
        await ask(provider, chat())
    port = server.port
    await server.listen()
    assert server.port == port
    assert (await ask(provider, chat())).status == 200
    assert not server.errors


async def test_a_fault_of_the_providers_own_is_not_hidden() -> None:
    server = ProviderServer(Behaviour(text=None))  # type: ignore[arg-type]
    await server.listen()
    assert (await ask(server.root, chat())).end == "reset"
    assert server.root.record.running == 0
    with pytest.raises(ExceptionGroup, match="provider itself"):
        await server.close()

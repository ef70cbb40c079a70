"""Several keys of a provider: in turn, resting where they are refused or limited, replaced while calls run."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from services.inference.providers.keys import LIMITED_REST_S, REFUSED_REST_S, KeyRing
from services.inference.providers.openai_compatible import OpenAiCompatible
from services.mesh.errors import MeshError
from tests.support.provider import Behaviour, MisbehavingProvider
from tests.unit.inference.calls import answer_text, completed, streamed


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_no_keys_one_key_many_keys() -> None:
    assert KeyRing().pick() == ""
    assert [KeyRing(["a"]).pick() for _ in range(3)] == ["a"] * 3
    ring = KeyRing(["a", "b", "c"])
    picked = [ring.pick() for _ in range(6)]
    assert sorted(picked[:3]) == ["a", "b", "c"]
    assert picked[:3] == picked[3:]


def test_what_no_header_takes_is_no_key() -> None:
    ring = KeyRing([" a\n", "", "  ", "b\r\nX-Evil: 1", "ü", "a", "c"])
    assert len(ring) == 2
    assert {ring.pick(), ring.pick()} == {"a", "c"}


def test_a_key_rests_for_its_time() -> None:
    clock = Clock()
    ring = KeyRing(["a", "b"], clock=clock)
    ring.refused("a")
    assert {ring.pick() for _ in range(4)} == {"b"}
    clock.now += REFUSED_REST_S + 1
    assert {ring.pick() for _ in range(4)} == {"a", "b"}
    ring.limited("b", 7)
    clock.now += 6
    assert {ring.pick() for _ in range(4)} == {"a"}
    clock.now += 2
    ring.limited("a")
    assert {ring.pick() for _ in range(4)} == {"b"}
    clock.now += LIMITED_REST_S
    assert {ring.pick() for _ in range(4)} == {"a", "b"}


def test_where_all_rest_the_first_to_wake_is_picked() -> None:
    ring = KeyRing(["a", "b", "c"], clock=Clock())
    ring.limited("a", 9)
    ring.limited("b", 3)
    ring.refused("c")
    assert ring.pick() == "b"
    assert ring.pick_other({"b"}) is None


def test_keys_are_replaced_and_what_stays_keeps_its_rest() -> None:
    ring = KeyRing(["a", "b"], clock=Clock())
    ring.refused("a")
    ring.refused("gone")
    ring.replace(["a", "c"])
    assert {ring.pick() for _ in range(4)} == {"c"}
    ring.replace([])
    assert ring.pick() == ""
    ring.replace(["a", "c"])
    assert {ring.pick() for _ in range(4)} == {"a", "c"}


def bearers(upstream: MisbehavingProvider) -> list[str]:
    return [seen.headers["Authorization"].removeprefix("Bearer ") for seen in upstream.calls]


async def test_a_refused_key_is_passed_over_at_once(
    upstream: MisbehavingProvider, provider_at: Callable[..., OpenAiCompatible]
) -> None:
    upstream.keys = {"good"}
    provider = provider_at(upstream.base_url, keys=KeyRing(["bad", "good"]))
    for _ in range(3):
        assert await answer_text(provider) == upstream.default.text
        await completed(provider)
    assert bearers(upstream).count("bad") <= 1
    assert len({seen.connection for seen in upstream.calls}) == 1


@pytest.mark.parametrize("ask", [completed, streamed])
async def test_a_limited_key_hands_over_to_the_next(
    upstream: MisbehavingProvider, provider_at: Callable[..., OpenAiCompatible], ask: Callable[..., object]
) -> None:
    upstream.then(Behaviour(status=429, headers={"Retry-After": "30"}))
    provider = provider_at(upstream.base_url, keys=KeyRing(["a", "b"]))
    for _ in range(3):
        await ask(provider)  # type: ignore[misc]
    first, *later = bearers(upstream)
    assert len(later) == 3
    assert first not in later


async def test_each_key_is_tried_once_and_a_limit_outweighs_a_refusal(
    upstream: MisbehavingProvider, provider_at: Callable[..., OpenAiCompatible]
) -> None:
    upstream.then(
        Behaviour(status=401), Behaviour(status=429, headers={"Retry-After": "7"}), Behaviour(status=403), Behaviour()
    )
    provider = provider_at(upstream.base_url, keys=KeyRing(["a", "b", "c"]))
    with pytest.raises(MeshError) as caught:
        await completed(provider)
    assert caught.value.reason == "PROVIDER_RATE_LIMITED"
    assert caught.value.retry_after_s == 7
    assert sorted(bearers(upstream)) == ["a", "b", "c"]


@pytest.mark.parametrize("status", [400, 404, 500, 503])
async def test_other_refusals_are_not_the_keys(
    upstream: MisbehavingProvider, provider_at: Callable[..., OpenAiCompatible], status: int
) -> None:
    upstream.default = Behaviour(status=status)
    with pytest.raises(MeshError):
        await completed(provider_at(upstream.base_url, keys=KeyRing(["a", "b"])))
    assert len(upstream.calls) == 1


async def test_keys_are_rotated_without_a_restart(
    upstream: MisbehavingProvider, provider_at: Callable[..., OpenAiCompatible]
) -> None:
    ring = KeyRing(["old"])
    provider = provider_at(upstream.base_url, keys=ring)
    await completed(provider)
    upstream.keys = {"new"}
    ring.replace(["new"])
    await completed(provider)
    ring.replace([])
    upstream.keys = None
    await completed(provider)
    assert [seen.headers.get("Authorization") for seen in upstream.calls] == ["Bearer old", "Bearer new", None]


async def test_no_key_of_several_is_told(
    upstream: MisbehavingProvider, provider_at: Callable[..., OpenAiCompatible]
) -> None:
    ring = KeyRing(["first-key-of-ours", "second-key-of-ours"])
    upstream.default = Behaviour(status=400, error_message="odd: first-key-of-ours second-key-of-ours")
    for _ in range(2):
        with pytest.raises(MeshError) as caught:
            await completed(provider_at(upstream.base_url, keys=ring))
        used = bearers(upstream)[-1]
        assert used not in caught.value.message

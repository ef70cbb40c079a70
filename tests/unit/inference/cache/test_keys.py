"""Which calls are the same: for no difference that a provider could tell is one key given twice."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from promptmesh.inference.v1 import receipt_pb2 as pb

from services.inference.cache.keys import IGNORED, UncacheableError, key_of
from services.inference.engine.call import CacheControl
from services.inference.routing.route import Midstream
from tests.unit.inference.cache.world import model_call

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
BODIES = st.dictionaries(
    st.sampled_from(["messages", "temperature", "seed", "tools", "a", "b"]), VALUES, min_size=1, max_size=5
)


def key(body: Any, **options: Any) -> bytes:
    return key_of(model_call(body=body, **options))


def turned(value: Any) -> Any:
    """The same with the members of all objects the other way round."""
    if isinstance(value, dict):
        return {name: turned(value[name]) for name in reversed(value)}
    return [turned(one) for one in value] if isinstance(value, list) else value


@given(BODIES)
def test_the_order_of_members_does_not_count(body: dict[str, Any]) -> None:
    assert key(body) == key(turned(body))


@given(BODIES, BODIES)
def test_different_bodies_have_different_keys(one: dict[str, Any], other: dict[str, Any]) -> None:
    # As text, not as Python's values, to which 1, 1.0 and True are equal.
    assume(repr(turned_sorted(one)) != repr(turned_sorted(other)))
    assert key(one) != key(other)


def turned_sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: turned_sorted(value[name]) for name in sorted(value)}
    return [turned_sorted(one) for one in value] if isinstance(value, list) else value


@given(BODIES, st.sampled_from(sorted(IGNORED)), VALUES)
def test_what_no_provider_answers_by_does_not_count(body: dict[str, Any], name: str, value: Any) -> None:
    assert key({**body, name: value}) == key(body)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"seed": 1}, {"seed": 1.0}),
        ({"seed": 0.0}, {"seed": -0.0}),
        ({"seed": 1}, {"seed": True}),
        ({"seed": 1}, {"seed": "1"}),
        ({"seed": None}, {}),
        ({"stop": ["a", "b"]}, {"stop": ["b", "a"]}),
        ({"stop": ["ab"]}, {"stop": ["a", "b"]}),
        ({"tools": [{"metadata": 1}]}, {"tools": [{}]}),  # ignored only where OpenAI has it: at the top
        ({"a": {"b": 1}}, {"a": {}, "b": 1}),
    ],
)
def test_what_a_provider_could_tell_apart_counts(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert key(one) != key(other)


ALL: list[dict[str, Any]] = [
    {},
    {"org_id": "org-2"},
    {"org_id": "", "service": "prompts"},
    {"org_id": "", "service": "moderation"},
    {"org_id": "service:prompts", "route": "other"},
    {"route": "house2"},
    {"version": 2},
    {"surface": pb.SURFACE_EMBEDDINGS},
    {"streamed": False},
    {"wants_usage": True},
    {"output_cap": 100},
]


def test_tenant_route_version_family_and_caps_count() -> None:
    assert len({key({"a": 1}, **options) for options in ALL}) == len(ALL)


def test_surfaces_of_one_family_share() -> None:
    chat = (pb.SURFACE_GENERATE, pb.SURFACE_CHAT_COMPLETIONS, pb.SURFACE_RESPONSES, pb.SURFACE_EXAMPLE)
    assert len({key({"a": 1}, surface=surface) for surface in chat}) == 1


def test_what_belongs_to_the_call_alone_does_not_count() -> None:
    options = {"tags": {"team": "a"}, "cache": CacheControl(ttl_s=5), "deadline": 3.0, "input_tokens_max": 9}
    assert key({"a": 1}, **options) == key({"a": 1})


def test_nobody_shares_without_a_tenant() -> None:
    with pytest.raises(UncacheableError):
        key({"a": 1}, org_id="", service="")


def test_what_cannot_be_written_has_no_key() -> None:
    deep: Any = []
    for _ in range(300):
        deep = [deep]
    for body in ({"a": deep}, {"a": 2**70}, {"a": object()}):
        with pytest.raises(UncacheableError):
            key(body)


def test_a_body_as_read_and_as_made_are_the_same() -> None:
    body = {"temperature": 0.2, "messages": [{"role": "user", "content": "ü\u2028"}]}
    assert key(body) == key(orjson.loads(orjson.dumps(body)))


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("midstream", list(Midstream))
def test_a_stream_that_may_begin_anew_is_not_shared_with_who_cannot_say_so(
    streamed: bool, midstream: Midstream
) -> None:
    calls = [model_call(body={"messages": []}, streamed=streamed, restartable=can) for can in (True, False)]
    for call in calls:
        call.route = replace(call.route, midstream=midstream)
    one, other = map(key_of, calls)
    assert (one != other) is (streamed and midstream is Midstream.RESTART)

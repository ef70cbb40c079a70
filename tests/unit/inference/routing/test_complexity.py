"""How hard a prompt looks."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.inference.routing.complexity import TIER_MOST, points, tier


def body(content: Any = "Say hello.", **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": content}], **more}


SIMPLE = body("What is the capital of France?")


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (SIMPLE, 0),
        (body("x" * 2_000), 1),
        (body("x" * 8_000), 2),
        (body("x" * 32_000), 3),
        (body("```\nx\n```"), 2),
        (body("def f():\n    return 1\nx = {};\nclass A:"), 2),
        (body("Let the integral be \\frac{1}{2}."), 2),
        (body("Who? What?"), 1),
        (body("1. a\n2. b\n3. c\n- d\n* e"), 2),
        (body("It must be short and must rhyme."), 1),
        (body("Compare both."), 1),
        (body("Prove it, compare it, debug it."), 2),
        (body("Hi", tools=[{}]), 1),
        (body("Hi", tools=[{}] * 6), 2),
        (body("Hi", response_format={"type": "json_schema"}), 1),
        (body("Hi", response_format={"type": "text"}), 0),
        (body([{"type": "text", "text": "Hi"}, {"type": "image_url"}]), 1),
        ({"messages": [{"role": "user", "content": "Hi"}] * 6}, 1),
        ({"messages": [{"role": "user", "content": "Hi"}] * 20}, 2),
    ],
)
def test_each_sign_counts_as_the_table_says(asked: dict[str, Any], expected: int) -> None:
    assert points(asked) == expected


def test_tiers() -> None:
    assert tier(SIMPLE) == 0
    assert tier(body("Who? What? It must be short and must rhyme.")) == 1
    hard = "```py\nx\n```\nProve it. Must be exact. Must be short."
    assert tier(body(hard)) == 2
    assert tier(body(hard + " The integral?", tools=[{}])) == TIER_MOST


def test_what_is_wanted_is_found_at_both_ends_of_a_long_paste() -> None:
    paste = "x " * 20_000
    plain = points(body(paste))
    assert points(body("Prove it.\n" + paste)) == plain + 1
    assert points(body(paste + "\nProve it.")) == plain + 1


@given(
    st.dictionaries(
        st.sampled_from(["messages", "tools", "response_format", "input"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=30),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(st.sampled_from(["role", "content", "type", "text"]), inner, max_size=3)
            ),
            max_leaves=20,
        ),
    )
)
def test_whatever_is_odd_is_borne(odd: dict[str, Any]) -> None:
    assert 0 <= tier(odd) <= TIER_MOST

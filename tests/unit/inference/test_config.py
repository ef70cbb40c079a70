"""models.yaml: what is accepted, and how every fault is named."""

from __future__ import annotations

import contextlib
from decimal import Decimal
from textwrap import dedent

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.inference.config import DISCOVER_YAML, Config, ConfigError, missing_keys, parse

GOOD = """
providers:
  - name: openai
    kind: openai
    base_url: https://api.openai.com/v1/
    api_key_env: OPENAI_API_KEY
    timeouts: {first_token_s: 30}
  - name: claude
    kind: litellm
    api_key_env: ANTHROPIC_API_KEY
models:
  - name: fast
    provider: openai
    upstream_model: gpt-4o-mini
    context_tokens: 128_000
    max_output_tokens: 4096
    price: {input_per_million_usd: 0.15, output_per_million_usd: 0.60}
    default: true
  - name: team/smart:v2
    provider: claude
    upstream_model: anthropic/claude-sonnet
examples:
  model: fast
  daily_cap_usd: 2.50
"""


def faults(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse(dedent(text))
    return [f"{fault.place} | {fault.line} | {fault.message}" for fault in caught.value.faults]


def test_a_good_one() -> None:
    config = parse(GOOD)
    assert [model.name for model in config.models] == ["fast", "team/smart:v2"]
    assert config.providers[0].base_url == "https://api.openai.com/v1"
    assert config.models[0].price is not None
    assert config.models[0].price.input_per_million_usd == Decimal("0.15")
    assert config.models[0].price.price().cost_nanos(1_000_000, 1_000_000) == 750_000_000
    assert config.examples.daily_cap_nanos == 2_500_000_000
    assert not config.discover


@pytest.mark.parametrize("text", ["", "# nothing\n", "{}", DISCOVER_YAML])
def test_next_to_nothing_is_good_too(text: str) -> None:
    assert parse(text).models == ()


def test_every_fault_is_named_by_place_and_line() -> None:
    found = faults(
        """\
        providers:
          - name: a
            kind: openai
          - name: a
            kind: litellm
            tokens_per_second: 5
          - name: demo
            kind: openai
            base_url: https://x.example/v1
            api_key_env: PROMPTMESH_MESH_SECRET
        models:
          - name: m
            provider: nowhere
            upstream_model: u
            context_tokens: 100
            max_output_tokens: 200
            default: true
          - name: m
            provider: a
            default: true
        examples:
          model: m
        """
    )
    assert [line.rpartition(" | ")[0] for line in found] == [
        "providers[0].base_url | 2",
        "providers[1].name | 4",
        "providers[1].tokens_per_second | 6",
        "providers[2].name | 7",
        "providers[2].api_key_env | 10",
        "models[0].provider | 13",
        "models[0].max_output_tokens | 16",
        "models[1].name | 18",
        "models[1].upstream_model | 18",
        "models[1].default | 20",
        "examples.daily_cap_usd | 21",
        "examples.model | 22",
    ]


@pytest.mark.parametrize(
    ("text", "place", "says"),
    [
        ("providers: [", "(text)", "is not YAML"),
        ("- a\n- b", "(text)", "must be a mapping"),
        ("modells: []", "modells", "is not known here"),
        ("models:\n  - {name: m, name: n, provider: demo}", "models[0].name", "stands here twice"),
        ("models: 5", "models", "tuple"),
        ("models: [{name: 'a b', provider: demo}]", "models[0].name", "must match"),
        ("providers: [{name: a, kind: grpc}]", "providers[0].kind", "'openai', 'litellm' or 'demo'"),
        ("providers: [{name: a, kind: openai, base_url: 'ftp://x'}]", "providers[0].base_url", "http://"),
        ("providers: [{name: a, kind: openai, base_url: 'http://u:p@x/v1'}]", "providers[0].base_url", "password"),
        (
            "providers: [{name: a, kind: openai, base_url: 'http://x', api_key_env: sk-123}]",
            "providers[0].api_key_env",
            "must match",
        ),
        (
            "models: [{name: m, provider: demo, price: {input_per_million_usd: -1, output_per_million_usd: 0}}]",
            "models[0].price.input_per_million_usd",
            "greater than or equal to 0",
        ),
        (
            "models: [{name: m, provider: demo, price: {input_per_million_usd: 0.0000001, output_per_million_usd: 0}}]",
            "models[0].price.input_per_million_usd",
            "more than six decimals",
        ),
        (
            "models: [{name: m, provider: demo, price: {input_per_million_usd: .nan, output_per_million_usd: 0}}]",
            "models[0].price.input_per_million_usd",
            "not a",
        ),
        ("examples: {model: gone}", "examples.model", "names no model"),
        ("models: [{name: demo, provider: x}]", "models[0].name", "built-in demo"),
        ("discover: !!python/object:os.system x", "discover", "means nothing here"),
    ],
)
def test_a_fault_says_where_and_what(text: str, place: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text)
    assert any(fault.place == place and says in fault.message for fault in caught.value.faults), str(caught.value)


def test_a_priceless_model_cannot_write_examples() -> None:
    text = GOOD.replace("    price: {input_per_million_usd: 0.15, output_per_million_usd: 0.60}\n", "")
    assert any("no price" in line for line in faults(text))


def test_a_keys_variable_must_be_set() -> None:
    config = parse(GOOD)
    assert [fault.place for fault in missing_keys(config, {"OPENAI_API_KEY": "x"})] == ["providers[1].api_key_env"]
    assert missing_keys(config, {"OPENAI_API_KEY": "x", "ANTHROPIC_API_KEY": "y"}) == []


def test_aliases_do_not_multiply() -> None:
    bomb = "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"{chr(98 + i)}: &{chr(98 + i)} [{','.join([f'*{chr(97 + i)}'] * 10)}]\n" for i in range(8)
    )
    assert any("nested deeper" in line for line in faults(bomb))


@given(st.text(max_size=400))
def test_no_text_makes_it_fail_otherwise(text: str) -> None:
    with contextlib.suppress(ConfigError):
        assert isinstance(parse(text), Config)

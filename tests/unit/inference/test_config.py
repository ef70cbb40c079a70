"""models.yaml: what is accepted, and how every fault is named."""

from __future__ import annotations

import contextlib
import re
from decimal import Decimal
from pathlib import Path
from textwrap import dedent

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.inference.config import (
    DISCOVER_YAML,
    CacheConfig,
    CanaryConfig,
    Config,
    ConfigError,
    DefaultsConfig,
    ExamplesConfig,
    ModelConfig,
    ModerationConfig,
    PriceConfig,
    ProviderConfig,
    RouteConfig,
    TargetConfig,
    TimeoutsConfig,
    missing_keys,
    parse,
)
from services.inference.config.limits import LimitsOfKind

ORG = "01900000-0000-7000-8000-000000000001"
ROUTES = """
providers: [{name: p, kind: openai, base_url: "http://x/v1", api_key_env: ONE, api_key_envs: [TWO, THREE]}]
models:
  - {name: small, provider: p, upstream_model: s, context_tokens: 8000, concurrency: 4, on_leave: drain}
  - {name: big, provider: p, upstream_model: b, context_tokens: 100000, tier: 2}
  - {name: vec, provider: p, upstream_model: v, embeds: true, price: {input_per_million_usd: 0.02}}
routes:
  - name: chat
    strategy: quality
    targets:
      - {model: small, weight: 3}
      - {model: big, tier: 5, concurrency: 2}
      - {model: demo}
    attempts: 4
    backoff_first_s: 0.2
    breaker: {failures: 3, open_s: 1.5}
    midstream: restart
    hedge_after_s: 2.5
    cache: {ttl_s: 60, entry_bytes_max: 4096}
    moderation: {input: true, mask: true, restore: true}
    canary: {target: demo, share_percent: 2.5, calls_min: 10}
    max_output_tokens: 5000
    unknown_parameters: refuse
    default: true
  - {name: vectors, targets: [{model: vec}]}
defaults:
  cache: {ttl_s: 0}
  midstream: error
  unknown_parameters: pass
limits:
  key: {requests_per_minute: 60, usd_per_day: 0.000000001, output_tokens_per_request: 100}
  org: {usd_per_month: 1000, concurrent_requests: 0}
"""

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


def test_what_the_guide_shows_is_right() -> None:
    guide = (Path(__file__).parents[3] / "docs" / "models.md").read_text(encoding="utf-8")
    whole, moderation, canary, limits = re.findall(r"```yaml\n(.*?)```", guide, re.DOTALL)
    config = parse(whole)
    assert [route.name for route in config.routes] == ["chat"]
    assert parse(whole.replace("    cache: {ttl_s: 300}\n", canary)).routes[0].canary is not None
    assert parse(whole.replace("    cache: {ttl_s: 300}\n", moderation)).routes[0].moderation.mask
    defaults = parse(limits).limits.defaults()
    assert defaults["org"] == {"nanos_per_day": 50_000_000_000, "nanos_per_month": 1_000_000_000_000}


def test_the_guide_names_every_field() -> None:
    guide = (Path(__file__).parents[3] / "docs" / "models.md").read_text(encoding="utf-8")
    parts = (ProviderConfig, TimeoutsConfig, ModelConfig, PriceConfig, DefaultsConfig, ExamplesConfig, RouteConfig)
    parts += (TargetConfig, CacheConfig, ModerationConfig, CanaryConfig, LimitsOfKind)
    named = {field for part in parts for field in part.model_fields}
    assert not {field for field in named if not re.search(rf"\b{field}\b", guide)}


@pytest.mark.parametrize("text", ["", "# nothing\n", "{}"])
def test_next_to_nothing_is_good_too(text: str) -> None:
    assert parse(text).models == ()


def test_a_first_start_without_a_file_offers_vectors_for_nothing() -> None:
    config = parse(DISCOVER_YAML)
    assert config.discover
    assert [(model.name, model.provider, model.embeds) for model in config.models] == [
        ("demo-embeddings", "demo", True)
    ]


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
        (
            "providers: [{name: a, kind: litellm, api_key_env: K, api_key_envs: [L, K]}]",
            "providers[0].api_key_envs[1]",
            "names K a second time",
        ),
        (
            "providers: [{name: a, kind: litellm, api_key_envs: [PROMPTMESH_KEY_PEPPER]}]",
            "providers[0].api_key_envs[0]",
            "mesh's own variables",
        ),
        ("models: [{name: m, provider: demo, on_leave: wait}]", "models[0].on_leave", "'abort' or 'drain'"),
        ("models: [{name: m, provider: demo, concurrency: 0}]", "models[0].concurrency", "greater than or equal to 1"),
        (
            "models: [{name: m, provider: demo, organisations: [acme]}]",
            "models[0].organisations[0]",
            "must be the id of an organisation (a UUID), but is 'acme'",
        ),
        (
            f"models: [{{name: m, provider: demo, default: true, organisations: [{ORG}]}}]",
            "models[0].default",
            "the default is everybody's",
        ),
        (
            f"models: [{{name: demo, provider: demo, organisations: [{ORG}]}}]",
            "models[0].organisations",
            "the demo is everybody's",
        ),
        (
            f"routes: [{{name: r, default: true, targets: [{{model: demo}}], organisations: [{ORG}]}}]",
            "routes[0].default",
            "the default is everybody's",
        ),
        (
            f"models: [{{name: m, provider: demo, organisations: [{', '.join([ORG] * 101)}]}}]",
            "models[0].organisations",
            "at most 100",
        ),
        ("defaults: {moderation: {restore: true}}", "defaults.moderation.restore", "nothing is masked"),
        ("limits: {keys: {}}", "limits.keys", "is not known here"),
        ("limits: {key: {usd_per_day: 0.0000000001}}", "limits.key.usd_per_day", "more than nine decimals"),
        ("limits: {user: {requests_per_day: -1}}", "limits.user.requests_per_day", "greater than or equal to 0"),
        ("limits: {org: {requests_per_minute: 1.5}}", "limits.org.requests_per_minute", "integer"),
    ],
)
def test_a_fault_says_where_and_what(text: str, place: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text)
    assert any(fault.place == place and says in fault.message for fault in caught.value.faults), str(caught.value)


@pytest.mark.parametrize(
    ("change", "place", "says"),
    [
        (("name: chat", "name: small"), "routes[0].name", "is the name of models[0] too"),
        (("name: chat", "name: demo"), "routes[0].name", "built-in demo"),
        (("- {model: demo}", "- {model: none}"), "routes[0].targets[2].model", "names no model"),
        (("- {model: demo}", "- {model: vectors}"), "routes[0].targets[2].model", "is a route"),
        (("- {model: demo}", "- {model: big}"), "routes[0].targets[2].model", "a target of this route already"),
        (("- {model: demo}", "- {model: vec}"), "routes[0].targets", "(vec) and models that answer do not mix"),
        (("targets: [{model: vec}]", "targets: []"), "routes[1].targets", "at least 1 item"),
        (("weight: 3", "weight: -1"), "routes[0].targets[0].weight", "greater than or equal to 0"),
        (("strategy: quality", "strategy: best"), "routes[0].strategy", "'least_busy'"),
        (("target: demo", "target: vec"), "routes[0].canary.target", "is no target of this route"),
        (("share_percent: 2.5", "share_percent: 100"), "routes[0].canary.share_percent", "less than 100"),
        (("backoff_first_s: 0.2", "backoff_first_s: 3"), "routes[0].backoff_first_s", "less than backoff_first_s"),
        (("open_s: 1.5", "open_most_s: 1"), "routes[0].breaker.open_most_s", "less than open_s"),
        (("mask: true, ", ""), "routes[0].moderation.restore", "nothing is masked"),
        (("max_output_tokens: 5000", "max_output_tokens: 200"), "", ""),
        (("max_output_tokens: 5000", "max_output_tokens: 0"), "routes[0].max_output_tokens", "greater than or equal"),
        (("midstream: restart", "midstream: hope"), "routes[0].midstream", "'error' or 'restart'"),
        (("entry_bytes_max: 4096", "entry_bytes_max: 1"), "routes[0].cache.entry_bytes_max", "greater than or equal"),
        (("targets: [{model: vec}]", "targets: [{model: vec}], default: true"), "routes[1].default", "routes[0] is"),
        (
            ("targets: [{model: vec}]", "targets: [{model: vec}], moderation: {output: true}"),
            "routes[1].moderation.output",
            "vectors are no text",
        ),
        (
            ("targets: [{model: vec}]", "targets: [{model: vec}], max_output_tokens: 5"),
            "routes[1].max_output_tokens",
            "means nothing",
        ),
        (
            ("targets: [{model: vec}]", "targets: [{model: vec}], canary: {target: vec, share_percent: 1}"),
            "routes[1].canary.target",
            "the only target",
        ),
        (("embeds: true,", "embeds: true, max_output_tokens: 5,"), "models[2].max_output_tokens", "means nothing"),
        (("v, embeds: true, price", "v, price"), "models[2].price.output_per_million_usd", "is missing"),
    ],
)
def test_a_fault_of_a_route_says_where_and_what(change: tuple[str, str], place: str, says: str) -> None:
    text = ROUTES.replace(*change)
    assert text != ROUTES
    if not place:
        parse(text)
        return
    with pytest.raises(ConfigError) as caught:
        parse(text)
    found = [fault for fault in caught.value.faults if fault.place == place and says in fault.message]
    assert found, str(caught.value)
    assert found[0].line > 1


def test_weights_that_are_all_0() -> None:
    targets = "models: [{name: a, provider: demo}]\nroutes: [{name: r, targets: [{model: a, weight: %d}, {model: demo}]"
    assert parse(targets % 0 + "}]").routes[0].targets[0].weight == 0
    canary = ", canary: {target: demo, share_percent: 5}}]"
    assert parse(targets % 1 + canary)
    assert "besides the canary are 0" in faults(targets % 0 + canary)[0]


def test_quality_without_tiers_is_no_quality() -> None:
    text = "models: [{name: a, provider: demo%s}]\nroutes: [{name: r, strategy: quality, targets: [{model: a}, "
    text += "{model: demo}]}]"
    assert "all targets have the same" in faults(text % "")[0]
    assert parse(text % ", tier: 1")


def test_a_cap_above_every_context() -> None:
    text = ROUTES.replace("- {model: demo}", "").replace("target: demo", "target: big")
    assert parse(text.replace("max_output_tokens: 5000", "max_output_tokens: 100000"))
    found = faults(text.replace("max_output_tokens: 5000", "max_output_tokens: 100001"))
    assert "routes[0].max_output_tokens | 22 | is 100,001" in found[0]


def test_limits_become_whole_numbers() -> None:
    assert parse(ROUTES).limits.defaults() == {
        "key": {"requests_per_minute": 60, "nanos_per_day": 1, "output_tokens_per_request": 100},
        "user": {},
        "org": {"nanos_per_month": 1_000_000_000_000, "concurrent_requests": 0},
    }


def test_examples_by_a_route() -> None:
    named = "examples: {model: chat, daily_cap_usd: 1}"
    assert [line.partition(" | ")[0] for line in faults(ROUTES + named)] == ["examples.model", "examples.model"]
    priced = ROUTES.replace("tier: 2", "tier: 2, price: {input_per_million_usd: 1, output_per_million_usd: 1}")
    priced = priced.replace("on_leave", "price: {input_per_million_usd: 1, output_per_million_usd: 1}, on_leave")
    assert parse(priced + named).examples.model == "chat"
    assert "is missing" in faults(priced + "examples: {model: chat}")[0]
    assert "makes vectors" in faults(priced + "examples: {model: vec, daily_cap_usd: 1}")[0]


def test_a_priceless_model_cannot_write_examples() -> None:
    text = GOOD.replace("    price: {input_per_million_usd: 0.15, output_per_million_usd: 0.60}\n", "")
    assert any("no price" in line for line in faults(text))


def test_a_keys_variable_must_be_set() -> None:
    config = parse(GOOD)
    assert [fault.place for fault in missing_keys(config, {"OPENAI_API_KEY": "x"})] == ["providers[1].api_key_env"]
    assert missing_keys(config, {"OPENAI_API_KEY": "x", "ANTHROPIC_API_KEY": "y"}) == []
    several = parse(ROUTES)
    assert several.providers[0].key_variables == ("ONE", "TWO", "THREE")
    assert [fault.place for fault in missing_keys(several, {"ONE": "x", "THREE": "y"})] == [
        "providers[0].api_key_envs[0]"
    ]


def test_aliases_do_not_multiply() -> None:
    bomb = "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"{chr(98 + i)}: &{chr(98 + i)} [{','.join([f'*{chr(97 + i)}'] * 10)}]\n" for i in range(8)
    )
    assert any("nested deeper" in line for line in faults(bomb))


@given(st.text(max_size=400))
def test_no_text_makes_it_fail_otherwise(text: str) -> None:
    with contextlib.suppress(ConfigError):
        assert isinstance(parse(text), Config)

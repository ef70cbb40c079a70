"""Prices and lengths from LiteLLM's cost map."""

from __future__ import annotations

import json
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.inference.config import ModelConfig, ProviderConfig, parse
from services.inference.prices.__main__ import main
from services.inference.prices.cost_map import CostMap, CostMapError, NoPriceError
from services.inference.prices.editing import EditError, change_of, edited
from services.inference.prices.matching import key_of

MAP = """{
  "sample_spec": {"mode": "one of: chat, embedding", "input_cost_per_token": 0.0},
  "gpt-4o-mini": {"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": 1.5e-07,
    "output_cost_per_token": 6e-07, "max_input_tokens": 128000, "max_output_tokens": 16384},
  "azure/gpt-4o-mini": {"litellm_provider": "azure", "mode": "chat", "input_cost_per_token": 9e-07,
    "output_cost_per_token": 9e-07},
  "claude": {"litellm_provider": "anthropic", "mode": "chat", "input_cost_per_token": 0.000003,
    "input_cost_per_token_above_200k_tokens": 0.000006, "output_cost_per_token": 0.000015,
    "max_input_tokens": 200000, "max_output_tokens": 64000},
  "embed": {"litellm_provider": "openai", "mode": "embedding", "input_cost_per_token": 2e-08, "max_tokens": 8191},
  "free": {"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": 0.0, "output_cost_per_token": 0.0},
  "picture": {"litellm_provider": "openai", "mode": "image_generation", "input_cost_per_token": 1e-06},
  "half": {"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": 1e-06},
  "negative": {"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": -1e-06,
    "output_cost_per_token": 1e-06},
  "text": {"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": "1", "output_cost_per_token": true},
  "fine": {"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": 1.0000000000001e-06,
    "output_cost_per_token": 1e-13, "max_input_tokens": "many", "max_output_tokens": 10}
}"""
FILE = """\
# Models of the house
providers:
  - {name: openai, kind: openai, base_url: "https://api.openai.com/v1"}
  - {name: anthropic, kind: litellm}
  - {name: own, kind: openai, base_url: "http://localhost:1/v1"}
models:
  - name: fast  # for most
    provider: openai
    upstream_model: gpt-4o-mini  # since spring
    price: {input_per_million_usd: 9, output_per_million_usd: 0.60}

  # the smart one
  - name: smart
    provider: anthropic
    upstream_model: anthropic/claude
    max_output_tokens: 1000
  - {name: vec, provider: openai, upstream_model: embed, embeds: true}
  - {name: mine, provider: own, upstream_model: gpt-4o-mini}
routes:
  - {name: r, targets: [{model: fast}, {model: smart}]}
"""
WRITTEN = """\
# Models of the house
providers:
  - {name: openai, kind: openai, base_url: "https://api.openai.com/v1"}
  - {name: anthropic, kind: litellm}
  - {name: own, kind: openai, base_url: "http://localhost:1/v1"}
models:
  - name: fast  # for most
    provider: openai
    upstream_model: gpt-4o-mini  # since spring
    context_tokens: 128000
    max_output_tokens: 16384
    price: {input_per_million_usd: 0.15, output_per_million_usd: 0.6}

  # the smart one
  - name: smart
    provider: anthropic
    upstream_model: anthropic/claude
    max_output_tokens: 1000
    context_tokens: 200000
    price: {input_per_million_usd: 3, output_per_million_usd: 15}
  - {name: vec, provider: openai, upstream_model: embed, embeds: true, context_tokens: 8191, price: {input_per_million_usd: 0.02}}
  - {name: mine, provider: own, upstream_model: gpt-4o-mini}
routes:
  - {name: r, targets: [{model: fast}, {model: smart}]}
"""  # noqa: E501


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    file, costs = tmp_path / "models.yaml", tmp_path / "map.json"
    file.write_text(FILE)
    costs.write_text(MAP)
    return file, costs


@pytest.fixture
def costs(files: tuple[Path, Path]) -> CostMap:
    return CostMap.read(files[1])


def test_a_price_is_exact_and_rounded_up_to_a_pico_dollar(costs: CostMap) -> None:
    fast = costs.listed("gpt-4o-mini")
    assert (fast.input_per_million_usd, fast.output_per_million_usd) == (Decimal("0.15"), Decimal("0.6"))
    assert (fast.context_tokens, fast.max_output_tokens, fast.embeds) == (128_000, 16_384, False)
    fine = costs.listed("fine")
    assert (fine.input_per_million_usd, fine.output_per_million_usd) == (Decimal("1.000001"), Decimal("0.000001"))
    assert fine.context_tokens == 0
    assert costs.listed("claude").notes == ("the provider takes more for long inputs (above 200k_tokens)",)


@given(st.floats(min_value=1e-13, max_value=0.9, allow_nan=False))
def test_a_price_is_never_less_than_what_is_paid(cost: float) -> None:
    entry = {"mode": "chat", "input_cost_per_token": cost, "output_cost_per_token": cost}
    listed = CostMap(json.loads(json.dumps({"m": entry}), parse_float=Decimal)).listed("m")
    less_by = listed.input_per_million_usd / 1_000_000 - Decimal(repr(cost))
    assert 0 <= less_by < Decimal("1e-12")


@pytest.mark.parametrize("key", ["gone", "sample_spec", "free", "picture", "half", "negative", "text"])
def test_an_unknown_price_stays_unknown(costs: CostMap, key: str) -> None:
    with pytest.raises(NoPriceError):
        costs.listed(key)


@pytest.mark.parametrize(
    ("provider", "upstream", "key"),
    [
        ({"kind": "openai", "base_url": "https://api.openai.com/v1"}, "gpt-4o-mini", "gpt-4o-mini"),
        ({"kind": "openai", "base_url": "https://api.openai.com/v1"}, "claude", None),  # not of OpenAI
        ({"kind": "openai", "base_url": "http://127.0.0.1:8000/v1"}, "gpt-4o-mini", None),  # anybody's
        ({"kind": "openai", "base_url": "https://api.groq.com/openai/v1"}, "gpt-4o-mini", None),
        ({"kind": "litellm"}, "anthropic/claude", "claude"),
        ({"kind": "litellm"}, "azure/gpt-4o-mini", "azure/gpt-4o-mini"),
        ({"kind": "litellm"}, "gpt-4o-mini", "gpt-4o-mini"),
        ({"kind": "litellm"}, "openrouter/gpt-4o-mini", None),
        ({"kind": "demo"}, "gpt-4o-mini", None),
    ],
)
def test_only_the_same_model_of_the_same_provider_has_its_price(
    costs: CostMap, provider: dict[str, Any], upstream: str, key: str | None
) -> None:
    model = ModelConfig(name="m", provider="p", upstream_model=upstream)
    if key is None:
        with pytest.raises(NoPriceError):
            key_of(model, ProviderConfig(name="p", **provider), costs)
    else:
        assert key_of(model, ProviderConfig(name="p", **provider), costs) == key


def test_a_file_is_completed_and_keeps_its_comments(
    files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    file, costs = files
    assert main(["--file", str(file), "--map", str(costs)]) == 0
    printed = capsys.readouterr()
    assert "+    context_tokens: 128000" in printed.out
    assert "fast: price $9/0.6 → $0.15/0.6" in printed.err
    assert "above 200k_tokens" in printed.err
    assert "mine: unknown: nothing is known of prices at localhost" in printed.err
    assert file.read_text() == FILE  # only shown
    assert main(["--file", str(file), "--map", str(costs), "--write"]) == 0
    assert file.read_text() == WRITTEN
    capsys.readouterr()
    assert main(["--file", str(file), "--map", str(costs), "--write"]) == 0
    assert "Nothing to change" in capsys.readouterr().err
    assert file.read_text() == WRITTEN


def test_models_are_chosen_and_named(files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    file, costs = files
    base = ["--file", str(file), "--map", str(costs), "--write"]
    assert main([*base, "--as", "mine=azure/gpt-4o-mini", "mine"]) == 0
    prices = {model.name: model.price for model in parse(file.read_text()).models}
    assert prices["mine"] is not None
    assert prices["mine"].input_per_million_usd == Decimal("0.9")
    assert prices["smart"] is None
    assert main([*base, "--as", "smart=embed", "smart"]) == 0
    assert "so `embeds` must be true first" in capsys.readouterr().err
    assert main([*base, "gone"]) == 1
    assert "has no model gone" in capsys.readouterr().err
    assert main([*base, "--as", "gone=x"]) == 1
    with pytest.raises(SystemExit):
        main([*base, "--as", "nothing"])


@pytest.mark.parametrize(
    ("file_text", "map_text", "says"),
    [
        ("models: 5", MAP, "models (line 1)"),
        (FILE, "[]", "no cost map"),
        (FILE, "{", "cannot be read as a cost map"),
        (None, MAP, "cannot be read"),
    ],
)
def test_what_cannot_be_read_is_said(
    files: tuple[Path, Path], capsys: pytest.CaptureFixture[str], file_text: str | None, map_text: str, says: str
) -> None:
    file, costs = files
    costs.write_text(map_text)
    if file_text is None:
        file.unlink()
    else:
        file.write_text(file_text)
    assert main(["--file", str(file), "--map", str(costs)]) == 1
    assert says in capsys.readouterr().err


@pytest.mark.parametrize(
    "text",
    [
        # A price that two models share by an alias: editing one would change both.
        "models:\n  - {name: a, provider: demo}\nproviders: []\n",
        FILE.replace(
            "price: {input_per_million_usd: 9, output_per_million_usd: 0.60}",
            "price: &paid {input_per_million_usd: 9, output_per_million_usd: 0.60}",
        ).replace("upstream_model: gpt-4o-mini}", "upstream_model: x, price: *paid}"),
    ],
)
def test_what_cannot_be_edited_safely_is_left_alone(costs: CostMap, text: str) -> None:
    config = parse(text)
    listed = costs.listed("gpt-4o-mini")
    changes = {config.models[0].name: change_of(config.models[0], listed)}
    if "&paid" in text:
        with pytest.raises(EditError):
            edited(text, config, changes)
    else:
        with pytest.raises(EditError, match="a demo costs nothing"):
            edited(text, config, changes)


def test_an_operators_lower_caps_stay(costs: CostMap) -> None:
    listed = costs.listed("gpt-4o-mini")
    model = ModelConfig(name="m", provider="p", upstream_model="u", context_tokens=1000, max_output_tokens=500)
    assert change_of(model, listed).after.model_dump(include={"context_tokens", "max_output_tokens"}) == {
        "context_tokens": 1000,
        "max_output_tokens": 500,
    }
    longer = ModelConfig(name="m", provider="p", upstream_model="u", context_tokens=10**6, max_output_tokens=10**5)
    assert change_of(longer, listed).after.model_dump(include={"context_tokens", "max_output_tokens"}) == {
        "context_tokens": 128_000,
        "max_output_tokens": 16_384,
    }


def test_line_ends_and_missing_ones_are_kept(costs: CostMap) -> None:
    head = 'providers: [{name: p, kind: openai, base_url: "https://api.openai.com/v1"}]\r\n'
    text = head + "models:\r\n- name: m\r\n  provider: p\r\n  upstream_model: gpt-4o-mini"
    config = parse(text)
    out = edited(text, config, {"m": change_of(config.models[0], costs.listed("gpt-4o-mini"))})
    assert out.startswith(text)
    assert parse(out).models[0].context_tokens == 128_000
    out = edited(text + "\r\n", config, {"m": change_of(config.models[0], costs.listed("gpt-4o-mini"))})
    assert out.count("\r\n") == out.count("\n")


def test_litellm_is_found_and_not_imported() -> None:
    program = (
        "import sys\n"
        "from services.inference.prices.cost_map import CostMap\n"
        "assert CostMap.read().listed('gpt-4o-mini').input_per_million_usd > 0\n"
        "print('litellm' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "False\n"


def test_without_litellm_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(CostMapError, match="--map"):
        CostMap.read()

"""LiteLLM's cost map: a JSON object, name of a model → what it costs a token and how much it takes.

It comes with litellm's package (`model_prices_and_context_window_backup.json`), which is found, not imported: that
would take seconds and 160 MB. Numbers are read as they are written, so that no float comes near money.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from pathlib import Path
from typing import Any

from services.inference.config.base import PRICE_MOST_USD
from services.inference.money import PICOS_PER_TOKEN_FOR_A_DOLLAR_PER_MILLION

FILE_NAME = "model_prices_and_context_window_backup.json"
PICOS_PER_DOLLAR = 10**12
TOKENS_MOST = 100_000_000
OUTPUT_TOKENS_MOST = 1_000_000
_MODES = {"chat": False, "completion": False, "responses": False, "embedding": True}


class CostMapError(Exception):
    """The map cannot be read; the message says why and what to do."""


class NoPriceError(Exception):
    """The map has no price that could be kept for a model; the message says why."""


@dataclass(frozen=True, slots=True)
class Listed:
    """What the map says of a model. Dollars a million tokens, at most six decimals, rounded up; 0 tokens: not told."""

    key: str
    embeds: bool
    input_per_million_usd: Decimal
    output_per_million_usd: Decimal
    context_tokens: int
    max_output_tokens: int
    notes: tuple[str, ...] = ()


class CostMap:
    """The map, by name of a model."""

    def __init__(self, entries: Mapping[str, Any]) -> None:
        self._entries = entries

    @classmethod
    def read(cls, file: Path | None = None) -> CostMap:
        """From `file`, or from the package of litellm. CostMapError."""
        path = file or _bundled()
        try:
            entries = json.loads(path.read_text(encoding="utf-8"), parse_float=Decimal)
        except (OSError, ValueError) as error:
            raise CostMapError(f"{path} cannot be read as a cost map: {error}") from error
        if not isinstance(entries, dict):
            raise CostMapError(f"{path} is no cost map: expected a JSON object, name of a model → its costs.")
        return cls(entries)

    def provider(self, key: str) -> str | None:
        """Who offers the model under this name, as LiteLLM calls them; None where the map has no such name."""
        entry = self._entries.get(key)
        return str(entry.get("litellm_provider", "")) if isinstance(entry, dict) else None

    def listed(self, key: str) -> Listed:
        """NoPriceError where there is nothing that could be kept."""
        entry = self._entries.get(key)
        if not isinstance(entry, dict):
            raise NoPriceError(f"the map has no {key!r}")
        mode = entry.get("mode")
        if mode not in _MODES:
            raise NoPriceError(f"{key!r} is of the mode {mode!r}, which is not priced by tokens alone")
        embeds = _MODES[mode]
        paid_in, paid_out = _per_million(entry, "input_cost_per_token"), _per_million(entry, "output_cost_per_token")
        if paid_in is None or (paid_out is None and not embeds):
            raise NoPriceError(f"the map has no price a token for {key!r}")
        if not paid_in and not paid_out:
            # The map writes 0 for what is free and for what it does not know alike.
            raise NoPriceError(f"the map says 0 for {key!r}, which may mean that it is unknown; write 0 if it is free")
        context = _tokens(entry, "max_input_tokens", TOKENS_MOST) or _tokens(entry, "max_tokens", TOKENS_MOST)
        output = 0 if embeds else _tokens(entry, "max_output_tokens", OUTPUT_TOKENS_MOST)
        return Listed(
            key, embeds, paid_in, paid_out or Decimal(0), context, min(output, context or output), _notes(entry)
        )


def _bundled() -> Path:
    spec = importlib.util.find_spec("litellm")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / FILE_NAME
        if path.is_file():
            return path
    raise CostMapError(
        "LiteLLM's cost map is not on this machine: install the package extra `litellm`, or name a copy of "
        "model_prices_and_context_window.json with --map."
    )


def _per_million(entry: Mapping[str, Any], name: str) -> Decimal | None:
    cost = entry.get(name)
    if isinstance(cost, bool) or not isinstance(cost, int | Decimal):
        return None
    cost = Decimal(cost)
    if not cost.is_finite() or cost < 0:
        return None
    picos = (cost * PICOS_PER_DOLLAR).to_integral_value(ROUND_CEILING)
    per_million = picos / PICOS_PER_TOKEN_FOR_A_DOLLAR_PER_MILLION
    return per_million if per_million <= PRICE_MOST_USD else None


def _tokens(entry: Mapping[str, Any], name: str, most: int) -> int:
    value = entry.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= most else 0


def _notes(entry: Mapping[str, Any]) -> tuple[str, ...]:
    above = sorted(name.partition("_above_")[2] for name in entry if name.startswith("input_cost_per_token_above_"))
    return (f"the provider takes more for long inputs (above {', '.join(above)})",) if above else ()

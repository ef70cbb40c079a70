"""Prices and costs are exact."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.inference.money import FREE, Price, dollars, dollars_to_nanos


def test_a_price_finer_than_a_nano_dollar_a_token() -> None:
    price = Price.per_million(Decimal("0.0375"), Decimal("0.15"))
    assert price.cost_nanos(1, 0) == 38  # 37.5, rounded up
    assert price.cost_nanos(2, 0) == 75
    assert price.input_token_nanos == 38


def test_free() -> None:
    assert FREE.is_zero
    assert FREE.cost_nanos(10**6, 10**6) == 0


@pytest.mark.parametrize("amount", ["0.0000001", "-1"])
def test_what_is_no_price(amount: str) -> None:
    with pytest.raises(ValueError, match=r"decimals|negative"):
        Price.per_million(Decimal(amount), Decimal(0))


@pytest.mark.parametrize(("nanos", "shown"), [(0, "$0.00"), (1_250_000_000, "$1.25"), (1, "$0.000000001")])
def test_for_people(nanos: int, shown: str) -> None:
    assert dollars(nanos) == shown


@given(st.decimals(0, 1000, places=6), st.integers(0, 10**7), st.integers(0, 10**7))
def test_a_cost_is_the_exact_product_rounded_up_once(price: Decimal, input_tokens: int, output_tokens: int) -> None:
    exact = price * 1000 * (input_tokens + output_tokens)
    cost = Price.per_million(price, price).cost_nanos(input_tokens, output_tokens)
    assert exact <= cost < exact + 1


def test_dollars_to_nanos() -> None:
    assert dollars_to_nanos(Decimal("0.000000001")) == 1
    with pytest.raises(ValueError, match="nine decimals"):
        dollars_to_nanos(Decimal("0.0000000001"))

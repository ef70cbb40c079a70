"""Prices and costs, exact.

A price is kept in pico-US-dollars (1e-12) a token, because providers quote dollars a million tokens with up to six
decimals: $0.0375 a million is 37.5 nano-dollars a token. Costs leave in nano-US-dollars, rounded up.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

NANOS_PER_DOLLAR = 1_000_000_000
PICOS_PER_NANO = 1_000
PICOS_PER_TOKEN_FOR_A_DOLLAR_PER_MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class Price:
    """What a token costs, in pico-US-dollars."""

    input_token_picos: int
    output_token_picos: int

    @classmethod
    def per_million(cls, input_dollars: Decimal, output_dollars: Decimal) -> Price:
        """From dollars a million tokens; ValueError where a price is negative or has more than six decimals."""
        return cls(_picos(input_dollars), _picos(output_dollars))

    @property
    def is_zero(self) -> bool:
        """Known to be free."""
        return self.input_token_picos == 0 and self.output_token_picos == 0

    @property
    def input_token_nanos(self) -> int:
        """For a token of input in nano-US-dollars, rounded up."""
        return _nanos(self.input_token_picos)

    @property
    def output_token_nanos(self) -> int:
        """For a token of the answer in nano-US-dollars, rounded up."""
        return _nanos(self.output_token_picos)

    def cost_nanos(self, input_tokens: int, output_tokens: int) -> int:
        """Cost of a call in nano-US-dollars, rounded up once."""
        return _nanos(input_tokens * self.input_token_picos + output_tokens * self.output_token_picos)


FREE = Price(0, 0)


def dollars_to_nanos(dollars: Decimal) -> int:
    """Whole nano-US-dollars; ValueError where the amount is finer than that."""
    nanos = dollars * NANOS_PER_DOLLAR
    if nanos != nanos.to_integral_value():
        raise ValueError("has more than nine decimals")
    return int(nanos)


def dollars(nanos: int) -> str:
    """For people: `$1.25`, with as many decimals as it takes and at least two."""
    whole, rest = divmod(nanos, NANOS_PER_DOLLAR)
    decimals = f"{rest:09d}".rstrip("0").ljust(2, "0")
    return f"${whole}.{decimals}"


def _picos(dollars_per_million: Decimal) -> int:
    picos = dollars_per_million * PICOS_PER_TOKEN_FOR_A_DOLLAR_PER_MILLION
    if picos < 0:
        raise ValueError("is negative")
    if picos != picos.to_integral_value():
        raise ValueError("has more than six decimals")
    return int(picos)


def _nanos(picos: int) -> int:
    return -(-picos // PICOS_PER_NANO)

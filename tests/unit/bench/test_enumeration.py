"""The rank test that tells whether two samples differ."""

from __future__ import annotations

import random

import pytest

from bench.enumeration import rank_test


def test_samples_of_one_distribution_are_not_told_apart() -> None:
    rng = random.Random(7)
    low = sum(
        rank_test([rng.lognormvariate(0, 1) for _ in range(60)], [rng.lognormvariate(0, 1) for _ in range(60)]) < 0.05
        for _ in range(200)
    )
    assert 1 <= low <= 22  # 10 on average


def test_a_shift_is_found() -> None:
    rng = random.Random(7)
    ones = [rng.gauss(1.0, 0.1) for _ in range(200)]
    assert rank_test(ones, [value + 0.1 for value in ones]) < 1e-6


@pytest.mark.parametrize(
    ("ones", "others", "p"),
    [
        ([1.0, 1.0], [1.0, 1.0], 1.0),  # nothing but ties
        # U = 0 of 25: z = 12.5 / sqrt(25 * 11 / 12) = 2.611
        ([1.0, 2.0, 3.0, 4.0, 5.0], [6.0, 7.0, 8.0, 9.0, 10.0], 0.00902),
        # ranks 1, 2.5, 4.5 | 2.5, 4.5, 6: U = 2 of 9, variance 9 / 12 * (7 - 12 / 30) = 4.95, z = 1.1236
        ([1.0, 2.0, 3.0], [2.0, 3.0, 4.0], 0.26118),
    ],
)
def test_known_values(ones: list[float], others: list[float], p: float) -> None:
    assert rank_test(ones, others) == pytest.approx(p, abs=1e-4)

"""The schedule of `make chaos`: a seed makes one, and it holds what is promised of it."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.chaos.run import lies
from tests.chaos.schedule import (
    CALLS,
    CUTS,
    FAILPOINT,
    KINDS,
    LASTS_S,
    LINKS,
    PARTITION,
    Strike,
    make_schedule,
    rounds,
)
from tests.support.provider import FAULTS
from tools.mesh_clients import clients

POINTS = tuple(f"{service}:point.{number}" for service in ("auth", "prompts", "inference") for number in range(9))
TEN_MINUTES_S = 600.0
#: What the cut in CI is given: enough for one round of each kind.
CUT_S = 60.0
seeds = st.integers(0, 2**31 - 1)


def schedule(seed: int, duration_s: float = TEN_MINUTES_S, **how: object) -> list[Strike]:
    return make_schedule(seed, duration_s, failpoints=POINTS, lies=lies(), **how)  # type: ignore[arg-type]


@settings(deadline=None, max_examples=30)
@given(seeds)
def test_the_same_seed_makes_the_same_schedule(seed: int) -> None:
    assert schedule(seed) == schedule(seed)


def test_another_seed_makes_another() -> None:
    assert len({tuple(schedule(seed)) for seed in range(20)}) == 20


@settings(deadline=None, max_examples=30)
@given(seeds, st.sampled_from([CUT_S, 75.0, TEN_MINUTES_S, 3600.0]))
def test_every_kind_is_there_and_all_has_healed_before_the_end(seed: int, duration_s: float) -> None:
    made = schedule(seed, duration_s)
    assert {one.kind for one in made} == set(KINDS)
    assert max(one.heals_s for one in made) < duration_s
    for one in made:
        least, most = LASTS_S[one.kind]
        assert least <= one.lasts_s <= most
        assert one.at_s > 0
    by_round = rounds(made)
    for before, after in itertools.pairwise(by_round):
        assert max(one.heals_s for one in before) < min(one.at_s for one in after)


@settings(deadline=None, max_examples=30)
@given(seeds)
def test_nothing_is_struck_twice_before_all_of_its_kind_were(seed: int) -> None:
    made = [one.target for one in schedule(seed, 3600.0, only=(FAILPOINT,))]
    assert set(made[: len(POINTS)]) == set(POINTS)
    cuts = schedule(seed, 3600.0, only=(PARTITION,))
    assert {one.target for one in cuts[: len(LINKS)]} == {">".join(one) for one in LINKS}
    assert {one.how for one in cuts[: len(CUTS)]} == set(CUTS)


def test_ten_minutes_strike_two_things_at_once_at_times() -> None:
    pairs = [one for seed in range(10) for one in rounds(schedule(seed)) if len({strike.kind for strike in one}) == 2]
    assert pairs
    assert any(later.at_s < first.heals_s for first, later in pairs)


def test_only_some_kinds_and_targets() -> None:
    made = schedule(1, only=("kill", PARTITION), target="postgres")
    assert {one.kind for one in made} == {"kill", PARTITION}
    assert all("postgres" in one.target for one in made)
    with pytest.raises(ValueError, match="no target of kill holds 'mars'"):
        schedule(1, only=("kill",), target="mars")


def test_the_links_are_those_that_services_have() -> None:
    called = {(f"{one.name}-0", f"{one.target}-0") for one in clients()}
    assert called == {(caller, target) for caller, targets in CALLS.items() if caller != "edge" for target in targets}


def test_lies_are_faults_of_the_provider() -> None:
    assert set(lies()) < set(FAULTS)

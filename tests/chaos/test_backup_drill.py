"""A database that is lost under load comes back: the drill of tools/backup_drill.py, in short."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.backup_drill import RPO_S, RTO_S, drill, faults, loss_allowed_s

SEEN = {
    "rpo_s": 3.0,
    "rpo_allowed_s": 9.0,
    "rto_s": 30.0,
    "served_after_restore": True,
    "acknowledged_before_the_mistake": 10,
    "of_those_right_at_that_time": 10,
    "spoilt_at_that_time": 0,
    "spoilt_in_latest": 10,
}


@pytest.mark.parametrize(
    "changed",
    [
        {"rpo_s": 9.1},
        {"rto_s": RTO_S + 1},
        {"served_after_restore": False},
        {"acknowledged_before_the_mistake": 0, "of_those_right_at_that_time": 0},
        {"of_those_right_at_that_time": 9},
        {"spoilt_at_that_time": 1},
        {"spoilt_in_latest": 0},
    ],
)
def test_a_promise_that_is_broken_is_named(changed: dict[str, object]) -> None:
    assert faults(SEEN) == []
    assert len(faults(SEEN | changed)) == 1


@pytest.mark.parametrize(("archive_timeout_s", "allowed_s"), [(2, 9.0), (60, 125.0), (600, RPO_S)])
def test_what_may_be_lost_follows_from_the_setting(archive_timeout_s: int, allowed_s: float) -> None:
    assert loss_allowed_s(archive_timeout_s) == allowed_s


@pytest.mark.chaos
@pytest.mark.paired
@pytest.mark.timeout(600)
def test_what_was_acknowledged_is_restored(tmp_path: Path) -> None:
    seen = drill(tmp_path, load_s=9.0, per_s=10.0, archive_timeout_s=2)
    assert faults(seen) == [], seen

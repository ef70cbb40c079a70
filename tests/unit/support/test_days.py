"""A test that counts in a day of UTC begins where enough of it is left."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tests.support.days import wait_for_whole


@pytest.mark.parametrize(
    ("now", "waited_s"),
    [
        ("2026-11-30T00:00:00+00:00", None),
        ("2026-11-30T12:00:00+00:00", None),
        ("2026-11-30T23:59:00+00:00", None),
        ("2026-11-30T23:59:00.5+00:00", 60.5),
        ("2026-11-30T23:59:59.5+00:00", 1.5),
        ("2026-12-01T01:59:30+02:00", 31.0),
    ],
)
def test_it_waits_only_before_midnight_and_until_after_it(now: str, waited_s: float | None) -> None:
    slept: list[float] = []

    wait_for_whole(60.0, now=lambda: datetime.fromisoformat(now), sleep=slept.append)

    assert slept == ([] if waited_s is None else [waited_s])
    if waited_s is not None:
        after = datetime.fromisoformat(now) + timedelta(seconds=slept[0])
        assert after.astimezone(UTC).hour == 0

"""Ids and clocks, so that what needs either can be given another in tests."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol

import uuid_utils


def uuid7() -> str:
    """A new UUID of version 7, lower case: sorts by the time it was made, which partitions and cursors rely on."""
    return str(uuid_utils.uuid7())


class Clock(Protocol):
    """What time it is."""

    def now(self) -> datetime:
        """The time of day, in UTC."""

    def time(self) -> float:
        """The time of day, in seconds since the epoch."""

    def monotonic(self) -> float:
        """Seconds since some moment; never goes back."""


class SystemClock:
    """The machine's own clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def time(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()


SYSTEM_CLOCK = SystemClock()

"""What a follower says of its feed: an end is no warning as long as the feed comes back, an absence is one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable

import pytest

from services.mesh.backoff import Backoff
from services.mesh.errors import MeshError
from services.mesh.ids import SystemClock
from services.mesh.snapshots import BRIEF_S, FIRST_PAUSE_S_MAX, Follower, ResyncError

AT_ONCE = Backoff(1e-6, 1e-6)
AGE_S = 900.0


class Watch(SystemClock):
    """A clock that only a feed puts on."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def monotonic(self) -> float:
        return self.seconds


CLOCK = Watch()


@pytest.fixture(autouse=True)
def watch_of_this_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CLOCK, "seconds", 0.0)


async def told(*numbers: int, lasts_s: float = AGE_S) -> AsyncIterator[int]:
    """A feed that tells these and ends, as one does by its age."""
    for number in numbers:
        yield number
    CLOCK.seconds += lasts_s


async def brief() -> AsyncIterator[int]:
    """A feed that tells its state and ends, as no feed should."""
    yield 1
    CLOCK.seconds += BRIEF_S


async def torn() -> AsyncIterator[int]:
    """The same, of a server that breaks."""
    yield 1
    raise MeshError("DEPENDENCY_UNAVAILABLE", "torn")


async def away() -> AsyncIterator[int]:
    raise MeshError("DEPENDENCY_UNAVAILABLE", "away")
    yield 0


async def hanging() -> AsyncIterator[int]:
    await asyncio.Event().wait()
    yield 0


async def silent() -> AsyncIterator[int]:
    yield 1
    await asyncio.Event().wait()


def said(caplog: pytest.LogCaptureFixture) -> list[tuple[int, str]]:
    return [(one.levelno, one.getMessage()) for one in caplog.records if one.name == "services.mesh.snapshots"]


async def follow(
    *feeds: Callable[[], AsyncIterator[int]], silence_s: float = 15.0, backoff: Backoff | None = AT_ONCE
) -> Follower[int]:
    """Follows these feeds, one after the other, until the last has ended."""
    left = list(feeds)
    over = asyncio.Event()

    def watch(_after: int) -> AsyncIterator[int]:
        if not left:
            over.set()
            return hanging()
        return left.pop(0)()

    def apply(message: int) -> int:
        if message < 0:
            raise ResyncError("messages are missing")
        return message

    follower = Follower("posts", watch, apply, silence_s=silence_s, backoff=backoff, clock=CLOCK)
    running = asyncio.create_task(follower.run())
    try:
        await asyncio.wait_for(over.wait(), 20)
    finally:
        running.cancel()
        await asyncio.wait([running])
    return follower


def quiet(said: list[tuple[int, str]]) -> bool:
    return all(level <= logging.INFO for level, _ in said)


async def test_a_feed_that_ends_by_its_age_is_opened_again_without_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    follower = await follow(lambda: told(1, 2), lambda: told(3), lambda: told(4))
    assert follower.version == 4
    assert quiet(said(caplog)), said(caplog)
    assert (logging.DEBUG, "feed posts is opened again") in said(caplog)


async def test_a_feed_with_a_gap_asks_for_the_whole_without_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    await follow(lambda: told(1, -1), lambda: told(5))
    assert quiet(said(caplog)), said(caplog)


async def test_a_feed_that_is_away_is_warned_of_once_and_again_after_it_was_there(
    caplog: pytest.LogCaptureFixture,
) -> None:
    await follow(lambda: told(1), away, away, away, lambda: told(2), away, away)
    warnings = [text for level, text in said(caplog) if level == logging.WARNING]
    assert len(warnings) == 2, warnings
    assert all("feed posts is away: DEPENDENCY_UNAVAILABLE" in one for one in warnings)


async def test_a_feed_that_ends_before_it_says_anything_is_away(caplog: pytest.LogCaptureFixture) -> None:
    await follow(lambda: told(), lambda: told())
    warnings = [text for level, text in said(caplog) if level == logging.WARNING]
    assert warnings == ["feed posts is away: it ended; its last state stays in use"]


@pytest.mark.parametrize(
    ("one", "why"), [(brief, "it ended as soon as it was there"), (torn, "DEPENDENCY_UNAVAILABLE: torn")]
)
async def test_a_feed_that_ends_as_soon_as_it_is_there_is_away_and_warned_of_once(
    caplog: pytest.LogCaptureFixture, one: Callable[[], AsyncIterator[int]], why: str
) -> None:
    await follow(one, one, lambda: told(1, -1, lasts_s=0.0), one)
    warnings = [text for level, text in said(caplog) if level == logging.WARNING]
    assert warnings == [f"feed posts is away: {why}; its last state stays in use"]


@pytest.mark.parametrize("one", [brief, torn])
async def test_a_feed_that_ends_as_soon_as_it_is_there_is_asked_for_less_and_less(
    monkeypatch: pytest.MonkeyPatch, one: Callable[[], AsyncIterator[int]]
) -> None:
    """Each time it sends its whole state."""
    pauses_s: list[float] = []
    next_s = Backoff.next_s

    def recorded(self: Backoff) -> float:
        pauses_s.append(next_s(self))
        return 0.0

    monkeypatch.setattr(Backoff, "next_s", recorded)
    evenly = Backoff(1.0, 8.0, uniform=lambda _low, high: high)
    await follow(one, one, one, one, one, lambda: told(2), one, one, backoff=evenly)
    assert pauses_s == [1.0, 2.0, 4.0, 8.0, 8.0, 1.0, 2.0, 4.0]


async def test_a_feed_that_falls_silent_is_away(caplog: pytest.LogCaptureFixture) -> None:
    await follow(silent, silence_s=0.01)
    assert [level for level, text in said(caplog) if "is away: silence" in text] == [logging.WARNING]


async def test_a_feed_that_was_never_there_is_asked_for_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that has just started waits for it; one that had it goes on without it."""
    longest_s: list[float] = []
    next_s = Backoff.next_s

    def recorded(self: Backoff) -> float:
        longest_s.append(max(next_s(self) for _ in range(20)))
        return 0.0

    monkeypatch.setattr(Backoff, "next_s", recorded)
    await follow(away, away, lambda: told(1), away, backoff=None)
    assert [pause_s <= FIRST_PAUSE_S_MAX for pause_s in longest_s] == [True, True, False, False]

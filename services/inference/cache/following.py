"""A flight that another replica leads, read from Redis as its parts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any

from services.inference.cache.entries import part_of
from services.inference.cache.flight import Flight
from services.inference.cache.options import CacheOptions
from services.inference.cache.shared import READ_ENTRIES, SharedLayer
from services.inference.providers.base import Part
from services.mesh.errors import MeshError

# Errors of the one who asked, not of the answer: those who joined ask for themselves.
ASKERS_OWN = frozenset(
    {
        "API_KEY_LIMIT",
        "BUDGET_EXHAUSTED",
        "CONCURRENCY_LIMIT",
        "CREDENTIAL_EXPIRED",
        "CREDENTIAL_REVOKED",
        "DEADLINE_TOO_SHORT",
        "LIMIT_REACHED",
        "OVERLOADED",
        "RATE_LIMITED",
    }
)
# Looks at Redis that fail in a row, before a flight that has told nothing yet is taken to be lost.
_FAILED_LOOKS = 5


class LeaderLostError(Exception):
    """The leader is gone, cannot be heard, or told nothing for too long (`tired`)."""

    def __init__(self, *, tired: bool = False) -> None:
        super().__init__()
        self.tired = tired


async def follow(
    shared: SharedLayer,
    options: CacheOptions,
    flight: Flight,
    prefix: str,
    leader: str,
    token: str,
    spawn: Callable[[Coroutine[Any, Any, None]], object],
) -> AsyncGenerator[Part, None]:
    """Parts as the leader tells them, to their end. The leader's MeshError where it failed; LeaderLostError.

    `flight` is told the model, the usage and the like; `spawn` runs what is to be done after a cancellation.
    """
    loop = asyncio.get_running_loop()
    began = heard = loop.time()
    last, delivered, over = 0, False, False
    wait_s = options.poll_first_ms / 1000
    try:
        while True:
            news = await shared.poll(prefix, leader, token, last)
            now = loop.time()
            if news is None:
                patience_s = options.lease_ms if delivered else _FAILED_LOOKS * options.poll_most_ms
                if now - heard > patience_s / 1000:
                    raise LeaderLostError
            else:
                heard = now
                for number, head, parts in news.entries:
                    if number != last + 1:
                        raise LeaderLostError  # what lies between is lost
                    last = number
                    flight.remote = (head.model, head.provider)
                    for data, again in parts:
                        flight.info.restarted |= again
                        delivered = True
                        yield part_of(data, flight.streamed)
                    if head.ended:
                        over = True
                        flight.info.record.usage = head.usage
                        flight.info.record.finish_reasons = head.finish_reasons
                        if head.error is not None:
                            if not delivered and head.error.reason in ASKERS_OWN:
                                raise LeaderLostError
                            raise head.error
                        return
                if len(news.entries) == READ_ENTRIES:
                    continue  # there may be more
                if news.entries:
                    wait_s = options.poll_first_ms / 1000
                elif not news.alive:
                    over = True
                    raise LeaderLostError
            if not delivered and now - began > options.wait_ms / 1000:
                raise LeaderLostError(tired=True)
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * 2, options.poll_most_ms / 1000)
    finally:
        if not over:
            spawn(shared.stop_following(prefix, leader, token))


def broken() -> MeshError:
    """For those who have a part of an answer whose leader is lost."""
    return MeshError(
        "PROVIDER_ANSWER_BROKEN",
        "The answer broke off: the replica that fetched it for several callers is gone. Send the call again.",
        retry_after_s=1.0,
    )

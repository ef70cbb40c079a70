"""How limits are held; every bound of it, with where its number comes from."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LimitOptions:
    """Times in seconds."""

    flush_s: float = 0.1  # how long what calls have used is collected for one report
    idle_flushes: int = 3  # of which nothing was taken: then what is free goes back
    lease_s: float = 4.0  # a process that is silent so long is taken for dead
    renew_s: float = 1.0  # three renewals may be lost
    collect_s: float = 2.0  # after Redis lost everything, until its counts are whole again
    epoch_poll_s: float = 1.0  # how often a process looks whether that happened; less than 3/4 of collect_s
    spent_s: float = 0.05  # a refusal "spent" is repeated from memory
    held_s: float = 0.01  # a refusal "held"
    accounts_max: int = 10_000  # callers whose limits are remembered, twice; some 3 KB each where limits hold
    accounts_age_s: float = 300.0  # callers that were silent for one to two of these are forgotten
    slices_max: int = 200  # told of in one call of Redis
    flushes_at_once: int = 16  # calls of Redis for organisations of which nobody waits
    retries_max: int = 5  # of a call of Redis that came late while Redis is not known to be away
    rounds_max: int = 5  # of one waiting call, where others take what was leased for it

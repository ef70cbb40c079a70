"""What bounds the cache."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CacheOptions:
    """The defaults are those of the settings."""

    memory_bytes_max: int = 64 * 1024 * 1024  # of answers that are kept in this process
    # Of flights under way, all together: past it they are no longer stored, and go on at their slowest caller's pace.
    flight_bytes_max: int = 64 * 1024 * 1024
    # How far a flight may be ahead of its slowest caller, in times of the route's `entry_bytes_max`.
    flight_ahead_entries: int = 4
    replay_join_bytes: int = 0  # stored reads are joined into parts of up to this size; 0: replayed as they were read
    compress_from_bytes: int = 4096  # in Redis only; smaller ones are not worth their microseconds
    # A leader that is not heard for `lease_ms` is dead; it says that it lives every `renew_ms`.
    lease_ms: int = 2000
    renew_ms: int = 250
    # How often a leader without callers of its own looks whether other replicas still follow (a caller that left is to
    # end the call of the provider within 100 ms), and how long a replica that says nothing is still taken to follow.
    orphan_ms: int = 50
    follower_ms: int = 3000
    publish_batch_ms: int = 20  # parts for other replicas are collected this long
    poll_first_ms: int = 5  # how often a follower looks for parts, while some come,
    poll_most_ms: int = 50  # and while none do
    wait_ms: int = 120_000  # for the first part of another replica's flight; then the provider is called here
    linger_ms: int = 5000  # how long the end of a flight can be read by other replicas

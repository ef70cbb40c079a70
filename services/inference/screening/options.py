"""What bounds screening on the way of a call."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ScreeningOptions:
    """The defaults are those of the settings."""

    wait_ms: int = 5000  # for moderation; then the call ends in SCREENING_UNAVAILABLE
    calls_max: int = 4  # of moderation at once; what comes meanwhile goes together with the next
    # How long text of a stream waits for more before it is screened.
    flush_ms: int = 500
    # Texts of callers that were cleared, so that a conversation is not screened anew with each message.
    cleared_ttl_s: float = 60.0
    cleared_max: int = 20_000

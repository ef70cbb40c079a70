"""What a caller gets from the cache."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from services.inference.cache.entries import Entry
from services.inference.cache.flight import Flight, Follower
from services.inference.engine.call import AnswerInfo
from services.inference.providers.base import Part, TokenUsage


class Ticket:
    """What the cache does with one call; close `parts`.

    `decision` is final. `info`: of the call of the provider (BYPASS, MISS, REFRESH), or without attempts and target
    (HIT) or attempts (JOINED; complete at the end). `parts`: an answer that is not streamed is one part without chunks.
    """

    __slots__ = ("_entry", "_flight", "decision", "info", "parts")

    def __init__(
        self,
        decision: int,
        info: AnswerInfo,
        parts: AsyncGenerator[Part, None],
        *,
        entry: Entry | None = None,
        flight: Flight | None = None,
    ) -> None:
        self.decision = decision
        self.info = info
        self.parts = parts
        self._entry = entry
        self._flight = flight

    @property
    def model(self) -> str:
        """That answers; known once the first part is there."""
        if self._entry is not None:
            return self._entry.model
        if self._flight is not None:
            return self._flight.model
        return self.info.target.name if self.info.target is not None else ""

    @property
    def provider(self) -> str:
        """Of that model."""
        if self._entry is not None:
            return self._entry.provider
        if self._flight is not None:
            return self._flight.provider
        return self.info.target.provider.name if self.info.target is not None else ""

    @property
    def usage(self) -> TokenUsage | None:
        """Of the whole answer; of a HIT known at once, else at the end."""
        return (self._flight.info if self._flight is not None else self.info).usage

    @property
    def finish_reasons(self) -> dict[int, str]:
        """By choice; of a HIT known at once, else at the end."""
        return (self._flight.info if self._flight is not None else self.info).record.finish_reasons

    @property
    def restarted(self) -> bool:
        """Whether the answer began anew with the part read last, or before (info.restarted may run ahead)."""
        return self.parts.restarted if isinstance(self.parts, Follower) else self.info.restarted

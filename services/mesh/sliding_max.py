"""The greatest of what was seen of late."""

from __future__ import annotations

from collections import deque


class SlidingMax:
    """Of what was seen within the last `window_s`. Whoever asks tells the time, in seconds that never go back."""

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        # (when, value), each less than the one before: what is neither newer nor greater can never count again.
        self._seen: deque[tuple[float, float]] = deque()

    def see(self, now: float, value: float) -> float:
        """Adds a value; answers the greatest."""
        while self._seen and self._seen[-1][1] <= value:
            self._seen.pop()
        self._seen.append((now, value))
        while self._seen[0][0] <= now - self._window_s:
            self._seen.popleft()
        return self._seen[0][1]

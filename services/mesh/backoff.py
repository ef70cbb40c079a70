"""How long to wait before the next try."""

from __future__ import annotations

import random
from collections.abc import Callable


class Backoff:
    """Doubles from `first_s` to `most_s`; each wait is drawn between half of that and all of it (so that what failed
    together does not come back together)."""

    def __init__(
        self, first_s: float = 0.1, most_s: float = 5.0, uniform: Callable[[float, float], float] = random.uniform
    ) -> None:
        self._first_s, self._most_s, self._uniform = first_s, most_s, uniform
        self._next_s = first_s

    def next_s(self) -> float:
        """Seconds to wait now."""
        wait_s = self._next_s
        self._next_s = min(self._most_s, wait_s * 2)
        return self._uniform(wait_s / 2, wait_s)

    def reset(self) -> None:
        """It worked: begin anew."""
        self._next_s = self._first_s

"""The keys of one provider, taken in turn; one that the provider refuses or limits rests, and others take its calls."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence

import structlog

# A key that was revoked stays so; one that was set right again is found within a minute.
REFUSED_REST_S = 60.0
# Where a provider does not say for how long. Limits are mostly counted over seconds to a minute.
LIMITED_REST_S = 2.0

_log = structlog.get_logger(__name__)


class KeyRing:
    """Keys of a provider. Rotated by `replace`, while calls run. No keys: calls go without a credential."""

    def __init__(self, keys: Sequence[str] = (), *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._rests: dict[str, float] = {}  # key → end of its rest
        self._next = 0
        self._keys = _usable(keys)

    def __len__(self) -> int:
        return len(self._keys)

    def pick(self) -> str:
        """The next key that does not rest. Where all rest, the one whose rest ends first; where there is none, ""."""
        keys = self._keys
        if len(keys) < 2:
            return keys[0] if keys else ""
        if not self._rests:
            self._next = (self._next + 1) % len(keys)
            return keys[self._next]
        return self.pick_other(()) or min(keys, key=lambda key: self._rests.get(key, 0.0))

    def pick_other(self, tried: Collection[str]) -> str | None:
        """The next key that neither rests nor was tried."""
        keys, now = self._keys, self._clock()
        for step in range(1, len(keys) + 1):
            place = (self._next + step) % len(keys)
            key = keys[place]
            if key not in tried and self._rests.get(key, 0.0) <= now:
                self._rests.pop(key, None)
                self._next = place
                return key
        return None

    def refused(self, key: str) -> None:
        """The provider does not take it."""
        self._rest(key, REFUSED_REST_S)

    def limited(self, key: str, retry_after_s: float | None = None) -> None:
        """The provider answered 429 on it."""
        self._rest(key, LIMITED_REST_S if retry_after_s is None else retry_after_s)

    def replace(self, keys: Sequence[str]) -> None:
        """From now on these. A key that stays keeps its rest."""
        self._keys = _usable(keys)
        self._rests = {key: end for key, end in self._rests.items() if key in self._keys}

    def _rest(self, key: str, seconds: float) -> None:
        if key in self._keys:
            self._rests[key] = self._clock() + seconds


def _usable(keys: Sequence[str]) -> tuple[str, ...]:
    """Without doubles, and without what would not fit into a header: it could smuggle another one in."""
    usable: dict[str, None] = {}
    for number, given in enumerate(keys):
        key = given.strip()
        if key and key.isascii() and key.isprintable():
            usable[key] = None
        elif key:
            _log.warning("provider_key_unusable", number=number, why="it holds characters that no header takes")
    return tuple(usable)

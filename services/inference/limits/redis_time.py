"""Redis's clock, as this process knows it: windows begin and end by it, whatever the machine's own clock says."""

from __future__ import annotations

from services.mesh.ids import SYSTEM_CLOCK, Clock


class RedisTime:
    """Seconds since the epoch. Until Redis was heard, by the machine's own clock."""

    __slots__ = ("_heard", "_offset", "monotonic")

    def __init__(self, clock: Clock = SYSTEM_CLOCK) -> None:
        self.monotonic = clock.monotonic
        self._offset = clock.time() - clock.monotonic()
        self._heard = False

    def now(self) -> float:
        """What Redis's clock says, late by at most a round trip."""
        return self.monotonic() + self._offset

    def heard(self, time_s: float) -> None:
        """Redis's clock said this, a moment ago."""
        offset = time_s - self.monotonic()
        if not self._heard or offset > self._offset:
            # The faster the answer, the larger the offset and the nearer to the truth.
            self._offset = offset
            self._heard = True
        else:
            self._offset += (offset - self._offset) * 0.1  # the clocks' rates differ, and Redis's may be set back

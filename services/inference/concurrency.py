"""How many calls run at once for one organisation, in this process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from services.mesh.call import Caller
from services.mesh.errors import MeshError, QuotaViolation

RETRY_AFTER_S = 1.0


class Concurrency:
    """Counts calls under way; none waits: the one too many is refused, so that its caller can choose."""

    def __init__(self, calls_max: int) -> None:
        self._calls_max = calls_max
        self._running: dict[str, int] = {}

    @contextmanager
    def slot(self, caller: Caller) -> Iterator[None]:
        """Takes a slot for as long as the block runs; MeshError CONCURRENCY_LIMIT where all are taken."""
        # A service of the mesh calls for no organisation; it has a limit of its own.
        owner = caller.org_id or f"service:{caller.service}"
        running = self._running.get(owner, 0)
        if running >= self._calls_max:
            raise MeshError(
                "CONCURRENCY_LIMIT",
                f"{running} calls run for this organisation already, as many as allowed at once. "
                "Wait until one has ended.",
                retry_after_s=RETRY_AFTER_S,
                quota=[QuotaViolation(f"org:{owner}", f"At most {self._calls_max} calls at once")],
            )
        self._running[owner] = running + 1
        try:
            yield
        finally:
            left = self._running[owner] - 1
            if left:
                self._running[owner] = left
            else:
                del self._running[owner]

"""How many calls run at once for one organisation, in this process: a bulkhead, so that one cannot take all of it.

The limits that an operator sets for keys, people and organisations stand in `limits/` and hold over all processes.
"""

from __future__ import annotations

from services.mesh.call import Caller
from services.mesh.errors import MeshError, QuotaViolation

RETRY_AFTER_S = 1.0


class Concurrency:
    """Counts calls under way; none waits: the one too many is refused, so that its caller can choose."""

    def __init__(self, calls_max: int) -> None:
        self._calls_max = calls_max
        self._running: dict[str, int] = {}

    def enter(self, caller: Caller) -> None:
        """Takes a slot, to be given back with `leave`; MeshError CONCURRENCY_LIMIT where all are taken."""
        owner = _owner(caller)
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

    def leave(self, caller: Caller) -> None:
        """Gives a slot back."""
        owner = _owner(caller)
        left = self._running[owner] - 1
        if left:
            self._running[owner] = left
        else:
            del self._running[owner]


def _owner(caller: Caller) -> str:
    # A service of the mesh calls for no organisation; it has a limit of its own.
    return caller.org_id or f"service:{caller.service}"

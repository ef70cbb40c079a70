"""Deadlines travel: each hop keeps a margin for itself, and refuses work that cannot finish in what is left."""

from __future__ import annotations

from services.mesh.call import current_or_none
from services.mesh.errors import MeshError


def remaining() -> float | None:
    """Seconds until the deadline of the current call; None without a deadline or outside of a call."""
    call = current_or_none()
    return None if call is None else call.remaining()


def timeout_for(wanted_s: float | None, margin_s: float) -> float | None:
    """Timeout of something done within the current call: `wanted_s`, or what is left less the margin, if less.

    None: no limit. Raises MeshError DEADLINE_TOO_SHORT if nothing is left.
    """
    left_s = remaining()
    if left_s is None:
        return wanted_s
    usable_s = left_s - margin_s
    if usable_s <= 0:
        raise too_short(left_s, margin_s)
    return usable_s if wanted_s is None else min(wanted_s, usable_s)


def too_short(left_s: float, margin_s: float) -> MeshError:
    """The error for a deadline that cannot be met."""
    return MeshError(
        "DEADLINE_TOO_SHORT",
        f"The deadline is {left_s * 1000:.0f} ms away, and this call needs more than {margin_s * 1000:.0f} ms. "
        "Nothing was done. Give it more time.",
    )

"""What a start leaves behind: garbage, and memory that was let go of and that the C library still holds."""

from __future__ import annotations

import ctypes
import gc


def settle() -> None:
    """For a process that serves from now on: what lives as long as it does is not looked at by every collection, and
    what only the start needed goes back to the system (where the C library is GNU's; 5 to 20 MiB of a service)."""
    gc.collect()
    gc.freeze()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)

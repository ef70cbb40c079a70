"""How much memory processes take: PSS, which counts shared pages once, split among those who share them."""

from __future__ import annotations

import psutil


def pss_bytes(pid: int) -> int:
    """PSS of a process and all its descendants, in bytes; 0 if it is gone. RSS where the system does not tell PSS."""
    try:
        root = psutil.Process(pid)
        family = [root, *root.children(recursive=True)]
    except psutil.Error:
        return 0
    return sum(_own(process) for process in family)


def _own(process: psutil.Process) -> int:
    try:
        full = process.memory_full_info()
        return int(getattr(full, "pss", full.rss))
    except psutil.AccessDenied:
        try:
            return int(process.memory_info().rss)
        except psutil.Error:
            return 0
    except psutil.Error:
        return 0

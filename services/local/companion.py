"""A mesh that was started for a program ends when that program has ended, however it ended."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping

from services.local.errors import PlainError

COMPANION_SETTING = "PROMPTMESH_COMPANION_PID"


class CompanionError(PlainError):
    """PROMPTMESH_COMPANION_PID is no process of this machine."""


def watch_companion(environment: Mapping[str, str], gone: Callable[[], None]) -> Callable[[], None]:
    """Calls `gone` once the process that PROMPTMESH_COMPANION_PID names has ended; without the variable, never.

    Returns what ends the watching. Raises CompanionError. Call it where a loop runs; Linux only.
    """
    told = environment.get(COMPANION_SETTING)
    if not told:
        return lambda: None
    try:
        descriptor = os.pidfd_open(int(told))
    except ValueError:
        raise CompanionError(f"{COMPANION_SETTING} is {told!r}; expected the number of a process") from None
    except OSError as error:
        raise CompanionError(
            f"{COMPANION_SETTING} is {told}, with whose process this mesh should end; there is none ({error.strerror})"
        ) from error
    loop = asyncio.get_running_loop()

    def over() -> None:
        loop.remove_reader(descriptor)
        gone()

    loop.add_reader(descriptor, over)

    def unwatch() -> None:
        loop.remove_reader(descriptor)
        os.close(descriptor)

    return unwatch

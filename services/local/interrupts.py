"""Ctrl-C: exit status 130 and never a traceback, from the first moment of the program to its last.

Light on purpose: it is imported before everything that takes a while to import.
"""

from __future__ import annotations

# Built in, and enough: `signal` itself imports for 20 ms, in which Ctrl-C would still be a traceback.
import _signal as signal  # type: ignore[import-not-found]
import os

TYPE_CHECKING = False  # as type checkers know it; `typing` itself imports for long, too
if TYPE_CHECKING:
    from types import FrameType

EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells say it


def end_on_interrupt() -> None:
    """While nothing is under way (imports, the program's own end), Ctrl-C ends the process at once.

    An exception would surface wherever it hits, in somebody else's half-made module. Who ignores SIGINT (nohup, `&` in
    a script) goes on ignoring it.
    """
    if signal.getsignal(signal.SIGINT) in (signal.default_int_handler, _end):
        signal.signal(signal.SIGINT, _end)


def raise_on_interrupt() -> None:
    """While a command runs, Ctrl-C is a KeyboardInterrupt: what it holds is let go in order."""
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _end(_number: int, _frame: FrameType | None) -> None:
    os._exit(EXIT_INTERRUPTED)

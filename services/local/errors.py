"""The one base of errors whose message is all that their reader needs."""

from __future__ import annotations


class PlainError(RuntimeError):
    """Says what happened, what was expected and what to do next. The command line prints it without a traceback."""

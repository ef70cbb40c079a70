"""Limits of calls of models: requests, tokens, money and calls at once, of API keys, people and organisations."""

from services.inference.limits.epochs import LedgerHooks, Unflushed
from services.inference.limits.limits import Left, Limits
from services.inference.limits.model import API_KEY, NO_DEFAULTS, NO_VALUES, ORG, USER, Defaults, LimitValues
from services.inference.limits.options import LimitOptions
from services.inference.limits.recovery import Leave
from services.inference.limits.reservation import Remaining, Reservation
from services.inference.limits.totals import Asked, Total, Totals, totals_of

__all__ = [
    "API_KEY",
    "NO_DEFAULTS",
    "NO_VALUES",
    "ORG",
    "USER",
    "Asked",
    "Defaults",
    "Leave",
    "LedgerHooks",
    "Left",
    "LimitOptions",
    "LimitValues",
    "Limits",
    "Remaining",
    "Reservation",
    "Total",
    "Totals",
    "Unflushed",
    "totals_of",
]

"""Mails that a limit is nearly used up, or used up: the consumer of inference's LimitWarning.

Inference tells of each window, subject, limit and level once; the consumer handles each event once; so there is at most
one mail of each to a person.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC

from promptmesh.inference.v1 import events_pb2, limits_pb2

from services.auth.mail import Mails
from services.auth.store import SQL
from services.mesh.database import Connection
from services.mesh.events import Event

EVENT_TYPES = (events_pb2.LimitWarning,)
NANOS_PER_CENT = 10_000_000
_WHOSE = {
    limits_pb2.LIMIT_KIND_API_KEY: "an API key of yours",
    limits_pb2.LIMIT_KIND_USER: "your account",
    limits_pb2.LIMIT_KIND_ORG: "your organisation",
}
_WHAT = {
    "requests_per_day": "calls a day",
    "nanos_per_day": "US dollars a day",
    "nanos_per_month": "US dollars a month",
}


class LimitWarnings:
    """Hands mails in; one transaction, given by the consumer."""

    def __init__(self, mails: Mails) -> None:
        self._mails = mails

    async def __call__(self, conn: Connection, events: Sequence[Event]) -> None:
        for event in events:
            if isinstance(event.payload, events_pb2.LimitWarning):
                await self._warn(conn, event.payload)

    async def _warn(self, conn: Connection, warning: events_pb2.LimitWarning) -> None:
        template = "limit_reached" if warning.percent >= 100 else "limit_warning"
        for row in await conn.fetch(SQL["warned_addresses"], warning.kind, warning.subject_id):
            await self._mails.send(
                conn, template, to=row["email"], org_id=row["org_id"], user_id=row["user_id"], **places(warning)
            )


def places(warning: events_pb2.LimitWarning) -> dict[str, str]:
    """The values of the mail's places."""
    end = warning.end_time.ToDatetime(UTC)
    money = warning.limit.startswith("nanos_")
    return {
        "whose": _WHOSE[warning.kind],
        **_amount("used", warning.used, money=money),
        **_amount("limit", warning.limit_value, money=money),
        "what": _WHAT.get(warning.limit, warning.limit),
        "end": f"{end:%d %B %Y, %H:%M} UTC",
    }


def _amount(name: str, value: int, *, money: bool) -> dict[str, str]:
    """Dollars in two places, rounded down to cents: within one, a mail takes the point for part of a host's name."""
    if not money:
        return {name: str(value), f"{name}_cents": ""}
    dollars, cents = divmod(value // NANOS_PER_CENT, 100)
    return {name: str(dollars), f"{name}_cents": f".{cents:02d}"}

"""What limits there are, and whom they are for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum
from types import MappingProxyType

from promptmesh.inference.v1 import limits_pb2 as pb

API_KEY: int = pb.LIMIT_KIND_API_KEY
USER: int = pb.LIMIT_KIND_USER
ORG: int = pb.LIMIT_KIND_ORG
KIND_NAMES: Mapping[int, str] = MappingProxyType({API_KEY: "api_key", USER: "user", ORG: "org"})

MINUTE_S = 60
DAY_S = 86_400


class Unit(IntEnum):
    """What a limit counts; also the place of its amount in an `Amounts`."""

    REQUESTS = 0
    TOKENS = 1
    NANOS = 2
    SLOTS = 3  # calls at once


# requests, tokens, nanos, slots: what one call takes of each unit
Amounts = tuple[int, int, int, int]


class Period(IntEnum):
    """Over which time a limit counts."""

    ALWAYS = 0  # what is given back is free again
    MINUTE = 1  # slides: the minute before counts with the part of it that the last 60 s still cover
    DAY = 2  # UTC
    MONTH = 3  # UTC


@dataclass(frozen=True, slots=True)
class Spec:
    """One sort of limit. `name` is the field of `promptmesh.inference.v1.Limits`."""

    name: str
    unit: Unit
    period: Period
    short: str  # in keys of Redis
    what: str  # for people

    @property
    def seeded(self) -> bool:
        """Whether what was used so far comes from PostgreSQL where Redis does not know it."""
        return self.period >= Period.DAY

    @property
    def shared_out(self) -> bool:
        """Whether a process goes by its own share while Redis is away; money and days are never decided so."""
        return self.period <= Period.MINUTE


SPECS = (
    Spec("requests_per_minute", Unit.REQUESTS, Period.MINUTE, "rm", "calls a minute"),
    Spec("tokens_per_minute", Unit.TOKENS, Period.MINUTE, "tm", "tokens a minute"),
    Spec("concurrent_requests", Unit.SLOTS, Period.ALWAYS, "c", "calls at once"),
    Spec("requests_per_day", Unit.REQUESTS, Period.DAY, "rd", "calls a day"),
    Spec("nanos_per_day", Unit.NANOS, Period.DAY, "nd", "of money a day"),
    Spec("nanos_per_month", Unit.NANOS, Period.MONTH, "nm", "of money a month"),
)


@dataclass(frozen=True, slots=True)
class LimitValues:
    """The limits of one subject; None: no limit. The names are the contract's (`promptmesh.inference.v1.Limits`)."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrent_requests: int | None = None
    nanos_per_day: int | None = None
    nanos_per_month: int | None = None
    requests_per_day: int | None = None
    output_tokens_per_request: int | None = None

    def over(self, defaults: LimitValues) -> LimitValues:
        """These, and those of `defaults` where these say nothing."""
        return LimitValues(
            **{
                name: default if (own := getattr(self, name)) is None else own
                for name in VALUE_NAMES
                for default in (getattr(defaults, name),)
            }
        )


VALUE_NAMES = tuple(LimitValues.__dataclass_fields__)
NO_VALUES = LimitValues()


@dataclass(frozen=True, slots=True)
class Defaults:
    """What holds for every API key, person and organisation for which nothing else was set."""

    api_key: LimitValues = NO_VALUES
    user: LimitValues = NO_VALUES
    org: LimitValues = NO_VALUES

    def of(self, kind: int) -> LimitValues:
        """Those of a kind."""
        return self.api_key if kind == API_KEY else self.user if kind == USER else self.org


NO_DEFAULTS = Defaults()


def window_of(period: Period, now: float) -> tuple[int, int]:
    """Begin and end of the window that holds `now`, in seconds since the epoch; (0, 0) for ALWAYS."""
    second = int(now)
    if period == Period.MINUTE:
        begin = second - second % MINUTE_S
        return begin, begin + MINUTE_S
    if period == Period.DAY:
        begin = second - second % DAY_S
        return begin, begin + DAY_S
    if period == Period.MONTH:
        day = datetime.fromtimestamp(second, UTC)
        begin_day = datetime(day.year, day.month, 1, tzinfo=UTC)
        end_day = datetime(day.year + day.month // 12, day.month % 12 + 1, 1, tzinfo=UTC)
        return int(begin_day.timestamp()), int(end_day.timestamp())
    return 0, 0

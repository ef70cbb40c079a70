"""`limits:`: what holds for every key, person and organisation for whom nobody set anything else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from services.inference.config.base import ExactDollars, Part
from services.inference.money import dollars_to_nanos

# The bounds are those of promptmesh.inference.v1.Limits.
_Minute = Annotated[int, Field(ge=0, le=1_000_000_000)]
_Many = Annotated[int, Field(ge=0, le=1_000_000_000_000)]


class LimitsOfKind(Part):
    """Of one key, person or organisation. None: no limit; 0: nothing at all."""

    requests_per_minute: _Minute | None = None
    tokens_per_minute: _Many | None = None
    concurrent_requests: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    requests_per_day: _Many | None = None
    usd_per_day: ExactDollars | None = None
    usd_per_month: ExactDollars | None = None
    output_tokens_per_request: Annotated[int, Field(ge=1, le=1_000_000)] | None = None

    def fields(self) -> dict[str, int]:
        """What is set, under the names of promptmesh.inference.v1.Limits; money in nano-US-dollars."""
        result: dict[str, int] = {}
        for name, value in self:
            if value is None:
                continue
            if name.startswith("usd_"):
                result[name.replace("usd_", "nanos_", 1)] = dollars_to_nanos(value)
            else:
                result[name] = value
        return result


class LimitsConfig(Part):
    """Defaults by kind."""

    key: LimitsOfKind = LimitsOfKind()
    user: LimitsOfKind = LimitsOfKind()
    org: LimitsOfKind = LimitsOfKind()

    def defaults(self) -> Mapping[str, Mapping[str, int]]:
        """Kind (`key`, `user`, `org`) → name of a limit → its value."""
        return {kind: part.fields() for kind, part in (("key", self.key), ("user", self.user), ("org", self.org))}

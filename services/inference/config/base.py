"""What every part of a configuration is made of."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from services.inference.money import dollars_to_nanos

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,127}$"


def _canonical(value: str) -> str:
    try:
        return str(UUID(value))
    except ValueError as error:
        raise ValueError(f"must be the id of an organisation (a UUID), but is {value[:60]!r}") from error


def _whole_nanos(value: Decimal) -> Decimal:
    dollars_to_nanos(value)
    return value


Name = Annotated[str, Field(pattern=NAME_PATTERN)]
OrgId = Annotated[str, AfterValidator(_canonical)]
ORGANISATIONS_MOST = 100  # that share a model or route of their own
#: Whose it is: nobody else is offered it or told that it is there. Empty: everybody's.
Organisations = Annotated[tuple[OrgId, ...], Field(max_length=ORGANISATIONS_MOST)]
Seconds = Annotated[float, Field(gt=0, le=3600)]
Share = Annotated[float, Field(ge=0, le=1)]
PRICE_MOST_USD = 1_000_000  # a million tokens
Dollars = Annotated[Decimal, Field(ge=0, le=PRICE_MOST_USD)]
# US dollars that come out as whole nano-dollars.
ExactDollars = Annotated[Decimal, Field(ge=0, le=1_000_000_000), AfterValidator(_whole_nanos)]


class Part(BaseModel):
    """Immutable; what it does not know is a fault."""

    model_config = ConfigDict(extra="forbid", frozen=True)

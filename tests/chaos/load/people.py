"""Who calls: people with their keys, made while the mesh is whole."""

from __future__ import annotations

import asyncio
import itertools
import uuid
from dataclasses import dataclass, field
from random import Random

from tests.chaos.load.callers import ProgramCaller, RestCaller
from tests.chaos.load.journal import Journal
from tests.chaos.world import World
from tests.mesh.client import Client, eventually
from tests.mesh.people import MODERATOR, PASSWORD, Person, log_in, register, set_roles

AUTHORS, LIKERS = 4, 3
#: nano-US-dollars a day. A call of the load reserves some 60,000: the first is soon spent, the second late if at all.
BUDGETS_NANOS = (2_000_000, 20_000_000)


@dataclass(frozen=True)
class Member:
    """A person, their organisation, and a key for all that they do."""

    person: Person
    org_id: str
    key: str
    budget_nanos: int = 0  # 0: none

    @property
    def by_key(self) -> dict[str, str]:
        """As a program that has their key."""
        return {"key": self.key}

    @property
    def by_password(self) -> dict[str, str]:
        """As themselves; over plain HTTP by their session."""
        return {"email": self.person.email, "password": PASSWORD, "token": self.person.token}


@dataclass
class Cast:
    """Everyone, and what they call with."""

    world: World
    rng: Random
    journal: Journal
    rest: RestCaller
    python: ProgramCaller
    typescript: ProgramCaller
    authors: list[Member] = field(default_factory=list)
    likers: list[Member] = field(default_factory=list)
    spenders: list[Member] = field(default_factory=list)
    customer: Member | None = None
    moderator: Member | None = None
    _numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def uuid(self) -> str:
        """An id of the seed's."""
        return str(uuid.UUID(int=self.rng.getrandbits(128), version=4))

    def name(self) -> str:
        """A name that nobody else has."""
        return f"chaos-{self.world.seed}-{next(self._numbers)}"


async def gather(cast: Cast, client: Client) -> None:
    """Registers everyone."""
    admin = await log_in(client, cast.world.mesh.admin_email, cast.world.mesh.admin_password)
    cast.authors = [await _member(cast, client) for _ in range(AUTHORS)]
    cast.likers = [await _member(cast, client) for _ in range(LIKERS)]
    cast.customer = await _member(cast, client)
    cast.moderator = await _member(cast, client)
    await set_roles(admin, cast.moderator.person, MODERATOR)
    for nanos in BUDGETS_NANOS:
        spender = await _member(cast, client, nanos)
        path = f"/api/v1/limits/LIMIT_KIND_ORG/{spender.org_id}"
        (await admin.ask("PUT", path, {"nanosPerDay": str(nanos)})).ok()
        await _limits_known(spender, client)
        cast.spenders.append(spender)


async def _member(cast: Cast, client: Client, budget_nanos: int = 0) -> Member:
    person = await register(client, cast.name())
    org_id = str((await person.ask("GET", "/api/v1/users/me")).ok()["orgId"])
    key = await person.api_key("posts:read", "posts:write", "inference:invoke", "usage:read")
    return Member(person, org_id, key, budget_nanos)


async def _limits_known(member: Member, client: Client) -> None:
    async def known() -> bool:
        answer = await client.ask("GET", "/api/v1/limits:remaining", token=member.key)
        return answer.status == 200 and bool(answer.json["remaining"])

    await eventually("the budget is known", known)
    await asyncio.sleep(0)

"""A group to which nothing comes leaves PostgreSQL alone; what comes moves its checkpoints all the same."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from services.mesh.events.checkpoints import Checkpoint, Checkpoints
from services.mesh.events.group import Group, Progress
from tests.integration.mesh_data.world import Effects, World, until

KEEPS = 5


async def test_a_quiet_group_asks_nothing_of_postgresql(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = 0  # at Redis, since PostgreSQL was last told
    advance, progress = Checkpoints.advance, Group.progress

    async def told(self: Checkpoints, seen: Mapping[int, Checkpoint]) -> dict[int, Checkpoint]:
        nonlocal looks
        looks = 0
        return await advance(self, seen)

    async def looked(self: Group) -> list[Progress]:
        nonlocal looks
        looks += 1
        return list(await progress(self))

    monkeypatch.setattr(Checkpoints, "advance", told)
    monkeypatch.setattr(Group, "progress", looked)

    async def positions() -> int:
        rows = await world.fetch(world.consumer, "SELECT max(position) FROM checkpoints")
        return int(rows[0][0] or 0)

    async def quiet() -> bool:
        return looks >= KEEPS

    effects = Effects()
    consumer = world.new_consumer(effects, recheck_interval_s=3600.0)
    async with world.running(world.relay(), consumer):
        for head in (1, 2):
            await world.write(head)
            await world.until_done(head)

            async def kept(head: int = head) -> bool:
                return await positions() == head

            await until(kept)
            await until(quiet)

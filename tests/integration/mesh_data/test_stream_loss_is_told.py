"""A stream that is new is no warning; one that Redis lost is."""

from __future__ import annotations

import logging

import pytest

from tests.integration.mesh_data.world import World


async def test_a_new_stream_is_no_warning_and_a_lost_one_is(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    relay = world.relay()

    def levels() -> set[int]:
        return {one.levelno for one in caplog.records if "begins a new epoch" in one.getMessage()}

    await world.write(1, 2, 3)
    await relay.sequence()
    await relay.publish(audit=True)
    assert levels() == {logging.INFO}

    caplog.clear()
    await world.streams.flushall()
    await relay.publish(audit=True)
    # Partitions that never held anything lost nothing.
    assert logging.WARNING in levels()

"""Auth hangs, and dies, under load: whoever was known before notices nothing, and nobody is let in by guess."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from functools import partial

import pytest

from bench.auth_away import OK, WAYS, Callers, callers_of
from services.local.testing import LocalMesh, local_mesh
from services.mesh.access import keys
from tests.mesh.client import eventually
from tests.mesh.conftest import EDGE_WIDE_OPEN

#: Of each kind with each credential, while auth is away; writes are the slowest, some three a second.
CALLS = 30
AWAY = "CREDENTIAL_UNVERIFIABLE"

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def mesh() -> Iterator[LocalMesh]:
    with local_mesh(edge=EDGE_WIDE_OPEN) as running:
        yield running


@pytest.mark.parametrize("how", WAYS)
async def test_known_callers_notice_nothing(mesh: LocalMesh, how: str) -> None:
    made_up = keys.new_secret()  # in form: only auth can say that it is none
    async with callers_of(mesh, f"witness-of-{how}") as callers:
        async with WAYS[how](mesh), callers.running():
            await callers.more(CALLS)
            for kind in ("read", "screen", "models"):
                said = await callers.status(kind, made_up)
                assert said.startswith("503"), said
                assert AWAY in said
        async with callers.running():
            await callers.more(3, OK)
        failed = {key: count for key, count in callers.counts.items() if key[2] != OK}
        print(f"\nauth {how}: {callers.counts.total()} calls, the slowest took {callers.slowest_s:.2f} s")
        assert not failed
        await _auth_is_asked_again(mesh, callers, made_up)


async def _auth_is_asked_again(mesh: LocalMesh, callers: Callers, made_up: str) -> None:
    """What only auth can answer is answered, and what it says now holds at once."""
    for kind in ("read", "screen", "models"):
        await eventually("a key that is none is refused", partial(_is, callers, kind, made_up, "401"))
    token = await asyncio.to_thread(mesh.admin_token)
    assert await callers.status("read", token) == OK
    left = await asyncio.to_thread(mesh.call, "DELETE", "/api/v1/sessions/current", token=token)
    assert left.status == 200
    for kind in ("read", "screen", "models"):
        await eventually("the session has ended everywhere", partial(_is, callers, kind, token, "401"))


async def _is(callers: Callers, kind: str, credential: str, wanted: str) -> bool:
    return (await callers.status(kind, credential)).startswith(wanted)

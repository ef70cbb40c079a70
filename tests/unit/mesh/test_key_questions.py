"""Questions to auth about API keys: one for all who want to know, bounded in time."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from promptmesh.access.v1.access_pb2 import Role
from promptmesh.auth.v1.auth_pb2 import KeyIdentity

from services.mesh.access.control import AccessControl
from services.mesh.access.service_tokens import ServiceTokens
from services.mesh.errors import MeshError
from services.mesh.settings import MeshSettings

DIGEST = b"d" * 32
IDENTITY = KeyIdentity(api_key_id="key", digest=DIGEST, user_id="ada", org_id="org", roles=[Role.ROLE_USER])


class Source:
    """Auth, which answers after some turns of the event loop, or never."""

    def __init__(self, turns: int | None, error: MeshError | None = None) -> None:
        self.turns, self.error, self.asked = turns, error, 0

    async def resolve(self, digest: bytes) -> KeyIdentity:
        self.asked += 1
        for _ in range(self.turns or 0):
            await asyncio.sleep(0)
        if self.turns is None:
            await asyncio.Event().wait()
        if self.error is not None:
            raise self.error
        return IDENTITY

    async def report_uses(self, api_key_ids: Any) -> None:
        """Nobody asks."""

    async def watch(self, after_version: int) -> Any:
        """Nobody follows."""
        for _ in ():
            yield


def access_to(source: Source, **more: Any) -> AccessControl:
    return AccessControl(source, ServiceTokens("tests", b"s" * 32), b"p" * 32, **more)


async def known(access: AccessControl) -> str:
    """What a call with the key finds: as `caller_of`, without its look at the feed."""
    found = access.identities.key(DIGEST)
    try:
        return (found or await access._resolve(DIGEST, None)).caller.user_id
    except MeshError as error:
        return error.reason


TURNS = 5


async def two_calls(access: AccessControl, later: int) -> set[str]:
    """What two calls find, the second of which comes so many turns of the loop after the first."""
    first = asyncio.create_task(known(access))
    for _ in range(later):
        await asyncio.sleep(0)
    return {await known(access), await first}


@pytest.mark.parametrize("later", range(2 * TURNS))
async def test_whenever_a_second_call_comes_a_key_is_asked_for_once(later: int) -> None:
    source = Source(TURNS)
    assert await two_calls(access_to(source), later) == {"ada"}
    assert source.asked == 1


@pytest.mark.parametrize("later", range(2 * TURNS))
async def test_whenever_a_second_call_comes_a_key_that_there_is_not_is_asked_for_once(later: int) -> None:
    source = Source(TURNS, MeshError("API_KEY_NOT_FOUND", "There is none."))
    assert await two_calls(access_to(source), later) == {"CREDENTIAL_INVALID"}
    assert source.asked == 1


async def test_an_answer_that_does_not_come_is_not_waited_for_again_at_once() -> None:
    source = Source(None)
    access = access_to(source, key_resolve_timeout_s=0.01)
    assert await known(access) == "CREDENTIAL_UNVERIFIABLE"
    access._resolve_timeout_s = 60.0
    assert await known(access) == "CREDENTIAL_UNVERIFIABLE"
    # One that was known before a gap passes as it was.
    stale = access.identities.learn(IDENTITY, epoch=-1)
    assert await access._resolve(DIGEST, stale) is stale
    assert source.asked == 1
    await access.close()


def test_how_long_a_call_waits_is_a_setting() -> None:
    field = MeshSettings.model_fields["key_resolve_timeout_s"]
    assert field.default == 1.0
    assert [getattr(one, "le", None) for one in field.metadata if hasattr(one, "le")] == [1]

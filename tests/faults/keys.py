"""Where the identities of a world's callers come from: keys that are made, and revoked one by one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from promptmesh.access.v1.access_pb2 import Role
from promptmesh.auth.v1.auth_pb2 import IdentityState, KeyIdentity, WatchIdentitiesResponse

from services.mesh.access import keys
from services.mesh.errors import MeshError
from services.mesh.ids import uuid7

PEPPER = b"pepper-of-a-test-pepper-of-a-test"
ALIVE_S = 1.0


class Keys:
    """`standing` is never revoked."""

    def __init__(self) -> None:
        self.org_id = uuid7()
        self._known: dict[bytes, KeyIdentity] = {}
        self._version = 1
        self._changes: asyncio.Queue[WatchIdentitiesResponse] = asyncio.Queue()
        self.standing = self.new()

    def new(self) -> str:
        """The secret of a key of a person of its own, who may call models."""
        secret = keys.new_secret()
        digest = keys.digest(PEPPER, secret)
        self._known[digest] = KeyIdentity(
            api_key_id=uuid7(),
            digest=digest,
            org_id=self.org_id,
            user_id=uuid7(),
            roles=[Role.ROLE_USER],
            scopes=["inference:invoke"],
        )
        return secret

    def revoke(self, secret: str) -> None:
        """The process will hear of it."""
        identity = self._known[keys.digest(PEPPER, secret)]
        identity.revoked = True
        self._version += 1
        self._changes.put_nowait(WatchIdentitiesResponse(version=self._version, key_changed=identity))

    async def watch(self, after_version: int) -> AsyncIterator[WatchIdentitiesResponse]:
        """As auth's."""
        yield WatchIdentitiesResponse(version=self._version, state=IdentityState(grace_seconds=600))
        while True:
            try:
                async with asyncio.timeout(ALIVE_S):
                    change = await self._changes.get()
            except TimeoutError:
                change = WatchIdentitiesResponse(version=self._version)
                change.heartbeat.SetInParent()
            yield change

    async def resolve(self, digest: bytes) -> KeyIdentity:
        """As auth's."""
        if digest not in self._known:
            raise MeshError("API_KEY_NOT_FOUND", "No such key.")
        return self._known[digest]

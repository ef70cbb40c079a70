"""WatchIdentities: the state, every change after it, and what a watcher that was away gets."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import grpc
import pytest
from promptmesh.access.v1.access_pb2 import Role
from promptmesh.auth.v1 import auth_pb2 as pb

from services.mesh.access.identities import Identities
from services.mesh.errors import error_of
from tests.integration.auth.test_api_keys import digest_of, make_key
from tests.integration.auth.test_roles import new_admin, set_roles
from tests.integration.auth.world import PATIENCE_S, Client, Place, client_of, until_refused


class Watcher:
    """Reads a feed into a snapshot, as every service does: a gap would raise."""

    def __init__(self, call: Any, snapshot: Identities | None = None) -> None:
        self._call = call
        self.snapshot = snapshot or Identities()
        self.seen: list[str] = []

    async def next(self) -> pb.WatchIdentitiesResponse:
        """The next message, applied."""
        async with asyncio.timeout(PATIENCE_S):
            message: pb.WatchIdentitiesResponse = await self._call.read()
        assert message is not grpc.aio.EOF
        assert self.snapshot.apply(message) == self.snapshot.version
        self.seen.append(message.WhichOneof("event") or "nothing")
        return message

    async def until(self, kind: str) -> pb.WatchIdentitiesResponse:
        """The next message of a kind; those before it are applied."""
        while True:
            message = await self.next()
            if message.WhichOneof("event") == kind:
                return message


@asynccontextmanager
async def watching(peer: Client, after_version: int = 0, snapshot: Identities | None = None) -> AsyncIterator[Watcher]:
    call = peer.watch(after_version)
    try:
        yield Watcher(call, snapshot)
    finally:
        call.cancel()


async def test_the_feed_begins_with_the_state(client: Client, peer: Client) -> None:
    async with watching(peer) as feed:
        message = await feed.next()
        assert message.WhichOneof("event") == "state"
        assert message.state.grace_seconds == 600
        assert message.state.jwks == await client("GetJwks", pb.GetJwksRequest())


async def test_every_change_comes_round(client: Client, peer: Client, place: Place, tmp_path: Path) -> None:
    admin = await new_admin(client, place, tmp_path, "watch@example.test")
    async with watching(peer) as feed:
        await feed.until("state")
        session, person = await client.somebody()
        made = await make_key(person)
        key = (await feed.until("key_changed")).key_changed
        assert (key.api_key_id, key.user_id, key.revoked) == (made.api_key.api_key_id, session.user.user_id, False)
        assert key.digest == digest_of(place, made.secret)
        assert "nothing" in feed.seen  # the registration, which takes a version

        before = time.time()
        await set_roles(admin, session.user.user_id, Role.ROLE_AUDITOR)
        user = (await feed.until("user_changed")).user_changed
        assert user.user_id == session.user.user_id
        assert list(user.roles) == [Role.ROLE_USER, Role.ROLE_AUDITOR]
        assert user.change_time.ToNanoseconds() / 1e9 == pytest.approx(before, abs=60)
        known = feed.snapshot.key(key.digest)
        assert known is not None
        assert known.caller.roles == {Role.ROLE_USER, Role.ROLE_AUDITOR}

        await person("RevokeApiKey", pb.RevokeApiKeyRequest(api_key_id=made.api_key.api_key_id))
        assert (await feed.until("key_changed")).key_changed.revoked

        await person("DeleteSession", pb.DeleteSessionRequest())
        ended = (await feed.until("session_ended")).session_ended
        assert ended.session_id == session.session_id
        assert ended.forget_time.seconds >= session.access_expire_time.seconds
        assert feed.snapshot.session_ended(session.session_id)


async def test_a_state_holds_the_restrictions_in_force(
    client: Client, peer: Client, place: Place, tmp_path: Path, rows: asyncpg.Connection
) -> None:
    admin = await new_admin(client, place, tmp_path, "state@example.test")
    session, person = await client.somebody()
    long_ago, ended_long_ago = await client.somebody()
    await set_roles(admin, session.user.user_id, Role.ROLE_MODERATOR)
    await set_roles(admin, long_ago.user.user_id, Role.ROLE_MODERATOR)
    await person("DeleteSession", pb.DeleteSessionRequest())
    await ended_long_ago("DeleteSession", pb.DeleteSessionRequest())
    await rows.execute(
        "UPDATE users SET roles_change_time = now() - interval '1 h' WHERE user_id = $1", long_ago.user.user_id
    )
    await rows.execute(
        "UPDATE sessions SET access_expire_time = now() - interval '1 h' WHERE session_id = $1", long_ago.session_id
    )
    async with watching(peer) as feed:
        state = (await feed.next()).state
    users = {one.user_id for one in state.users}
    sessions = {one.session_id for one in state.sessions}
    assert session.user.user_id in users
    assert session.session_id in sessions
    assert long_ago.user.user_id not in users
    assert long_ago.session_id not in sessions


async def test_a_watcher_that_was_away_gets_what_it_missed(client: Client, peer: Client) -> None:
    async with watching(peer) as feed:
        await feed.until("state")
        _, person = await client.somebody()
        await make_key(person)
        await feed.until("key_changed")
        snapshot = feed.snapshot
    session, person = await client.somebody()
    made = await make_key(person)
    await person("DeleteSession", pb.DeleteSessionRequest())
    async with watching(peer, snapshot.version, snapshot) as feed:
        assert (await feed.until("key_changed")).key_changed.api_key_id == made.api_key.api_key_id
        assert (await feed.until("session_ended")).session_ended.session_id == session.session_id
        assert "state" not in feed.seen
    async with watching(peer, snapshot.version, snapshot) as feed:
        assert "state" not in feed.seen


async def test_a_version_that_is_not_known_gets_the_state(peer: Client) -> None:
    for version in (10**6, 2**62):
        async with watching(peer, version) as feed:
            assert (await feed.next()).WhichOneof("event") == "state"


async def test_a_version_that_is_no_longer_kept_gets_the_state(
    client: Client, peer: Client, rows: asyncpg.Connection
) -> None:
    await client.register()
    async with watching(peer) as feed:
        version = (await feed.next()).version
    assert version > 1
    dropped = await rows.fetchval("UPDATE outbox_head SET dropped = position RETURNING dropped")
    try:
        async with watching(peer, 1) as feed:
            message = await feed.next()
            assert message.WhichOneof("event") == "state"
            assert message.version >= dropped
    finally:
        await rows.execute("UPDATE outbox_head SET dropped = 0")


async def test_a_version_below_zero_is_none(peer: Client) -> None:
    call = peer.watch(-1)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call.read()
    assert error_of(refused.value).reason == "INVALID_FIELD"


async def test_silence_is_told_apart_from_loss(place: Place) -> None:
    with place.running(IDENTITY_HEARTBEAT_S=0.05) as service:
        token = place.secrets.service_token("inference")
        async with client_of(service) as client, watching(client.bearing(token)) as feed:
            await feed.until("heartbeat")
            await client.register()
            await feed.until("heartbeat")
            await feed.until("heartbeat")


async def test_people_may_not_watch(client: Client) -> None:
    _, person = await client.somebody()
    for one, reason in ((client, "CREDENTIAL_MISSING"), (person, "AUDIENCE_MISMATCH")):
        call = one.watch()
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call.read()
        assert error_of(refused.value).reason == reason


async def test_what_one_process_changes_another_tells_and_obeys(client: Client, peer: Client, place: Place) -> None:
    with place.running(WORKER="other-0") as other:
        async with client_of(other) as there:
            session, person = await client.somebody()
            elsewhere = there.bearing(session.access_token)
            assert (await elsewhere("GetMe", pb.GetMeRequest())).user_id == session.user.user_id
            await person("DeleteSession", pb.DeleteSessionRequest())
            await until_refused(elsewhere)


async def test_a_new_signing_key_comes_round_to_those_who_watch_and_to_those_who_were_away(
    client: Client, peer: Client, place: Place
) -> None:
    async with watching(peer) as feed:
        first = await feed.until("state")
        with place.running(WORKER="new-0", AUTH_SIGNING_KEY_FILE=place.with_new_key()) as new:
            second = await feed.until("state")
            assert len(second.state.jwks.keys) == len(first.state.jwks.keys) + 1
            async with client_of(new) as there:
                session = await there.log_in((await client.register()).email)
                # Made with the new key, good where the old one signs; and the other way round.
                assert await client.bearing(session.access_token)("GetMe", pb.GetMeRequest()) == session.user
                mine, _ = await client.somebody()
                assert await there.bearing(mine.access_token)("GetMe", pb.GetMeRequest()) == mine.user
    async with watching(peer, first.version, Identities()) as feed:
        assert (await feed.until("state")).state.jwks == second.state.jwks


async def test_a_key_that_nobody_signs_with_any_more_goes(client: Client, place: Place) -> None:
    settings = {"SIGNING_KEY_SEEN_S": 0.1, "ACCESS_LIFETIME_S": 1}
    with place.running(WORKER="brief-0", AUTH_SIGNING_KEY_FILE=place.with_new_key()):
        before = await client("GetJwks", pb.GetJwksRequest())
    connection = await asyncpg.connect(place.admin_url, server_settings={"search_path": "auth"})
    try:
        [kid] = [
            row["kid"]
            for row in await connection.fetch(
                "UPDATE signing_keys SET seen_time = now() - interval '1 h'"
                " WHERE create_time = (SELECT max(create_time) FROM signing_keys) RETURNING kid"
            )
        ]
    finally:
        await connection.close()
    assert kid in {key.kid for key in before.keys}
    with place.running(WORKER="keeper-0", **settings) as keeper:
        async with client_of(keeper) as there, asyncio.timeout(PATIENCE_S):
            while kid in {key.kid for key in (await there("GetJwks", pb.GetJwksRequest())).keys}:
                pass

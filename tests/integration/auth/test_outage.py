"""PostgreSQL away: UNAVAILABLE, never UNAUTHENTICATED; and back by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest
from promptmesh.auth.v1 import auth_pb2 as pb

from services.local.embedded.postgres import PostgresCluster, running_postgres, temporary_cluster
from services.local.embedded.redis import RedisServer
from services.mesh.access import keys
from services.mesh.errors import MeshError, error_of
from tests.integration.auth.test_api_keys import digest_of, make_key
from tests.integration.auth.world import (
    PATIENCE_S,
    Client,
    Place,
    auth_place,
    client_of,
    reason_of,
    until_refused,
)
from tests.support.databases import Databases

AWAY = {"DEPENDENCY_UNAVAILABLE", "CREDENTIAL_UNVERIFIABLE"}


class Power:
    """A cluster of the test's own, which goes off and on."""

    def __init__(self, cluster: PostgresCluster) -> None:
        self._cluster = cluster
        self._running = ExitStack()

    def on(self) -> None:
        """Starts it, if it is off."""
        self.off()
        self._running.enter_context(running_postgres(self._cluster))

    def off(self) -> None:
        """Stops it, if it is on."""
        self._running.close()


@pytest.fixture
def power(tmp_path: Path) -> Iterator[Power]:
    cluster = temporary_cluster(tmp_path / "postgres")
    cluster.initialise()
    power = Power(cluster)
    power.on()
    yield power
    power.off()


@pytest.fixture
def own_place(power: Power, redis_server: RedisServer, tmp_path: Path) -> Iterator[Place]:
    with auth_place(Databases(power._cluster), redis_server.url(), tmp_path) as place:
        yield place
        power.on()  # the database is dropped at the end


async def test_postgres_goes_and_comes_back(power: Power, own_place: Place) -> None:
    settings = {"IDENTITY_HEARTBEAT_S": 0.2, "DATABASE_ACQUIRE_TIMEOUT_S": 0.5}
    with own_place.running(**settings) as service:
        async with client_of(service) as client:
            peer = client.bearing(own_place.secrets.service_token("prompts"))
            session, person = await client.somebody()
            keyed = client.bearing((await make_key(person)).secret)
            assert await keyed("GetMe", pb.GetMeRequest()) == session.user
            feed = peer.watch()
            assert (await feed.read()).HasField("state")

            await asyncio.to_thread(power.off)
            unknown = client.bearing(keys.new_secret())
            digest = digest_of(own_place, keys.new_secret())
            for call in (
                person("GetMe", pb.GetMeRequest()),
                keyed("GetMe", pb.GetMeRequest()),
                unknown("GetMe", pb.GetMeRequest()),
                peer("ResolveApiKey", pb.ResolveApiKeyRequest(digest=digest)),
                client("GetJwks", pb.GetJwksRequest()),
                client.log_in(session.user.email),
                client.refresh(session.refresh_token),
                client.register(),
                make_key(person),
                person("DeleteSession", pb.DeleteSessionRequest()),
            ):
                assert await reason_of(call) in AWAY
            assert await end_of(feed) in AWAY  # alive is what it can no longer say

            await asyncio.to_thread(power.on)
            await until_answered(person)
            assert (await client.refresh(session.refresh_token)).session_id == session.session_id
            await person("DeleteSession", pb.DeleteSessionRequest())
            await until_refused(person)


async def end_of(feed: Any) -> str:
    """The reason for which a feed ends; "" if it ends well."""
    async with asyncio.timeout(PATIENCE_S):
        try:
            while await feed.read() is not grpc.aio.EOF:
                pass
        except grpc.aio.AioRpcError as error:
            return error_of(error).reason
    return ""


async def until_answered(person: Client) -> None:
    """Waits until the service has found PostgreSQL again."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                await person("GetMe", pb.GetMeRequest())
                return
            except MeshError as error:
                if error.reason not in AWAY:
                    raise

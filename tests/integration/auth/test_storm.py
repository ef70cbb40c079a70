"""A storm of log-ins is bounded, and starves nothing else."""

from __future__ import annotations

import asyncio

from promptmesh.auth.v1 import auth_pb2 as pb

from services.mesh.errors import MeshError
from tests.integration.auth.world import Place, client_of

# A second or so a hash, so that the storm is still on when the rest has been answered.
SLOW = {"PASSWORD_MEMORY_KIB": 19_456, "PASSWORD_PASSES": 40, "PASSWORD_THREADS": 1, "PASSWORD_WAITING_MAX": 2}


async def test_a_storm_of_log_ins(place: Place) -> None:
    with place.running() as quick:
        async with client_of(quick) as client:
            session, _ = await client.somebody()
    with place.running(**SLOW) as service:
        async with client_of(service) as client:
            person = client.bearing(session.access_token)
            storm = [
                asyncio.ensure_future(client.log_in(f"nobody-{number}@example.test", "password"))
                for number in range(20)
            ]
            done: set[asyncio.Future[pb.Session]] = set()
            while len(done) < 17:  # one is hashed, two wait
                done, _ = await asyncio.wait(storm, return_when=asyncio.FIRST_COMPLETED)
                done = {one for one in storm if one.done()}
            for one in done:
                error = one.exception()
                assert isinstance(error, MeshError)
                assert error.reason == "RATE_LIMITED"
                assert error.retry_after_s
            # Meanwhile all else goes on.
            assert (await person("GetMe", pb.GetMeRequest())).user_id == session.user.user_id
            assert (await client.refresh(session.refresh_token)).session_id == session.session_id
            left = [one for one in storm if one not in done]
            assert len(left) == 3
            for one in left:  # callers who leave make room for others
                one.cancel()
            await asyncio.wait(left)
            again = await asyncio.gather(client.log_in("nobody@example.test", "x"), return_exceptions=True)
            assert isinstance(again[0], MeshError)
            assert again[0].reason == "LOGIN_FAILED"

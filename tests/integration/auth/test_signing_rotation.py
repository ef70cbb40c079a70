"""One signing key follows another under load: nobody is refused, and none signs before it is known everywhere."""

from __future__ import annotations

import asyncio
from pathlib import Path

import asyncpg
import jwt
from promptmesh.auth.v1 import auth_pb2 as pb

from tests.integration.auth.world import PATIENCE_S, Client, Place, client_of, key_pem

PUBLISH_S = 1.0


async def test_a_rotation_under_load_refuses_nobody(place: Place, rows: asyncpg.Connection, tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    folder.mkdir(mode=0o700)
    _put(folder, "1.pem")
    settings = {
        "AUTH_SIGNING_KEY_FILE": str(folder),
        "SIGNING_KEY_SEEN_S": 0.1,
        "SIGNING_KEY_PUBLISH_S": PUBLISH_S,
        "ACCESS_LIFETIME_S": 30,
    }
    with place.running(WORKER="r-0", **settings) as one, place.running(WORKER="r-1", **settings) as two:
        async with client_of(one) as first, client_of(two) as second:
            session, _ = await first.somebody()
            before = _kid(session)
            tokens: dict[str, tuple[float, str]] = {}  # by key: the first token of it, and when it was issued
            calls = 0

            async def load(issuer: Client, verifier: Client) -> None:
                nonlocal calls
                while True:
                    made = await issuer.refresh(session.refresh_token)
                    issued = float(jwt.decode(made.access_token, options={"verify_signature": False})["iat"])
                    tokens.setdefault(_kid(made), (issued, made.access_token))
                    # Any refused call raises, and fails the test.
                    for token in (made.access_token, *(text for _, text in tokens.values())):
                        await verifier.bearing(token)("GetMe", pb.GetMeRequest())
                        calls += 1

            pairs = [(a, b) for a in (first, second) for b in (first, second)]
            async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as group:
                running = [group.create_task(load(*pair)) for pair in pairs]
                while before not in tokens:
                    await first("GetJwks", pb.GetJwksRequest())
                _put(folder, "2.pem")
                while len(tokens) < 2:
                    await first("GetJwks", pb.GetJwksRequest())
                reached = calls
                while calls < reached + 100:  # a while with both
                    await first("GetJwks", pb.GetJwksRequest())
                for task in running:
                    task.cancel()
            [after] = set(tokens) - {before}
            published = await rows.fetchval(
                "SELECT extract(epoch FROM create_time)::float8 FROM signing_keys WHERE kid = $1", after
            )
            assert tokens[after][0] >= published + PUBLISH_S

            # The one before is in force while its last token may run, and then goes, its file being there still.
            assert before in await _in_force(first)
            async with asyncio.timeout(PATIENCE_S):
                while True:
                    await rows.execute(
                        "UPDATE signing_keys SET seen_time = now() - interval '1 h' WHERE kid = $1", before
                    )
                    if before not in await _in_force(first):
                        break
            made = await first.refresh(session.refresh_token)
            assert _kid(made) == after
            await second.bearing(made.access_token)("GetMe", pb.GetMeRequest())
            assert after in await _in_force(second)


async def test_a_file_that_cannot_be_read_stops_nobody_from_signing(place: Place, tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    folder.mkdir(mode=0o700)
    _put(folder, "1.pem")
    settings = {"AUTH_SIGNING_KEY_FILE": str(folder), "SIGNING_KEY_SEEN_S": 0.1, "SIGNING_KEY_PUBLISH_S": 0}
    with place.running(WORKER="b-0", **settings) as process:
        async with client_of(process) as client:
            session, _ = await client.somebody()
            (folder / "2.pem").write_text("no key")
            async with asyncio.timeout(PATIENCE_S):
                while not process.logged("the signing keys cannot be read; those known stay in use"):
                    await client("GetJwks", pb.GetJwksRequest())
            assert _kid(await client.refresh(session.refresh_token)) == _kid(session)
            _put(folder, "2.pem")
            async with asyncio.timeout(PATIENCE_S):
                while _kid(await client.refresh(session.refresh_token)) == _kid(session):
                    pass


def _put(folder: Path, name: str) -> None:
    making = folder / f".{name}"
    making.write_bytes(key_pem())
    making.chmod(0o600)
    making.replace(folder / name)


def _kid(session: pb.Session) -> str:
    return str(jwt.get_unverified_header(session.access_token)["kid"])


async def _in_force(client: Client) -> set[str]:
    return {key.kid for key in (await client("GetJwks", pb.GetJwksRequest())).keys}

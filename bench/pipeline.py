"""What the pipeline adds to a unary call: `python -m bench.pipeline`.

The same handler, bare and behind the pipeline, in one process with its client, so that both ends share the core and the
difference of the two is the pipeline. CPU time, best of several rounds: what other processes do counts less.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
import uvloop
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm
from promptmesh.access.v1.access_pb2 import Role
from promptmesh.auth.v1 import auth_pb2
from promptmesh.prompts.v1 import posts_pb2, posts_pb2_grpc

from services.mesh.access.control import AccessControl
from services.mesh.access.service_tokens import ServiceTokens
from services.mesh.access.tokens import sign_access_token
from services.mesh.errors import MeshError
from services.mesh.ids import uuid7
from services.mesh.server import Server
from services.mesh.telemetry import logs

CALLS = 3000
AT_ONCE = 16
ROUNDS = 5


class _Posts(posts_pb2_grpc.PostServiceServicer):
    async def CreatePost(self, request: Any, context: Any) -> posts_pb2.Post:
        return posts_pb2.Post(post_id="1", title=request.title)

    async def GetPost(self, request: Any, context: Any) -> posts_pb2.Post:
        return posts_pb2.Post(post_id=request.post_id)


class _Source:
    def __init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())

    async def watch(self, after_version: int) -> AsyncIterator[auth_pb2.WatchIdentitiesResponse]:
        jwk = ECAlgorithm.to_jwk(self.key.public_key(), as_dict=True)
        key = auth_pb2.JsonWebKey(kty="EC", use="sig", alg="ES256", kid="1", crv="P-256", x=jwk["x"], y=jwk["y"])
        state = auth_pb2.IdentityState(jwks=auth_pb2.JsonWebKeySet(keys=[key]), grace_seconds=60)
        yield auth_pb2.WatchIdentitiesResponse(version=1, state=state)
        while True:
            await asyncio.sleep(5)
            yield auth_pb2.WatchIdentitiesResponse(version=1, heartbeat=auth_pb2.FeedHeartbeat())

    async def resolve(self, digest: bytes) -> auth_pb2.KeyIdentity:
        raise MeshError("API_KEY_NOT_FOUND", "There is no such key.")


async def _round(call: Any, request: Any, metadata: tuple[tuple[str, str], ...]) -> float:
    """CPU microseconds a call, of client and server together."""

    async def one_after_another(count: int) -> None:
        for _ in range(count):
            await call(request, metadata=metadata)

    began = time.process_time()
    await asyncio.gather(*(one_after_another(CALLS // AT_ONCE) for _ in range(AT_ONCE)))
    return (time.process_time() - began) / (CALLS // AT_ONCE * AT_ONCE) * 1e6


async def measure() -> dict[str, float]:
    """CPU microseconds a call: bare, a read, a write (with its line in the access log)."""
    source, now = _Source(), time.time()
    token = sign_access_token(
        source.key,
        "1",
        user_id=uuid7(),
        org_id=uuid7(),
        display_name="Ada",
        roles=[Role.ROLE_USER],
        session_id=uuid7(),
        issue_time=now,
        expire_time=now + 600,
    )
    metadata = (
        ("authorization", f"Bearer {token}"),
        ("x-request-id", uuid7()),
        ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"),
    )
    read = posts_pb2.GetPostRequest(post_id=uuid7())
    write = posts_pb2.CreatePostRequest(title="A title", body="A body of a prompt. " * 20, tags=["short-story"])
    bare = grpc.aio.server()
    posts: Any = _Posts()  # type: ignore[abstract]  # two methods are enough here
    posts_pb2_grpc.add_PostServiceServicer_to_server(posts, bare)
    bare_port = bare.add_insecure_port("127.0.0.1:0")
    await bare.start()

    access = AccessControl(source, ServiceTokens("bench", b"s" * 32), b"p" * 32)
    following = asyncio.create_task(access.follower.run())
    server = Server(access, ready={"identities": access.ready.wait})
    server.add(posts_pb2_grpc.add_PostServiceServicer_to_server, posts)
    port = await server.start()
    await server.ready()

    found: dict[str, float] = {}
    async with (
        grpc.aio.insecure_channel(f"127.0.0.1:{bare_port}") as to_bare,
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as to_server,
    ):
        bare_stub: Any = posts_pb2_grpc.PostServiceStub(to_bare)
        stub: Any = posts_pb2_grpc.PostServiceStub(to_server)
        calls = {
            "bare_read_us": (bare_stub.GetPost, read),
            "read_us": (stub.GetPost, read),
            "bare_write_us": (bare_stub.CreatePost, write),
            "write_us": (stub.CreatePost, write),
        }
        # In turns: what else the machine does meets all of them. The first round warms up.
        for number in range(ROUNDS + 1):
            for name, (call, request) in calls.items():
                took = await _round(call, request, metadata)
                if number:
                    found[name] = min(found.get(name, took), took)
    await bare.stop(None)
    await server.stop()
    following.cancel()
    await asyncio.wait([following])
    found["pipeline_read_us"] = found["read_us"] - found["bare_read_us"]
    found["pipeline_write_us"] = found["write_us"] - found["bare_write_us"]
    return found


def main() -> None:
    logs.configure("bench", "bench-0")
    for name, value in uvloop.run(measure()).items():
        print(f"{name:>18} {value:7.1f}")


if __name__ == "__main__":
    main()

"""What the pipeline adds to a unary call: `python -m bench.pipeline`.

`own`: CPU time of the pipeline and a handler that does nothing, without a network. `over_bare`: the same handler bare
and behind the pipeline, each called over the loopback from the same process; the difference has the trailer with the
request id in it, which both ends pay for. Best of several rounds, since other processes disturb both.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
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
from services.mesh.pipeline import Pipeline
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

    async def report_uses(self, api_key_ids: Sequence[str]) -> None:
        return


async def _round(call: Any, request: Any, metadata: tuple[tuple[str, str], ...]) -> float:
    """CPU microseconds a call, of client and server together."""

    async def one_after_another(count: int) -> None:
        for _ in range(count):
            await call(request, metadata=metadata)

    began = time.process_time()
    await asyncio.gather(*(one_after_another(CALLS // AT_ONCE) for _ in range(AT_ONCE)))
    return (time.process_time() - began) / (CALLS // AT_ONCE * AT_ONCE) * 1e6


class _Context:
    """As much of a servicer's context as a call that goes well uses."""

    def __init__(self, metadata: tuple[tuple[str, str], ...]) -> None:
        self._metadata = metadata

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return self._metadata

    def time_remaining(self) -> float:
        return 5.0

    def peer(self) -> str:
        return "ipv4:127.0.0.1:1"

    def set_trailing_metadata(self, trailers: Any) -> None:
        """Sends nothing."""


async def _own(pipeline: Pipeline, handler: Any, request: Any, answer: Any, metadata: Any) -> float:
    """CPU microseconds a call of the pipeline alone."""
    method = f"/promptmesh.prompts.v1.PostService/{handler.__name__}"
    details: Any = type("Details", (), {"method": method})

    async def bare(_details: Any) -> Any:
        parse = type(request).FromString
        return grpc.unary_unary_rpc_method_handler(handler, parse, answer.SerializeToString)

    wrapped: Any = await pipeline.intercept_service(bare, details)
    raw, context, best = request.SerializeToString(), _Context(metadata), float("inf")
    for _ in range(ROUNDS):
        began = time.process_time()
        for _ in range(CALLS):
            await wrapped.unary_unary(raw, context)
        best = min(best, (time.process_time() - began) / CALLS * 1e6)
    return best


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
    assert server.pipeline is not None
    found["own_read_us"] = await _own(server.pipeline, posts.GetPost, read, posts_pb2.Post, metadata)
    found["own_write_us"] = await _own(server.pipeline, posts.CreatePost, write, posts_pb2.Post, metadata)
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
    found["over_bare_read_us"] = found["read_us"] - found["bare_read_us"]
    found["over_bare_write_us"] = found["write_us"] - found["bare_write_us"]
    return found


def main() -> None:
    logs.configure("bench", "bench-0")
    for name, value in uvloop.run(measure()).items():
        print(f"{name:>18} {value:7.1f}")


if __name__ == "__main__":
    main()

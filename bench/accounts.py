"""What accounts cost: `python -m bench.accounts`.

Log-ins and refreshes are asked of a real auth process, straight, and told as operations a second of one core: the
process's CPU time an operation, all threads, so that whatever else the machine does (PostgreSQL, the caller) does not
count. The check of a key or token that is known is measured in this process, in CPU time: the kit's own access control
with the identities of a feed. A revocation is timed from its answer until the first service, and the last of all four,
refuses the key.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import grpc
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm
from promptmesh.access.v1.access_pb2 import Audience, Role
from promptmesh.auth.v1 import auth_pb2
from promptmesh.auth.v1.auth_pb2_grpc import AuthServiceStub
from promptmesh.inference.v1 import inference_pb2
from promptmesh.inference.v1.inference_pb2_grpc import InferenceServiceStub
from promptmesh.moderation.v1 import moderation_pb2
from promptmesh.moderation.v1.moderation_pb2_grpc import ModerationServiceStub
from promptmesh.prompts.v1 import posts_pb2
from promptmesh.prompts.v1.posts_pb2_grpc import PostServiceStub

from bench.auth_mesh import Auth, auth_mesh, auth_of, channel_to
from bench.harness import percentile, row
from services.local.testing import LocalMesh
from services.mesh.access import keys
from services.mesh.access.control import AccessControl
from services.mesh.access.policies import Policy
from services.mesh.access.service_tokens import ServiceTokens
from services.mesh.access.tokens import sign_access_token
from services.mesh.ids import uuid7

LOGINS, LOGINS_AT_ONCE = 120, 4
REFRESHES, REFRESHERS = 3000, 16
CHECKS, ROUNDS = 20_000, 5
REVOCATIONS = 30
SCOPES = ["posts:read", "moderation:screen", "inference:invoke"]
PEPPER = b"p" * 32
POLL_S = 0.002


async def _logins(auth: Auth) -> int:
    async def some() -> None:
        for _ in range(LOGINS // LOGINS_AT_ONCE):
            await auth.log_in("ada@example.com")

    await asyncio.gather(*(some() for _ in range(LOGINS_AT_ONCE)))
    return LOGINS


async def _refreshes(auth: Auth, tokens: list[str], each: int) -> int:
    async def chain(at: int) -> None:
        for _ in range(each):
            request = auth_pb2.RefreshSessionRequest(refresh_token=tokens[at])
            tokens[at] = (await auth("RefreshSession", request)).refresh_token

    await asyncio.gather(*(chain(at) for at in range(len(tokens))))
    return each * len(tokens)


class _Source:
    """A feed with a key to verify tokens with, and one API key."""

    def __init__(self, secret: str) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self._identity = auth_pb2.KeyIdentity(
            api_key_id=uuid7(),
            digest=keys.digest(PEPPER, secret),
            org_id=uuid7(),
            user_id=uuid7(),
            display_name="Ada",
            roles=[Role.ROLE_USER],
            scopes=SCOPES,
        )

    async def watch(self, after_version: int) -> AsyncIterator[auth_pb2.WatchIdentitiesResponse]:
        jwk = ECAlgorithm.to_jwk(self.key.public_key(), as_dict=True)
        key = auth_pb2.JsonWebKey(kty="EC", use="sig", alg="ES256", kid="1", crv="P-256", x=jwk["x"], y=jwk["y"])
        state = auth_pb2.IdentityState(jwks=auth_pb2.JsonWebKeySet(keys=[key]), grace_seconds=600)
        yield auth_pb2.WatchIdentitiesResponse(version=1, state=state)
        await asyncio.Event().wait()

    async def resolve(self, digest: bytes) -> auth_pb2.KeyIdentity:
        return self._identity

    async def report_uses(self, api_key_ids: Any) -> None:
        return


async def _checks() -> Mapping[str, float]:
    """CPU microseconds of a check whose caller is known: the best round of each."""
    secret, now = keys.new_secret(), time.time()
    source = _Source(secret)
    access = AccessControl(source, ServiceTokens("bench", b"s" * 32), PEPPER)
    following = asyncio.create_task(access.follower.run())
    await access.ready.wait()
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
    policy = Policy(Audience.AUDIENCE_CALLER, frozenset({"posts:read"}))
    found: dict[str, float] = {}
    for _ in range(ROUNDS):
        for name, credential in (("API key", secret), ("access token", token)):
            metadata = {"authorization": f"Bearer {credential}", "user-agent": "bench", "x-request-id": "1"}
            await access.authorize(policy, metadata)
            began_s = time.process_time()
            for _ in range(CHECKS):
                await access.authorize(policy, metadata)
            took_us = (time.process_time() - began_s) / CHECKS * 1e6
            found[name] = min(found.get(name, took_us), took_us)
    following.cancel()
    await asyncio.wait([following])
    await access.close()
    return found


def _ways(channels: Mapping[str, grpc.aio.Channel]) -> Mapping[str, Callable[[Any], Awaitable[Any]]]:
    """A method of each service that a key may call."""
    stubs: dict[str, Any] = {
        "auth": AuthServiceStub(channels["auth"]),
        "prompts": PostServiceStub(channels["prompts"]),
        "moderation": ModerationServiceStub(channels["moderation"]),
        "inference": InferenceServiceStub(channels["inference"]),
    }
    screened = moderation_pb2.ScreenRequest(text="Write about a lighthouse.")
    return {
        "auth": lambda who: stubs["auth"].GetMe(auth_pb2.GetMeRequest(), metadata=who),
        "prompts": lambda who: stubs["prompts"].ListPosts(posts_pb2.ListPostsRequest(page_size=1), metadata=who),
        "moderation": lambda who: stubs["moderation"].Screen(screened, metadata=who),
        "inference": lambda who: stubs["inference"].ListModels(inference_pb2.ListModelsRequest(), metadata=who),
    }


async def _revocations(mesh: LocalMesh, auth: Auth, session: auth_pb2.Session) -> Mapping[str, list[float]]:
    """Seconds until a service refuses a revoked key, by service, and until all do."""
    took_s: dict[str, list[float]] = {}
    async with contextlib.AsyncExitStack() as stack:
        channels = {
            name: await stack.enter_async_context(channel_to(mesh, name))
            for name in ("auth", "prompts", "moderation", "inference")
        }
        ways = _ways(channels)
        for _ in range(REVOCATIONS):
            request = auth_pb2.CreateApiKeyRequest(display_name="bench", scopes=SCOPES)
            made = await auth("CreateApiKey", request, session.access_token)
            who = (("authorization", f"Bearer {made.secret}"),)
            for way in ways.values():
                await way(who)
            await auth(
                "RevokeApiKey", auth_pb2.RevokeApiKeyRequest(api_key_id=made.api_key.api_key_id), session.access_token
            )
            began_s = time.perf_counter()
            ended = await asyncio.gather(*(_refused(way, who) for way in ways.values()))
            for name, end_s in zip(ways, ended, strict=True):
                took_s.setdefault(name, []).append(end_s - began_s)
            took_s.setdefault("all four services", []).append(max(ended) - began_s)
    return took_s


async def _refused(way: Callable[[Any], Awaitable[Any]], who: Any) -> float:
    while True:
        try:
            await way(who)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.UNAUTHENTICATED:
                raise
            return time.perf_counter()
        await asyncio.sleep(POLL_S)


async def _measure(mesh: LocalMesh) -> None:
    auth = auth_of(mesh)
    try:
        await auth.register("ada@example.com")
        session = await auth.log_in("ada@example.com")
        cpu_s, rate = await auth.cost(lambda: _logins(auth))
        row(
            "log-ins of a core",
            f"{1 / cpu_s:.0f}/s",
            f"{cpu_s * 1e3:.1f} ms of CPU each; {rate:.0f}/s here; wanted 20/s",
        )
        tokens = [(await auth.log_in("ada@example.com")).refresh_token for _ in range(REFRESHERS)]
        await _refreshes(auth, tokens, 20)
        cpu_s, rate = await auth.cost(lambda: _refreshes(auth, tokens, REFRESHES // REFRESHERS))
        row("refreshes of a core", f"{1 / cpu_s:.0f}/s", f"{cpu_s * 1e3:.2f} ms each; {rate:.0f}/s here; wanted 500/s")
        for name, took_s in (await _revocations(mesh, auth, session)).items():
            note = f"worst of {REVOCATIONS}: {max(took_s) * 1e3:.0f} ms" + ("; wanted 1000 ms" if "all" in name else "")
            median_ms = statistics.median(took_s) * 1e3
            row(f"a revoked key refused by {name}, p50", f"{median_ms:.0f} ms", note)
            row("  p95", f"{percentile(took_s, 0.95) * 1e3:.0f} ms")
    finally:
        await auth.channel.close(None)


def main(arguments: list[str] | None = None) -> None:
    argparse.ArgumentParser(prog="python -m bench.accounts", description=__doc__).parse_args(arguments)
    for name, took_us in asyncio.run(_checks()).items():
        row(f"check of a known {name}", f"{took_us:.1f} us", "wanted 30 us")
    # Each refresh does all of its work, however soon it follows the last.
    with auth_mesh({"PROMPTMESH_REFRESH_REUSE_S": "0"}) as mesh:
        asyncio.run(_measure(mesh))


if __name__ == "__main__":
    main()

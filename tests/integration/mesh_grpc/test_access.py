"""Who gets through: tokens, keys, mesh tokens; what auth says is heard; what happens while auth is away."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Callable
from typing import Any

import grpc
import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from promptmesh.access.v1.access_pb2 import Audience, Role
from promptmesh.prompts.v1 import posts_pb2

from services.mesh.access import keys, service_tokens
from services.mesh.access.policies import Policy
from services.mesh.access.service_tokens import ServiceTokens
from services.mesh.access.tokens import sign_access_token
from services.mesh.call import Caller, CallerKind
from services.mesh.errors import MeshError, error_of
from services.mesh.ids import uuid7

WAIT_S = 10.0
SECRET = b"s" * 32


async def reason(call: Any) -> str:
    """The reason that the call is refused for; "" if it is not."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error_of(error).reason
    return ""


async def refusal(call: Any) -> MeshError:
    """The error that the call ends with."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return error_of(caught.value)


def get(service: Any, metadata: tuple[tuple[str, str], ...] = ()) -> Any:
    """A call that anyone may make."""
    return service.stub.GetPost(posts_pb2.GetPostRequest(post_id=uuid7()), metadata=metadata)


def create(service: Any, metadata: tuple[tuple[str, str], ...] = ()) -> Any:
    """A call that needs a caller with posts:write."""
    request = posts_pb2.CreatePostRequest(title="A title", body="A body", request_id=uuid7())
    return service.stub.CreatePost(request, metadata=metadata)


def claims(**changes: Any) -> dict[str, Any]:
    now = time.time()
    return {
        "iss": "promptmesh",
        "aud": "promptmesh",
        "sub": uuid7(),
        "org": uuid7(),
        "sid": uuid7(),
        "name": "Ada",
        "roles": [1],
        "iat": now,
        "exp": now + 600,
    } | changes


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def unsigned(auth: Any) -> str:
    header = {"alg": "none", "typ": "at+jwt", "kid": auth.kid}
    return f"{b64(json.dumps(header).encode())}.{b64(json.dumps(claims()).encode())}."


def signed_with_public_key(auth: Any) -> str:
    """The classic confusion: the public key, which everyone has, as the secret of an HMAC."""
    public = auth.key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    header = b64(json.dumps({"alg": "HS256", "typ": "at+jwt", "kid": auth.kid}).encode())
    body = b64(json.dumps(claims()).encode())
    signature = jwt.get_algorithm_by_name("HS256").sign(f"{header}.{body}".encode(), public)
    return f"{header}.{body}.{b64(signature)}"


def signed(auth: Any, *, key: Any = None, headers: dict[str, Any] | None = None, **changes: Any) -> str:
    headers = {"kid": auth.kid, "typ": "at+jwt"} if headers is None else headers
    return jwt.encode(claims(**changes), key or auth.key, algorithm="ES256", headers=headers)


def without(auth: Any, claim: str) -> str:
    kept = {name: value for name, value in claims().items() if name != claim}
    return jwt.encode(kept, auth.key, algorithm="ES256", headers={"kid": auth.kid, "typ": "at+jwt"})


BAD_TOKENS: dict[str, tuple[str, Callable[[Any], str]]] = {
    "expired": ("CREDENTIAL_EXPIRED", lambda auth: auth.token(age_s=3600)),
    "forged": ("CREDENTIAL_INVALID", lambda auth: signed(auth, key=ec.generate_private_key(ec.SECP256R1()))),
    "alg none": ("CREDENTIAL_INVALID", unsigned),
    "HS256 with the public key": ("CREDENTIAL_INVALID", signed_with_public_key),
    "wrong audience": ("CREDENTIAL_INVALID", lambda auth: signed(auth, aud="somebody-else")),
    "one of two audiences": ("CREDENTIAL_INVALID", lambda auth: signed(auth, aud=["promptmesh", "else"])),
    "wrong issuer": ("CREDENTIAL_INVALID", lambda auth: signed(auth, iss="somebody-else")),
    "wrong type": ("CREDENTIAL_INVALID", lambda auth: signed(auth, headers={"kid": auth.kid, "typ": "JWT"})),
    "mesh type": ("CREDENTIAL_INVALID", lambda auth: signed(auth, headers={"kid": auth.kid, "typ": "mesh+jwt"})),
    "no kid": ("CREDENTIAL_INVALID", lambda auth: signed(auth, headers={"typ": "at+jwt"})),
    "unknown kid": ("CREDENTIAL_INVALID", lambda auth: signed(auth, headers={"kid": "x", "typ": "at+jwt"})),
    "not yet": ("CREDENTIAL_INVALID", lambda auth: signed(auth, iat=time.time() + 600)),
    "no exp": ("CREDENTIAL_INVALID", lambda auth: without(auth, "exp")),
    "no session": ("CREDENTIAL_INVALID", lambda auth: without(auth, "sid")),
    "for a day": ("CREDENTIAL_INVALID", lambda auth: signed(auth, exp=time.time() + 86_400)),
    "no person": ("CREDENTIAL_INVALID", lambda auth: without(auth, "sub")),
    "roles as text": ("CREDENTIAL_INVALID", lambda auth: signed(auth, roles=["admin"])),
    "damaged": ("CREDENTIAL_INVALID", lambda auth: auth.token()[:-2]),
    "nonsense": ("CREDENTIAL_INVALID", lambda auth: "nonsense"),
    "very long": ("CREDENTIAL_INVALID", lambda auth: "x" * 8000),
}


@pytest.mark.parametrize("case", BAD_TOKENS)
async def test_bad_tokens(service: Any, bearer: Any, case: str) -> None:
    expected, make = BAD_TOKENS[case]
    assert await reason(create(service, bearer(make(service.auth)))) == expected
    # A credential that is sent must be valid, even where none is needed.
    assert await reason(get(service, bearer(make(service.auth)))) == expected
    assert not service.posts.calls


async def test_a_good_token(service: Any, bearer: Any) -> None:
    user_id = uuid7()
    await create(service, bearer(service.auth.token(user_id=user_id, roles=(Role.ROLE_USER, Role.ROLE_ADMIN))))
    caller = service.posts.calls[0].caller
    assert (caller.kind, caller.user_id, caller.display_name) == (CallerKind.SESSION, user_id, "Ada")
    assert caller.is_(Role.ROLE_ADMIN)
    assert not caller.is_(Role.ROLE_MODERATOR)


async def test_no_credential(service: Any) -> None:
    assert await reason(create(service)) == "CREDENTIAL_MISSING"
    assert await reason(get(service)) == ""
    assert service.posts.calls[0].caller.anonymous


@pytest.mark.parametrize("value", ["Basic dXNlcjpwYXNz", "Bearer", "Bearer ", "token"])
async def test_other_authorizations(service: Any, value: str) -> None:
    assert await reason(get(service, (("authorization", value),))) == "CREDENTIAL_INVALID"


async def test_two_credentials(service: Any, bearer: Any) -> None:
    both = (*bearer(service.auth.token()), ("x-api-key", service.auth.api_key()))
    assert await reason(get(service, both)) == "CREDENTIAL_INVALID"


async def test_an_api_key_carries_its_own_scopes(service: Any, bearer: Any) -> None:
    reads, writes = service.auth.api_key(), service.auth.api_key(("posts:read", "posts:write"))
    assert await reason(get(service, bearer(reads))) == ""
    assert await reason(create(service, bearer(reads))) == "SCOPE_MISSING"
    assert await reason(create(service, (("x-api-key", writes),))) == ""
    assert service.posts.calls[-1].caller.kind is CallerKind.API_KEY


async def test_a_key_is_asked_for_once(service: Any, bearer: Any) -> None:
    secret = service.auth.api_key()
    answers = await asyncio.gather(*(reason(get(service, bearer(secret))) for _ in range(20)))
    assert answers == [""] * 20
    assert service.auth.resolved == 1


async def test_while_auth_hangs_an_unknown_key_waits_a_moment_and_a_known_one_not_at_all(
    service: Any, bearer: Any
) -> None:
    known, unknown = service.auth.api_key(), service.auth.api_key()
    assert await reason(get(service, bearer(known))) == ""
    service.access._resolve_timeout_s = 0.2
    service.auth.answering.clear()
    waiting = asyncio.create_task(refusal(get(service, bearer(unknown))))
    async with asyncio.timeout(WAIT_S):
        while service.auth.resolved < 2:
            await asyncio.sleep(0.005)
    assert await reason(get(service, bearer(known))) == ""
    refused = await waiting
    assert (refused.reason, refused.code) == ("CREDENTIAL_UNVERIFIABLE", grpc.StatusCode.UNAVAILABLE)
    assert refused.retry_after_s
    # For a moment it is not even asked for again.
    assert await reason(get(service, bearer(unknown))) == "CREDENTIAL_UNVERIFIABLE"
    assert service.auth.resolved == 2
    # What was asked is still heard of, though nobody waited for it.
    service.auth.answering.set()
    async with asyncio.timeout(WAIT_S):
        while await reason(get(service, bearer(unknown))):
            await asyncio.sleep(0.01)


async def test_unknown_keys(service: Any, bearer: Any) -> None:
    unknown = keys.new_secret()
    assert await reason(get(service, bearer(unknown))) == "CREDENTIAL_INVALID"
    assert await reason(get(service, bearer(unknown))) == "CREDENTIAL_INVALID"
    assert service.auth.resolved == 1  # that it is unknown is remembered for a while
    typo = ("A" if unknown[-1] != "A" else "B").join((unknown[:-1], ""))
    assert await reason(get(service, bearer(typo))) == "CREDENTIAL_INVALID"
    assert service.auth.resolved == 1  # a typo shows by itself


async def test_a_revoked_key(service: Any, bearer: Any) -> None:
    secret = service.auth.api_key()
    assert await reason(get(service, bearer(secret))) == ""
    service.auth.revoke(secret)
    await service.heard()
    assert await reason(get(service, bearer(secret))) == "CREDENTIAL_REVOKED"


async def test_a_token_known_to_be_good_does_not_outlive_the_key_that_signed_it(service: Any, bearer: Any) -> None:
    token = service.auth.token()
    assert await reason(get(service, bearer(token))) == ""
    service.auth.kid = "key-2"
    service.auth.version += 5  # a gap brings the whole state, with the key set
    service.auth.end_session(uuid7())
    await service.heard()
    assert await reason(get(service, bearer(token))) == "CREDENTIAL_INVALID"
    assert await reason(get(service, bearer(service.auth.token()))) == ""


async def caller_of(service: Any, secret: str) -> Caller:
    return await service.access.authorize(Policy(Audience.AUDIENCE_PUBLIC), {"x-api-key": secret})


@pytest.mark.parametrize("how", ["key", "session"])
async def test_an_end_before_anyone_listened_is_told_at_once(service: Any, how: str) -> None:
    if how == "key":
        secret = service.auth.api_key()
        caller = await caller_of(service, secret)
        service.auth.revoke(secret)
    else:
        session_id = uuid7()
        caller = await service.access.caller_of(service.auth.token(session_id=session_id))
        service.auth.end_session(session_id)
    await service.heard()
    assert (await asyncio.wait_for(service.access.ended(caller), WAIT_S)).reason == "CREDENTIAL_REVOKED"
    assert not service.access.identities._ends


@pytest.mark.parametrize("how", ["revoked", "gone", "good"])
async def test_after_a_gap_the_keys_behind_streams_are_asked_about_again(service: Any, how: str) -> None:
    secret = service.auth.api_key()
    caller = await caller_of(service, secret)
    ended = asyncio.create_task(service.access.ended(caller))
    await asyncio.sleep(0)
    if how == "revoked":
        service.auth.api_keys[caller.key_digest].revoked = True  # nobody is told
    elif how == "gone":
        del service.auth.api_keys[caller.key_digest]
    service.auth.version += 5
    service.auth.end_session(uuid7())
    await service.heard()
    if how == "good":
        async with asyncio.timeout(WAIT_S):
            while service.access.identities.stale(caller):
                await asyncio.sleep(0.005)
        assert not ended.done()
        ended.cancel()
        await asyncio.wait([ended])
    else:
        assert (await asyncio.wait_for(ended, WAIT_S)).reason == "CREDENTIAL_REVOKED"
    assert service.auth.resolved == 2


async def test_an_ended_session(service: Any, bearer: Any) -> None:
    session_id = uuid7()
    token = service.auth.token(session_id=session_id)
    assert await reason(get(service, bearer(token))) == ""
    service.auth.end_session(session_id)
    await service.heard()
    assert await reason(get(service, bearer(token))) == "CREDENTIAL_REVOKED"


async def test_changed_roles_hold_for_older_tokens_and_keys(service: Any, bearer: Any) -> None:
    user_id = uuid7()
    old = service.auth.token(user_id=user_id, roles=(Role.ROLE_USER, Role.ROLE_ADMIN), age_s=10)
    await get(service, bearer(old))
    assert service.posts.calls[-1].caller.is_(Role.ROLE_ADMIN)
    service.auth.set_roles(user_id, (Role.ROLE_USER,))
    await service.heard()
    await get(service, bearer(old))
    assert not service.posts.calls[-1].caller.is_(Role.ROLE_ADMIN)


async def test_mesh_tokens(service: Any, bearer: Any) -> None:
    mine = ServiceTokens("moderation", SECRET)
    # PostService names no services: its own methods are for people; public ones are for all.
    assert await reason(create(service, bearer(mine.token()))) == "AUDIENCE_MISMATCH"
    assert await reason(get(service, bearer(mine.token()))) == ""
    assert service.posts.calls[-1].caller.service == "moderation"
    other = ServiceTokens("moderation", b"o" * 32)
    assert await reason(get(service, bearer(other.token()))) == "CREDENTIAL_INVALID"


async def test_a_person_cannot_call_what_is_for_services(service: Any, bearer: Any) -> None:
    channel = grpc.aio.insecure_channel(f"127.0.0.1:{service.auth_port}")
    method = channel.unary_unary("/promptmesh.auth.v1.AuthService/ResolveApiKey")
    assert await reason(method(b"", metadata=bearer(service.auth.token()))) == "AUDIENCE_MISMATCH"
    assert await reason(method(b"")) == "CREDENTIAL_MISSING"
    await channel.close()


async def test_an_access_token_cannot_be_made_with_the_mesh_secret(service: Any, bearer: Any) -> None:
    for typ in ("at+jwt", service_tokens.TYPE):
        token = jwt.encode(claims(), SECRET, algorithm="HS256", headers={"typ": typ, "kid": service.auth.kid})
        assert await reason(get(service, bearer(token))) == "CREDENTIAL_INVALID"


async def test_while_auth_is_away(service: Any, bearer: Any) -> None:
    known, token = service.auth.api_key(), service.auth.token()
    unknown = service.auth.api_key()
    assert await reason(get(service, bearer(known))) == ""
    await service.stop_auth()
    assert await reason(get(service, bearer(known))) == ""
    assert await reason(get(service, bearer(token))) == ""
    assert await reason(get(service, bearer(unknown))) == "CREDENTIAL_UNVERIFIABLE"
    # A token of a key that we have not heard of may be right: auth may have made the key since.
    rotated = ec.generate_private_key(ec.SECP256R1())
    new = signed(service.auth, key=rotated, headers={"kid": "key-2", "typ": "at+jwt"})
    assert await reason(get(service, bearer(new))) == "CREDENTIAL_UNVERIFIABLE"
    service.access.identities.grace_s = 0.0
    assert await reason(get(service, bearer(known))) == "CREDENTIAL_UNVERIFIABLE"
    assert await reason(get(service, bearer(token))) == "CREDENTIAL_UNVERIFIABLE"


async def test_what_auth_said_meanwhile_is_heard_when_it_is_back(service: Any, bearer: Any) -> None:
    secret = service.auth.api_key()
    session_id = uuid7()
    token = service.auth.token(session_id=session_id)
    assert await reason(get(service, bearer(secret))) == ""
    await service.stop_auth()
    service.auth.revoke(secret)
    service.auth.end_session(session_id)
    await service.start_auth()
    await service.heard()
    assert await reason(get(service, bearer(token))) == "CREDENTIAL_REVOKED"
    assert await reason(get(service, bearer(secret))) == "CREDENTIAL_REVOKED"


async def test_a_gap_in_the_feed_brings_the_whole_state(service: Any) -> None:
    service.auth.version += 5  # versions that never came
    service.auth.end_session("lost-and-found")
    await service.heard()
    assert service.auth.watches[-1] == 0
    assert service.access.identities.session_ended("lost-and-found")


async def test_nobody_is_turned_away_before_auth_was_heard(service: Any, bearer: Any) -> None:
    service.access.follower._heard = None
    assert await reason(get(service, bearer(service.auth.token()))) == "CREDENTIAL_UNVERIFIABLE"


def test_tokens_do_not_outlive_their_signature_check() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    token = sign_access_token(
        key,
        "k",
        user_id="u",
        org_id="o",
        display_name="",
        roles=[1],
        session_id="s",
        issue_time=1.0,
        expire_time=2.0,
    )
    assert jwt.get_unverified_header(token) == {"alg": "ES256", "kid": "k", "typ": "at+jwt"}

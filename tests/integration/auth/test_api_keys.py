"""CreateApiKey, ListApiKeys, RevokeApiKey, ResolveApiKey over a real database."""

from __future__ import annotations

import asyncio
import base64
import uuid

import asyncpg
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from promptmesh.access.v1.access_pb2 import Role
from promptmesh.auth.v1 import auth_pb2 as pb

from services.mesh.access import keys
from services.mesh.errors import MeshError
from tests.integration.auth.world import Client, Place, client_of, reason_of, refusal_of, until_refused

FAR = Timestamp(seconds=253_402_300_799)  # the last second of the year 9999


async def make_key(person: Client, name: str = "key", **more: object) -> pb.CreateApiKeyResponse:
    made: pb.CreateApiKeyResponse = await person("CreateApiKey", pb.CreateApiKeyRequest(display_name=name, **more))
    return made


def digest_of(place: Place, secret: str) -> bytes:
    return keys.digest(base64.urlsafe_b64decode(place.secrets.key_pepper), secret)


async def test_the_life_of_a_key(client: Client, peer: Client, place: Place) -> None:
    session, person = await client.somebody()
    made = await make_key(person)
    key = made.api_key
    assert key.org_id == session.user.org_id
    assert made.secret.startswith(key.prefix)
    assert list(key.scopes) == ["posts:read", "posts:write", "inference:invoke"]
    assert not key.HasField("expire_time")
    keyed = client.bearing(made.secret)
    assert await keyed("GetMe", pb.GetMeRequest()) == session.user
    identity = await peer("ResolveApiKey", pb.ResolveApiKeyRequest(digest=digest_of(place, made.secret)))
    assert identity.user_id == session.user.user_id
    assert identity.display_name == "Ada"
    assert list(identity.roles) == [Role.ROLE_USER]
    assert not identity.revoked

    revoked = await person("RevokeApiKey", pb.RevokeApiKeyRequest(api_key_id=key.api_key_id))
    assert revoked.HasField("revoke_time")
    assert await person("RevokeApiKey", pb.RevokeApiKeyRequest(api_key_id=key.api_key_id.upper())) == revoked
    await until_refused(keyed)
    identity = await peer("ResolveApiKey", pb.ResolveApiKeyRequest(digest=digest_of(place, made.secret)))
    assert identity.revoked
    listed = await person("ListApiKeys", pb.ListApiKeysRequest())
    assert list(listed.api_keys) == [revoked]


async def test_an_unknown_digest_is_said_to_be_unknown(peer: Client) -> None:
    assert await reason_of(peer("ResolveApiKey", pb.ResolveApiKeyRequest(digest=bytes(32)))) == "API_KEY_NOT_FOUND"


@pytest.mark.parametrize("size", [0, 31, 33])
async def test_a_digest_has_32_bytes(peer: Client, size: int) -> None:
    assert await reason_of(peer("ResolveApiKey", pb.ResolveApiKeyRequest(digest=bytes(size)))) == "INVALID_FIELD"


async def test_an_api_key_makes_no_api_keys(client: Client) -> None:
    _, person = await client.somebody()
    keyed = client.bearing((await make_key(person)).secret)
    assert await reason_of(make_key(keyed)) == "AUDIENCE_MISMATCH"


async def test_a_key_that_expires(client: Client, rows: asyncpg.Connection) -> None:
    _, person = await client.somebody()
    soon = Timestamp()
    soon.GetCurrentTime()
    assert await reason_of(make_key(person, expire_time=soon)) == "INVALID_FIELD"
    made = await make_key(person, expire_time=FAR)
    assert made.api_key.expire_time == FAR
    assert await client.bearing(made.secret)("GetMe", pb.GetMeRequest())


@pytest.mark.parametrize("moment", [Timestamp(seconds=2**62), Timestamp(seconds=2**40), Timestamp(nanos=-1)])
async def test_a_moment_that_is_none(client: Client, moment: Timestamp) -> None:
    _, person = await client.somebody()
    assert await reason_of(make_key(person, expire_time=moment)) == "INVALID_FIELD"


@pytest.mark.parametrize(
    ("name", "good"),
    [("n", True), ("é" * 64, True), ("é" * 65, False), ("", False), (" \t", False), ("a\nb", False), ("a\0b", False)],
)
async def test_limits_of_a_keys_name(client: Client, name: str, good: bool) -> None:
    _, person = await client.somebody()
    if good:
        assert (await make_key(person, name)).api_key.display_name == name
    else:
        assert {one.field for one in (await refusal_of(make_key(person, name))).violations} == {"display_name"}


async def test_scopes(client: Client) -> None:
    _, person = await client.somebody()
    made = await make_key(person, scopes=["moderation:screen"])
    assert list(made.api_key.scopes) == ["moderation:screen"]
    for wrong in (["everything"], ["posts:read", "posts:read"], ["posts:read"] * 17, [""]):
        assert await reason_of(make_key(person, scopes=wrong)) == "INVALID_FIELD"


async def test_as_many_keys_as_allowed(place: Place) -> None:
    with place.running(API_KEYS_MAX=3) as service:
        async with client_of(service) as client:
            _, person = await client.somebody()
            results = await asyncio.gather(*(make_key(person) for _ in range(6)), return_exceptions=True)
            made = [one for one in results if isinstance(one, pb.CreateApiKeyResponse)]
            refused = [one for one in results if isinstance(one, MeshError)]
            assert len(made) == 3
            assert {one.reason for one in refused} == {"API_KEY_LIMIT"}
            assert refused[0].quota
            await person("RevokeApiKey", pb.RevokeApiKeyRequest(api_key_id=made[0].api_key.api_key_id))
            await make_key(person)
            assert await reason_of(make_key(person)) == "API_KEY_LIMIT"


async def test_the_same_request_id_makes_one_key(client: Client) -> None:
    _, person = await client.somebody()
    request_id = str(uuid.uuid4())
    made = await make_key(person, request_id=request_id)
    for again in (request_id, request_id.upper()):
        refused = await refusal_of(make_key(person, request_id=again))
        assert refused.reason == "REQUEST_ID_REUSED"
        assert refused.metadata["api_key_id"] == made.api_key.api_key_id
        assert "shown once" in refused.message
    refused = await refusal_of(make_key(person, "another body", request_id=request_id))
    assert refused.reason == "REQUEST_ID_REUSED"
    assert "another body" in refused.message
    assert len((await person("ListApiKeys", pb.ListApiKeysRequest())).api_keys) == 1
    _, other = await client.somebody()
    assert await make_key(other, request_id=request_id)


async def test_of_many_with_one_request_id_one_makes_the_key(client: Client) -> None:
    _, person = await client.somebody()
    request_id = str(uuid.uuid4())
    results = await asyncio.gather(*(make_key(person, request_id=request_id) for _ in range(6)), return_exceptions=True)
    assert sum(isinstance(one, pb.CreateApiKeyResponse) for one in results) == 1
    assert {one.reason for one in results if isinstance(one, MeshError)} == {"REQUEST_ID_REUSED"}


async def test_a_request_id_is_a_uuid(client: Client) -> None:
    _, person = await client.somebody()
    assert await reason_of(make_key(person, request_id="x")) == "INVALID_FIELD"


async def test_keys_are_listed_newest_first_page_by_page(client: Client) -> None:
    _, person = await client.somebody()
    made = [(await make_key(person, f"key {number}")).api_key for number in range(5)]
    pages, token = [], ""
    while True:
        page = await person("ListApiKeys", pb.ListApiKeysRequest(page_size=2, page_token=token))
        pages.append(list(page.api_keys))
        token = page.next_page_token
        if not token:
            break
    assert pages == [[made[4], made[3]], [made[2], made[1]], [made[0]]]
    whole = await person("ListApiKeys", pb.ListApiKeysRequest(page_size=100))
    assert list(whole.api_keys) == made[::-1]
    assert not whole.next_page_token


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (pb.ListApiKeysRequest(page_size=-1), "INVALID_FIELD"),
        (pb.ListApiKeysRequest(page_size=101), "INVALID_FIELD"),
        (pb.ListApiKeysRequest(page_token="x" * 513), "INVALID_FIELD"),
        (pb.ListApiKeysRequest(page_token="x" * 512), "PAGE_TOKEN_INVALID"),
        (pb.ListApiKeysRequest(page_token="?"), "PAGE_TOKEN_INVALID"),
    ],
    ids=["-1", "101", "long", "longest", "no base64"],
)
async def test_limits_of_listing(client: Client, request_: pb.ListApiKeysRequest, reason: str) -> None:
    _, person = await client.somebody()
    assert await reason_of(person("ListApiKeys", request_)) == reason


async def test_a_page_token_is_its_owners(client: Client) -> None:
    _, person = await client.somebody()
    for _ in range(2):
        await make_key(person)
    token = (await person("ListApiKeys", pb.ListApiKeysRequest(page_size=1))).next_page_token
    _, other = await client.somebody()
    assert await reason_of(other("ListApiKeys", pb.ListApiKeysRequest(page_token=token))) == "PAGE_TOKEN_INVALID"


async def test_anothers_key_is_not_to_be_found(client: Client) -> None:
    _, person = await client.somebody()
    made = await make_key(person)
    _, other = await client.somebody()
    request = pb.RevokeApiKeyRequest(api_key_id=made.api_key.api_key_id)
    assert await reason_of(other("RevokeApiKey", request)) == "API_KEY_NOT_FOUND"
    assert list((await other("ListApiKeys", pb.ListApiKeysRequest())).api_keys) == []
    assert await client.bearing(made.secret)("GetMe", pb.GetMeRequest())


@pytest.mark.parametrize("key_id", ["", "x", "0190b5d0-0000-7000-8000-00000000000"])
async def test_a_keys_id_is_a_uuid(client: Client, key_id: str) -> None:
    _, person = await client.somebody()
    assert await reason_of(person("RevokeApiKey", pb.RevokeApiKeyRequest(api_key_id=key_id))) == "INVALID_FIELD"

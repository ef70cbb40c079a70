"""RotateApiKey, keys of service accounts, restrictions and the last use, over a real database."""

from __future__ import annotations

import asyncio
import base64
import uuid
from collections.abc import AsyncIterator

import asyncpg
import pytest
from promptmesh.access.v1.access_pb2 import Role
from promptmesh.auth.v1 import auth_pb2 as pb

from services.mesh.access import keys
from services.mesh.errors import MeshError
from tests.integration.auth.teams import ADMIN, MEMBER, Teams, teams_of
from tests.integration.auth.world import Client, Place, client_of, reason_of, refusal_of, until_refused
from tests.integration.support.service_process import ServiceProcess


@pytest.fixture
async def teams(service: ServiceProcess, client: Client, rows: asyncpg.Connection) -> AsyncIterator[Teams]:
    async with teams_of(service, client, rows) as teams:
        yield teams


async def make(person: Client, **fields: object) -> pb.CreateApiKeyResponse:
    made: pb.CreateApiKeyResponse = await person("CreateApiKey", pb.CreateApiKeyRequest(display_name="key", **fields))
    return made


async def rotate(person: Client, key_id: str, overlap_s: int) -> pb.CreateApiKeyResponse:
    request = pb.RotateApiKeyRequest(api_key_id=key_id, overlap_seconds=overlap_s)
    answer: pb.CreateApiKeyResponse = await person("RotateApiKey", request)
    return answer


async def works(client: Client, secret: str) -> bool:
    return bool(await client.bearing(secret)("GetMe", pb.GetMeRequest()))


async def test_two_secrets_live_and_a_third_ends_the_oldest(client: Client) -> None:
    _, person = await client.somebody()
    first = await make(person)
    key_id = first.api_key.api_key_id
    assert await works(client, first.secret)

    second = await rotate(person, key_id, 3600)
    assert second.api_key.api_key_id == key_id
    assert second.secret.startswith(second.api_key.prefix)
    assert second.api_key.HasField("previous_expire_time")
    assert await works(client, first.secret)
    assert await works(client, second.secret)

    third = await rotate(person, key_id, 3600)
    await until_refused(client.bearing(first.secret))
    assert await works(client, second.secret)
    assert await works(client, third.secret)

    fourth = await rotate(person, key_id, 0)
    assert not fourth.api_key.HasField("previous_expire_time")
    await until_refused(client.bearing(second.secret))
    await until_refused(client.bearing(third.secret))
    await person("RevokeApiKey", pb.RevokeApiKeyRequest(api_key_id=key_id))
    await until_refused(client.bearing(fourth.secret))


async def test_both_secrets_of_a_revoked_key_are_refused(client: Client) -> None:
    _, person = await client.somebody()
    first = await make(person)
    second = await rotate(person, first.api_key.api_key_id, 3600)
    assert await works(client, first.secret)
    await person("RevokeApiKey", pb.RevokeApiKeyRequest(api_key_id=first.api_key.api_key_id))
    await until_refused(client.bearing(first.secret))
    await until_refused(client.bearing(second.secret))
    assert await reason_of(rotate(person, first.api_key.api_key_id, 60)) == "API_KEY_NOT_FOUND"


async def test_the_secret_before_ends_in_its_time(client: Client) -> None:
    _, person = await client.somebody()
    first = await make(person)
    second = await rotate(person, first.api_key.api_key_id, 1)
    await until_refused(client.bearing(first.secret), "CREDENTIAL_EXPIRED")
    assert await works(client, second.secret)


async def test_other_services_learn_of_both_secrets(client: Client, peer: Client, place: Place) -> None:
    _, person = await client.somebody()
    first = await make(person)
    second = await rotate(person, first.api_key.api_key_id, 600)
    pepper = base64.urlsafe_b64decode(place.secrets.key_pepper)
    digests = [keys.digest(pepper, one.secret) for one in (first, second)]
    old, new = [await peer("ResolveApiKey", pb.ResolveApiKeyRequest(digest=digest)) for digest in digests]
    assert old == new
    assert [old.previous_digest, old.digest] == digests


async def test_rotations_at_once_leave_two_secrets(client: Client) -> None:
    _, person = await client.somebody()
    first = await make(person)
    answers = await asyncio.gather(*(rotate(person, first.api_key.api_key_id, 600) for _ in range(4)))
    async with asyncio.timeout(20):
        while True:
            asked = [client.bearing(one.secret)("GetMe", pb.GetMeRequest()) for one in (first, *answers)]
            results = await asyncio.gather(*asked, return_exceptions=True)
            good = sum(isinstance(one, pb.User) for one in results)
            assert good >= 2
            refused = {one.reason for one in results if isinstance(one, MeshError)}
            assert refused <= {"CREDENTIAL_INVALID", "CREDENTIAL_REVOKED"}
            if good == 2:  # that the others ended has come round
                return


@pytest.mark.parametrize("overlap_s", [-1, 2_592_001])
async def test_limits_of_an_overlap(client: Client, overlap_s: int) -> None:
    _, person = await client.somebody()
    made = await make(person)
    assert await reason_of(rotate(person, made.api_key.api_key_id, overlap_s)) == "INVALID_FIELD"
    assert (await rotate(person, made.api_key.api_key_id, 2_592_000)).secret


async def test_networks_and_models_are_kept_and_told(client: Client) -> None:
    _, person = await client.somebody()
    made = await make(person, allowed_networks=["127.0.0.0/8", "2001:DB8::/32"], models=["a"])
    assert list(made.api_key.allowed_networks) == ["127.0.0.0/8", "2001:db8::/32"]
    assert list(made.api_key.models) == ["a"]
    assert await works(client, made.secret)
    elsewhere = await make(person, allowed_networks=["192.0.2.0/24"])
    assert await reason_of(client.bearing(elsewhere.secret)("GetMe", pb.GetMeRequest())) == "ADDRESS_REFUSED"


@pytest.mark.parametrize(
    ("network", "says"),
    [
        ("10.1.0.0/8", "did you mean 10.0.0.0/8"),
        ("2001:db8::1/32", "did you mean 2001:db8::/32"),
        *((one, "is no network") for one in ("x", "10.0.0.0/33", "10.0.0.0/255.0.0.0", "fe80::1%eth0", "10.0.0")),
        ("::ffff:10.0.0.0/104", "write it as IPv4"),
    ],
)
async def test_a_network_that_is_none_is_named(client: Client, network: str, says: str) -> None:
    _, person = await client.somebody()
    refused = await refusal_of(make(person, allowed_networks=["10.0.0.0/8", network]))
    assert refused.reason == "INVALID_FIELD"
    assert [one.field for one in refused.violations] == ["allowed_networks[1]"]
    assert says in refused.violations[0].description


async def test_a_service_accounts_keys_are_its_administrators(teams: Teams, client: Client) -> None:
    owner, admin, member, stranger = [await teams.person() for _ in range(4)]
    org_id = await teams.team(owner, (admin, ADMIN), (member, MEMBER))
    account = (await admin("CreateServiceAccount", org_id=org_id, display_name="bot")).service_account_id

    made = await make(admin.auth, service_account_id=account, request_id=str(uuid.uuid4()))
    assert (made.api_key.service_account_id, made.api_key.org_id) == (account, org_id)
    me = await client.bearing(made.secret)("GetMe", pb.GetMeRequest())
    assert (me.user_id, me.org_id, list(me.roles)) == (account, org_id, [Role.ROLE_SERVICE])
    listed = await owner.auth("ListApiKeys", pb.ListApiKeysRequest(service_account_id=account))
    assert [one.api_key_id for one in listed.api_keys] == [made.api_key.api_key_id]
    assert not (await admin.auth("ListApiKeys", pb.ListApiKeysRequest())).api_keys

    for who, reason in ((member, "MEMBER_ROLE_MISSING"), (stranger, "MEMBER_NOT_FOUND")):
        assert await reason_of(make(who.auth, service_account_id=account)) == reason
        request = pb.ListApiKeysRequest(service_account_id=account)
        assert await reason_of(who.auth("ListApiKeys", request)) == reason
        assert await reason_of(rotate(who.auth, made.api_key.api_key_id, 60)) == "API_KEY_NOT_FOUND"
        revoke = pb.RevokeApiKeyRequest(api_key_id=made.api_key.api_key_id)
        assert await reason_of(who.auth("RevokeApiKey", revoke)) == "API_KEY_NOT_FOUND"
    second = await rotate(owner.auth, made.api_key.api_key_id, 0)
    await until_refused(client.bearing(made.secret))
    await admin("DeleteServiceAccount", org_id=org_id, service_account_id=account)
    await until_refused(client.bearing(second.secret))
    assert await reason_of(make(admin.auth, service_account_id=account)) == "MEMBER_NOT_FOUND"


async def test_an_administrator_revokes_a_members_key_and_rotates_none(teams: Teams, client: Client) -> None:
    owner, member = await teams.person(), await teams.person()
    org_id = await teams.team(owner, (member, MEMBER))
    acting = await member.acting_for(org_id)
    team_key, own_key = await make(acting.auth), await make(member.auth)

    assert await reason_of(rotate(owner.auth, team_key.api_key.api_key_id, 60)) == "API_KEY_NOT_FOUND"
    request = pb.RevokeApiKeyRequest(api_key_id=own_key.api_key.api_key_id)
    assert await reason_of(owner.auth("RevokeApiKey", request)) == "API_KEY_NOT_FOUND"
    await owner.auth("RevokeApiKey", pb.RevokeApiKeyRequest(api_key_id=team_key.api_key.api_key_id))
    await until_refused(client.bearing(team_key.secret))
    assert await works(client, own_key.secret)


async def test_the_last_use_is_written_once_a_minute(client: Client, peer: Client, rows: asyncpg.Connection) -> None:
    _, person = await client.somebody()
    key_id = (await make(person)).api_key.api_key_id
    report = pb.ReportKeyUsesRequest(api_key_ids=[key_id])

    async def last_use() -> object:
        (listed,) = (await person("ListApiKeys", pb.ListApiKeysRequest())).api_keys
        return listed.last_use_time.ToNanoseconds() if listed.HasField("last_use_time") else None

    assert await last_use() is None
    await peer("ReportKeyUses", report)
    first = await last_use()
    assert first is not None
    await peer("ReportKeyUses", report)
    assert await last_use() == first
    await rows.execute("UPDATE api_keys SET last_use_time = last_use_time - interval '2 minutes'")
    await peer("ReportKeyUses", report)
    assert await last_use() != first
    assert await reason_of(person("ReportKeyUses", report)) == "AUDIENCE_MISMATCH"


async def test_a_service_reports_what_was_used(place: Place) -> None:
    with place.running(KEY_USES_REPORT_S=0.05) as service:
        async with client_of(service) as client:
            _, person = await client.somebody()
            made = await make(person)
            assert await works(client, made.secret)
            async with asyncio.timeout(20):
                while not (await person("ListApiKeys", pb.ListApiKeysRequest())).api_keys[0].HasField("last_use_time"):
                    pass

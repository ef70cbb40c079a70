"""What operators do over the edge: versions of the configuration and the way back, and keys of providers."""

from __future__ import annotations

import uuid

import pytest

from tests.mesh.calls import customer
from tests.mesh.client import Client, Json, eventually
from tests.mesh.conftest import NewPerson
from tests.mesh.errors import fault_of
from tests.mesh.people import Person
from tests.mesh.upstreams import MODEL, Upstreams, models_yaml
from tests.support.provider import MisbehavingProvider

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]

HELLO = [{"role": "user", "content": "Hello."}]


async def test_versions_are_made_listed_and_gone_back_to(
    admin: Person, new_person: NewPerson, upstreams: Upstreams, provider: MisbehavingProvider
) -> None:
    caller = await customer(await new_person())
    before = (await admin.ask("GET", "/api/v1/config")).ok()
    other = before["yaml"].replace('daily_cap_usd: "1"', f'daily_cap_usd: "1.{uuid.uuid4().int % 10**6:06}"')
    assert other != before["yaml"] == models_yaml(upstreams)

    looked = (await admin.ask("POST", "/api/v1/config:apply", {"yaml": other, "validateOnly": True})).ok()
    made = (await admin.ask("POST", "/api/v1/config:apply", {"yaml": other})).ok()
    again = (await admin.ask("POST", "/api/v1/config:apply", {"yaml": other})).ok()
    listed = (await admin.ask("GET", "/api/v1/config/versions?pageSize=2")).ok()

    assert int(looked["version"]) == int(made["version"]) == int(again["version"]) == int(before["version"]) + 1
    assert (made["authorId"], made["yaml"]) == (admin.user_id, other)
    assert [one["version"] for one in listed["versions"]] == [made["version"], before["version"]]
    assert await answered_under(caller.key, admin.client, made["version"])

    back = (await admin.ask("POST", "/api/v1/config:rollback", {"version": before["version"]})).ok()

    assert (back["yaml"], back["rollbackOf"]) == (before["yaml"], before["version"])
    assert int(back["version"]) == int(made["version"]) + 1
    assert (await admin.ask("GET", "/api/v1/config")).ok() == back
    assert await answered_under(caller.key, admin.client, back["version"])
    assert (await every_version(admin))[:3] == [back, made, before]


async def test_going_back_to_what_never_was_is_refused(admin: Person) -> None:
    fault = fault_of(await admin.ask("POST", "/api/v1/config:rollback", {"version": "1000000"}))

    assert fault.brief == ("NOT_FOUND", "CONFIG_VERSION_NOT_FOUND")


async def test_a_stored_key_goes_to_its_provider_and_is_never_shown(
    admin: Person, new_person: NewPerson, client: Client, provider: MisbehavingProvider
) -> None:
    caller = await customer(await new_person())
    secret = f"sk-{uuid.uuid4().hex}"

    made = (
        await admin.ask("POST", "/api/v1/providerKeys", {"provider": "calls", "secret": secret, "displayName": "team"})
    ).ok()
    listed = await admin.ask("GET", "/api/v1/providerKeys?provider=calls")
    others = (await admin.ask("GET", "/api/v1/providerKeys?provider=examples")).ok()

    assert (made["provider"], made["displayName"], made["hint"]) == ("calls", "team", secret[-4:])
    assert listed.ok()["providerKeys"] == [made]
    assert others["providerKeys"] == []
    assert secret.encode() not in listed.body
    try:
        await eventually("the key is used", lambda: sent_with(f"Bearer {secret}", caller.key, client, provider))
    finally:
        (await admin.ask("DELETE", f"/api/v1/providerKeys/{made['providerKeyId']}")).ok()
    await eventually("the key is used no more", lambda: sent_with("", caller.key, client, provider))
    gone = await admin.ask("DELETE", f"/api/v1/providerKeys/{made['providerKeyId']}")
    assert fault_of(gone).brief == ("NOT_FOUND", "PROVIDER_KEY_NOT_FOUND")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"provider": "nobody", "secret": "sk-something"}, "provider"),
        ({"provider": "calls", "secret": "sk-with\nnew-line"}, "secret"),
        ({"provider": "calls", "secret": "sk-ümlaut-at-work"}, "secret"),
        ({"provider": "demo", "secret": "sk-something"}, "provider"),
    ],
)
async def test_a_key_that_cannot_be_sent_is_refused(admin: Person, body: dict[str, str], field: str) -> None:
    answer = await admin.ask("POST", "/api/v1/providerKeys", body)

    fault = fault_of(answer)
    assert fault.brief == ("INVALID_ARGUMENT", "INVALID_FIELD")
    assert field in fault.fields
    assert body["secret"].encode() not in answer.body


async def answered_under(key: str, client: Client, version: str) -> bool:
    """Waits until a call is answered under a version of the configuration."""

    async def so() -> bool:
        answer = await client.ask("POST", "/v1/chat/completions", {"model": MODEL, "messages": HELLO}, token=key)
        answer.ok()
        return answer.headers["x-promptmesh-config-version"] == version

    return bool(await eventually(f"version {version} is in force", so))


async def sent_with(authorization: str, key: str, client: Client, provider: MisbehavingProvider) -> bool:
    """Whether a call goes to the provider with this header."""
    (await client.ask("POST", "/v1/chat/completions", {"model": MODEL, "messages": HELLO}, token=key)).ok()
    sent = {name.lower(): value for name, value in provider.calls[-1].headers.items()}
    return sent.get("authorization", "") == authorization


async def every_version(admin: Person) -> list[Json]:
    """All versions, newest first, one a page."""
    found: list[Json] = []
    token = ""
    while True:
        page = (await admin.ask("GET", f"/api/v1/config/versions?pageSize=1&pageToken={token}")).ok()
        found += page["versions"]
        token = page["nextPageToken"]
        if not token:
            return found
